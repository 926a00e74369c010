//! Predictors of patch effects side by side.

use resolvent_field::{Labelled, SiteKind, stats};

use super::data::{Results, array, list};
use crate::figures::{zero_by_construction, zeros};
use crate::{Axis, Bars, Category, Cell, Estimate, Figure, Grid, Section, Table};

/// Numbers of one kind and predictor in `agreement`: five statistics with their intervals.
const NUMBERS: usize = 15;

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("predictors");
    let Some((_, first)) = all.first() else { return section };
    let (kinds, predictors) = (list(first, "kinds"), list(first, "predictors"));
    let bars = |(task, result): &(&str, &Labelled)| Figure::from(correlations(task, result, [&kinds, &predictors]));
    section
        .figure(
            Grid::new("Predictors side by side", all.iter().map(bars).collect()),
            "Correlation with the actual effects, for each kind of site, on the first pairs of each task alone: second-order \
             predictors cost many passes. So first order has another figure here than above. First order: sensitivity times \
             displacement d. Curvature: with d^T H d / 2 of every patch, by jets. Hvp: with that term where an estimate flags it. Integrated: \
             sensitivities averaged over runs between the prompts. RelP: sensitivities under the rules of relevance \
             propagation.",
        )
        .figure(
            table(&all, [&kinds, &predictors]),
            "Means over tasks. Wrong signs are counted among effects above 1 % of the largest; costs are operations over those of \
             one forward pass.",
        )
}

fn correlations(task: &str, result: &Labelled, [kinds, predictors]: [&[String]; 2]) -> Bars {
    let mut bars = Bars::new(task, Axis::linear("Pearson correlation"));
    bars.subtitle = "95 % intervals over prompts".to_owned();
    bars.dots = true;
    bars.groups = predictors.iter().map(|p| p.replace('_', " ")).collect();
    let values = array(result, "agreement");
    let sites: Vec<SiteKind> = kinds.iter().filter_map(|kind| kind.parse().ok()).collect();
    bars.notes = predictors.iter().filter_map(|name| zeros(name, &sites)).collect();
    let estimate = |k: usize, p: usize| {
        if sites.get(k).is_some_and(|kind| zero_by_construction(&predictors[p], *kind).is_some()) {
            return None;
        }
        let at = (k * predictors.len() + p) * NUMBERS;
        values.get(at..at + 3).map(|v| Estimate::within(v[0], v[1], v[2]))
    };
    bars.categories = kinds
        .iter()
        .enumerate()
        .map(|(k, kind)| Category {
            name: kind.clone(),
            estimates: (0..predictors.len()).map(|p| estimate(k, p)).collect(),
        })
        .collect();
    bars
}

fn table(all: &[(&str, &Labelled)], [kinds, predictors]: [&[String]; 2]) -> Table {
    let columns = ["sites", "predictor", "Pearson", "wrong sign", "slope", "relative error", "cost"];
    let mut table = Table::new("", &columns);
    for (k, kind) in kinds.iter().enumerate() {
        for (p, predictor) in predictors.iter().enumerate() {
            let row = k * predictors.len() + p;
            let over_tasks = |name: &str, at: usize| {
                let each = all.iter().filter_map(|(_, result)| array(result, name).get(at).copied());
                stats::mean(&each.filter(|x| x.is_finite()).collect::<Vec<f64>>())
            };
            let of = |statistic: usize| over_tasks("agreement", row * NUMBERS + 3 * statistic);
            let numbers = [of(0), 1.0 - of(2), of(3), of(4), over_tasks("cost", row)];
            let cells = [Cell::from(kind.as_str()), Cell::from(predictor.replace('_', " ").as_str())];
            table = table.row(cells.into_iter().chain(numbers.map(Cell::from)));
        }
        let each = all.iter().filter_map(|(_, result)| array(result, "cost_actual").get(k).copied());
        let cost = stats::mean(&each.collect::<Vec<f64>>());
        let (nothing, cells) = ([f64::NAN; 4], [Cell::from(kind.as_str()), Cell::from("the patches themselves")]);
        table = table.row(cells.into_iter().chain(nothing.into_iter().chain([cost]).map(Cell::from)));
    }
    table
}
