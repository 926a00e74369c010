//! Predicted against actual patch effects, and superposition.

use resolvent_field::study::counted_patches;
use resolvent_field::{Labelled, stats};

use super::data::{Results, array, heatmap, list};
use super::predictors;
use crate::{Axis, Bars, Block, Category, Cell, Estimate, Figure, Grid, Heatmap, Map, Point, Scatter, Section, Table};

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("patching");
    let Some((task, first)) = all.first() else { return section };
    let kinds = list(first, "kinds");
    let mut section = section.figure(
        correlations(&all, &kinds),
        "Correlation of first-order predictions with actual effects, for each kind of site and task. Effects are \
         divided by |J(clean) - J(corrupted)| of their prompt.",
    );
    let scatters = kinds.iter().enumerate().map(|(k, kind)| scatter(&all, k, kind).into()).collect();
    section = section.figure(
        Grid::new("Predicted and actual effects of patches", scatters),
        "Each point is one site and token of one prompt. On the line, the prediction is exact. Patches without any possible \
         effect do not count, and values below the noise floor are 0.",
    );
    let names = [("example_effect", "Actual effect"), ("example_first_order", "First-order prediction")];
    // Both maps share one scale, so that their colours can be compared.
    let limit = names.iter().flat_map(|(name, _)| array(first, name)).map(f64::abs).fold(0.0, f64::max) as f32;
    let maps: Vec<Figure> = names
        .into_iter()
        .filter_map(|(name, title)| {
            let map = heatmap(title, first, name, Map::Diverging, "change of J")?;
            Some(Heatmap { limit: Some(limit), ..map })
        })
        .map(Figure::from)
        .collect();
    section = section.figure(
        Grid::new("", maps),
        format!("Patching each h[l,t] of the clean prompt into the corrupted one: first pair of {task}."),
    );
    section.blocks.push(Block::Details(
        "All agreements".to_owned(),
        vec![Block::Figure(table(&all, &kinds).into(), String::new())],
    ));
    superposition(predictors::section(section, results), results)
}

/// Draws Pearson's correlation by kind and task.
fn correlations(all: &[(&str, &Labelled)], kinds: &[String]) -> Bars {
    let mut bars = Bars::new("Correlation of predicted and actual effects", Axis::linear("Pearson correlation"));
    bars.subtitle = "95 % intervals over prompts".to_owned();
    bars.dots = true;
    bars.groups = all.iter().map(|(task, _)| (*task).to_owned()).collect();
    bars.categories = kinds
        .iter()
        .enumerate()
        .map(|(k, kind)| Category {
            name: kind.clone(),
            estimates: all
                .iter()
                .map(|(_, result)| {
                    let at = k * 5 * 3;
                    let values = array(result, "agreement");
                    values.get(at..at + 3).map(|v| Estimate::within(v[0], v[1], v[2]))
                })
                .collect(),
        })
        .collect();
    bars
}

fn scatter(all: &[(&str, &Labelled)], kind: usize, name: &str) -> Scatter {
    let mut plot = Scatter::new(name, Axis::linear("first-order prediction"), Axis::linear("actual effect"));
    plot.groups = all.iter().map(|(task, _)| (*task).to_owned()).collect();
    plot.width = 340.0;
    for (group, (_, result)) in all.iter().enumerate() {
        let [kinds, prompts, layers, tokens] = ["kind", "prompt", "layer", "token"].map(|name| array(result, name));
        for (i, [x, y]) in counted_patches(result).into_iter().filter(|(i, _)| kinds[*i] as usize == kind) {
            let label = format!("layer {}, token {}, prompt {}", layers[i], tokens[i], prompts[i]);
            plot.points.push(Point { x, y, group, label });
        }
    }
    plot.prediction()
}

fn table(all: &[(&str, &Labelled)], kinds: &[String]) -> Table {
    let mut table = Table::new(
        "",
        &["task", "sites", "Pearson", "low", "high", "Spearman", "same sign", "slope", "relative error"],
    );
    for (task, result) in all {
        let values = array(result, "agreement");
        for (kind, row) in kinds.iter().zip(values.chunks(15)) {
            let numbers = [row[0], row[1], row[2], row[3], row[6], row[9], row[12]];
            let cells = [Cell::from(*task), Cell::from(kind.as_str())];
            table = table.row(cells.into_iter().chain(numbers.map(Cell::from)));
        }
    }
    table
}

/// Draws joint responses of two displacements against the sum of their separate responses.
fn superposition(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("superposed");
    if all.is_empty() {
        return section;
    }
    let mut plot =
        Scatter::new("Superposition", Axis::linear("sum of the two responses"), Axis::linear("joint response"));
    plot.groups = all.iter().map(|(task, _)| (*task).to_owned()).collect();
    let mut errors = Vec::new();
    for (group, (task, result)) in all.iter().enumerate() {
        let [joint, sum, prompts, error] = ["joint", "sum", "prompt", "error"].map(|name| array(result, name));
        errors.push(format!("{task} {:.1} %", 100.0 * stats::median(&error)));
        for ((joint, sum), prompt) in joint.iter().zip(&sum).zip(&prompts) {
            plot.points.push(Point { x: *sum, y: *joint, group, label: format!("prompt {prompt}") });
        }
    }
    section.figure(
        plot.prediction(),
        format!(
            "Displacements put in at two places at once. On the line, responses add up. Median error of the sum, as a share of \
             both sizes: {}.",
            errors.join(", ")
        ),
    )
}
