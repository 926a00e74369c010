//! `patch`: what each place carries, what first order says it does, and one against the other, for each kind of site; and
//! predictors side by side.

use resolvent_field::{Array, Labelled, SiteKind};

use super::{heatmap, number, observable, predictors};
use crate::rows::names;
use crate::scene::token;
use crate::{Axis, Figure, Grid, Heatmap, Map, Point, Scatter, strongest_heads};

/// Rows of the table of heads.
const HEADS: usize = 16;
/// Maps with more rows are drawn side by side, without numbers: those are in the table.
const ROWS: usize = 20;
/// Width of such a map.
const NARROW: f64 = 460.0;

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    // In the order in which the kinds were asked for.
    let asked = |array: &Array| SiteKind::ALL.into_iter().find(|kind| kind.arrays()[0] == array.name);
    let kinds: Vec<SiteKind> = result.arrays.iter().filter_map(asked).collect();
    let mut sweeps: Vec<Vec<Figure>> = kinds.iter().map(|kind| of_kind(result, labels, *kind)).collect();
    let sweeps = match &mut sweeps[..] {
        [only] => std::mem::take(only),
        // What belongs together begins a row.
        _ => sweeps.into_iter().map(|figures| Grid::new("", figures).into()).collect(),
    };
    sweeps.into_iter().chain(predictors::figures(result, &kinds)).collect()
}

/// Both maps and the scatter of a kind, and of heads the strongest patches.
fn of_kind(result: &Labelled, labels: &[String], kind: SiteKind) -> Vec<Figure> {
    let [Some(effect), Some(first_order)] = kind.arrays().map(|name| result.array(name)) else {
        return Vec::new();
    };
    let ends = match (number(result, "corrupted_value"), number(result, "clean_value")) {
        (Some(from), Some(to)) => format!(": corrupted {from:.4}, clean {to:.4}"),
        _ => String::new(),
    };
    let of = if kind == SiteKind::Resid { String::new() } else { format!(", {kind}") };
    // One scale for both, so that they can be compared by their colours.
    let both = effect.data.iter().chain(&first_order.data);
    let limit = both.map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f32::max);
    let map = |title: &str, array: &Array, unit: &str| {
        heatmap(format!("{title}{of}"), array, labels, Map::Diverging).map(|mut map: Heatmap| {
            map.subtitle = format!("{}{ends}", observable(result));
            map.unit = unit.to_owned();
            map.limit = Some(limit);
            if map.rows.len() > ROWS {
                (map.numbers, map.width) = (false, NARROW);
            }
            map
        })
    };
    let effects = map("Patch effect", effect, "J(patched) − J(corrupted)");
    let unit = if kind == SiteKind::Resid { "<chi[l,t], delta h[l,t]>" } else { "<dJ/dy, delta y>" };
    let predicted = map("First-order prediction", first_order, unit);
    let title = format!("Strongest patches{of}");
    let heads = strongest_heads(&title, effect, first_order, labels, HEADS).map(Figure::from);
    let mut scatter = scatter([effect, first_order], labels, result.number("noise_floor").unwrap_or(0.0));
    scatter.title = format!("Predicted and actual effects{of}");
    // The statistics of the result: one count of pairs, in the text and here.
    if let Some(text) = result.metadata.get(&format!("agreement.{kind}")) {
        scatter.subtitle = text.split(", ").take(3).collect::<Vec<_>>().join(", ");
    }
    let maps = [effects, predicted].into_iter().flatten().map(Figure::from);
    maps.chain([scatter.into()]).chain(heads).collect()
}

/// Why effect and prediction may both be exactly zero.
const NO_PATH: &str = "with equal values in both prompts or without a path to J";

/// Predicted against actual effects of the places at which the two runs differ. Values below the noise floor are at 0, as
/// in the statistics: see [`stats::Pairs::above`].
fn scatter([effect, first_order]: [&Array; 2], labels: &[String], floor: f64) -> Scatter {
    let known = |x: f32| if f64::from(x).abs() <= floor { 0.0 } else { f64::from(x) };
    let tokens = effect.axes.last().map_or(1, |a| a.1.max(1));
    let rows = names(&effect.axes).unwrap_or_default();
    let (layers, letter) = match effect.axes.first() {
        Some(("level", levels)) => (*levels, "h"),
        Some((_, blocks)) => (*blocks, "L"),
        None => (1, ""),
    };
    let heads = (rows.len() / layers.max(1)).max(1);
    let pairs = effect.data.iter().zip(&first_order.data).enumerate();
    // Where both are exactly zero there was nothing to patch: such points would only sit in the middle and be counted.
    let pairs = pairs.filter(|(_, (e, f))| **e != 0.0 || **f != 0.0);
    let points = pairs.map(|(i, (&effect, &predicted))| {
        let (row, at) = (i / tokens, i % tokens);
        let place = labels.get(at).map_or_else(|| at.to_string(), |text| token(at, text));
        Point {
            x: known(predicted),
            y: known(effect),
            group: row / heads * BANDS / layers.max(1),
            label: format!("{}, {place}", rows.get(row).map_or("", String::as_str)),
        }
    });
    let mut scatter = Scatter::new("", Axis::linear("first-order prediction"), Axis::linear("patch effect"));
    scatter.points = points.collect();
    let left_out = effect.data.len() - scatter.points.len();
    if left_out > 0 {
        let all = effect.data.len();
        scatter.notes = vec![format!("not counted: {left_out} of {all} patches are exactly zero, {NO_PATH}")];
    }
    scatter.groups = bands(letter, layers);
    scatter.prediction()
}

/// Levels, or blocks, are coloured by thirds.
const BANDS: usize = 3;

pub(super) fn bands(letter: &str, layers: usize) -> Vec<String> {
    let band = |b: usize| {
        let of = |l: &usize| l * BANDS / layers.max(1) == b;
        match ((0..layers).find(of), (0..layers).rfind(of)) {
            (Some(first), Some(last)) if first < last => format!("{letter}{first} to {letter}{last}"),
            (Some(only), _) => format!("{letter}{only}"),
            _ => String::new(),
        }
    };
    (0..BANDS).map(band).filter(|name| !name.is_empty()).collect()
}
