//! `patch`: what each place carries, what first order says it does, and one against the other.

use resolvent_field::{Array, Labelled, stats};

use super::{heatmap, number, observable};
use crate::{Axis, Bars, Category, Estimate, Figure, Heatmap, Map, Point, Scatter};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let (Some(effect), Some(first_order)) = (result.array("effect"), result.array("first_order")) else {
        return Vec::new();
    };
    let ends = match (number(result, "corrupted_value"), number(result, "clean_value")) {
        (Some(from), Some(to)) => format!(": corrupted {from:.4}, clean {to:.4}"),
        _ => String::new(),
    };
    // One scale for both, so that they can be compared by their colours.
    let both = effect.data.iter().chain(&first_order.data);
    let limit = both.map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f32::max);
    let map = |title: &str, array: &Array, unit: &str| {
        heatmap(title, array, labels, Map::Diverging).map(|mut map: Heatmap| {
            map.subtitle = format!("{}{ends}", observable(result));
            map.unit = unit.to_owned();
            map.limit = Some(limit);
            map
        })
    };
    let effects = map("Patch effect", effect, "J(patched) − J(corrupted)");
    let predicted = map("First-order prediction", first_order, "<chi[l,t], delta h[l,t]>");
    let maps = [effects, predicted].into_iter().flatten().map(Figure::from);
    let floor = result.number("noise_floor").unwrap_or(0.0);
    let panels = PANELS.iter().filter_map(|measure| panel(result, *measure, floor)).map(Figure::from);
    maps.chain([scatter([effect, first_order], labels, floor).into()]).chain(panels).collect()
}

/// A measure of predictors, with its axis.
type Measure = (&'static str, fn(stats::Agreement) -> f64);

const PANELS: [Measure; 2] =
    [("relative error", |a| a.error), ("Pearson correlation with actual effects", |a| a.pearson)];

/// How well each predictor does at each kind of site, where several were asked for.
fn panel(result: &Labelled, (axis, measure): Measure, floor: f64) -> Option<Bars> {
    let predictors: Vec<&str> = result.metadata.get("predictors")?.split(',').collect();
    let mut bars = Bars::new("Predictors side by side", Axis::linear(axis));
    bars.subtitle = "operations in forward passes".to_owned();
    bars.dots = true;
    bars.groups = predictors.iter().map(|p| p.replace('_', " ")).collect();
    let kinds = result.arrays.iter().filter_map(|array| array.name.strip_prefix("predicted"));
    for suffix in kinds {
        let of = |name: &str| result.array(&format!("{name}{suffix}")).map_or(&[][..], |a| &a.data);
        let actual = of("effect");
        let rows = of("predicted").chunks(actual.len().max(1));
        let estimates =
            rows.map(|p| Some(Estimate::new(measure(stats::Pairs::above(p, actual, floor).agreement()))));
        let costs: Vec<String> = of("cost").iter().map(|c| format!("{c:.0}")).collect();
        let kind = suffix.strip_prefix('.').unwrap_or("resid");
        let name = format!("{kind} (costs {})", costs.join(", "));
        bars.categories.push(Category { name, estimates: estimates.collect() });
    }
    Some(bars)
}

/// Predicted against actual effects of the places at which the two runs differ. Values below the noise floor are at 0, as
/// in the statistics: see [`stats::Pairs::above`].
fn scatter([effect, first_order]: [&Array; 2], labels: &[String], floor: f64) -> Scatter {
    let known = |x: f32| if f64::from(x).abs() <= floor { 0.0 } else { f64::from(x) };
    let tokens = effect.axes.last().map_or(1, |a| a.1.max(1));
    let levels = effect.data.len() / tokens;
    let pairs = effect.data.iter().zip(&first_order.data).enumerate();
    // Where both are exactly zero there was nothing to patch: such points would only sit in the middle and be counted.
    let pairs = pairs.filter(|(_, (e, f))| **e != 0.0 || **f != 0.0);
    let points = pairs.map(|(i, (&effect, &predicted))| {
        let (level, token) = (i / tokens, i % tokens);
        let name = labels.get(token).cloned().unwrap_or_else(|| token.to_string());
        Point {
            x: known(predicted),
            y: known(effect),
            group: level * BANDS / levels.max(1),
            label: format!("h{level}, {name:?}"),
        }
    });
    let mut scatter = Scatter::new(
        "Predicted and actual effects",
        Axis::linear("first-order prediction"),
        Axis::linear("patch effect"),
    );
    scatter.points = points.collect();
    scatter.groups = bands(levels);
    scatter.prediction()
}

/// Levels are coloured by thirds.
const BANDS: usize = 3;

pub(super) fn bands(levels: usize) -> Vec<String> {
    let band = |b: usize| {
        let of = |l: &usize| l * BANDS / levels.max(1) == b;
        match ((0..levels).find(of), (0..levels).rfind(of)) {
            (Some(first), Some(last)) if first < last => format!("h{first} to h{last}"),
            (Some(only), _) => format!("h{only}"),
            _ => String::new(),
        }
    };
    (0..BANDS).map(band).filter(|name| !name.is_empty()).collect()
}
