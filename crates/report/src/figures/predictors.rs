//! Predictors of patch effects side by side: their accuracy, and their costs compared with the patches themselves.

use resolvent_field::{Labelled, Predictor, SiteKind, stats};

use crate::{Axis, Bars, Category, Cell, Estimate, Figure, Table};

/// A measure of predictors, with its axis.
type Measure = (&'static str, fn(stats::Agreement) -> f64);

const PANELS: [Measure; 2] =
    [("relative error", |a| a.error), ("Pearson correlation with actual effects", |a| a.pearson)];

/// Returns the panels and the table of costs, if predictors were requested.
pub(super) fn figures(result: &Labelled, kinds: &[SiteKind]) -> Vec<Figure> {
    let Some(predictors) = result.list("predictors") else { return Vec::new() };
    let panels = PANELS.iter().map(|measure| panel(result, (kinds, &predictors), *measure).into());
    panels.chain([costs(result, (kinds, &predictors)).into()]).collect()
}

/// Draws a measure of the accuracy of each predictor at each kind of site.
fn panel(result: &Labelled, (kinds, predictors): (&[SiteKind], &[&str]), (axis, measure): Measure) -> Bars {
    let floor = result.number("noise_floor").unwrap_or(0.0);
    let mut bars = Bars::new("Predictors side by side", Axis::linear(axis));
    bars.dots = true;
    bars.groups = predictors.iter().map(|p| p.replace('_', " ")).collect();
    for kind in kinds {
        let actual = of_kind(result, "effect", *kind);
        let rows = of_kind(result, "predicted", *kind).chunks(actual.len().max(1));
        let estimate = |(name, predicted): (&&str, &[f32])| {
            let zero = zero_by_construction(name, *kind).is_some();
            (!zero).then(|| Estimate::new(measure(pairs(predicted, actual, floor).agreement())))
        };
        let estimates = predictors.iter().zip(rows).map(estimate).collect();
        bars.categories.push(Category { name: kind.to_string(), estimates });
    }
    bars.notes = predictors.iter().filter_map(|name| zeros(name, kinds)).collect();
    bars
}

/// Returns a table of the operations of each predictor and of the patches themselves, divided by those of a forward
/// pass.
fn costs(result: &Labelled, (kinds, predictors): (&[SiteKind], &[&str])) -> Table {
    let names: Vec<String> = predictors.iter().map(|p| p.replace('_', " ")).collect();
    let columns: Vec<&str> = ["sites", "all patches run"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let row = |table: Table, kind: &SiteKind| {
        let sweep = result.number(&format!("sweep_cost.{kind}")).map_or(f32::NAN, |cost| cost as f32);
        let each = of_kind(result, "cost", *kind).iter().copied();
        table.row([Cell::from(kind.name()), sweep.into()].into_iter().chain(each.map(Cell::from)))
    };
    kinds.iter().fold(Table::new("Costs, in forward passes", &columns), row)
}

/// Returns a sentence that says at which kinds a predictor is left out, and why; `None` if it is left out at none.
pub(crate) fn zeros(name: &str, kinds: &[SiteKind]) -> Option<String> {
    let each = kinds.iter().filter_map(|kind| Some((kind.name(), zero_by_construction(name, *kind)?)));
    let (names, reasons): (Vec<&str>, Vec<&str>) = each.unzip();
    let reason = reasons.first()?;
    Some(format!(
        "{} is zero at {} by construction, and not counted: {reason}",
        name.replace('_', " "),
        names.join(", ")
    ))
}

/// Returns the reason why a predictor, given by its name, is zero at a kind; `None` if it is not.
pub(crate) fn zero_by_construction(predictor: &str, kind: SiteKind) -> Option<&'static str> {
    predictor.parse::<Predictor>().ok()?.zero_at(kind)
}

/// Pairs predicted with actual effects. Values of at most the noise floor count as 0, and places at which both are
/// exactly zero are left out.
fn pairs(predicted: &[f32], actual: &[f32], floor: f64) -> stats::Pairs {
    stats::Pairs::above(predicted, actual, floor)
}

/// Returns the elements of the array `name` of a kind; empty if the result lacks it.
fn of_kind<'a>(result: &'a Labelled, name: &str, kind: SiteKind) -> &'a [f32] {
    let suffix = kind.arrays()[0].strip_prefix("effect").unwrap_or("");
    result.array(&format!("{name}{suffix}")).map_or(&[][..], |a| &a.data)
}
