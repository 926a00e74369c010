//! `patch`: for each kind of site, maps of actual effects and of first-order predictions, and a plot of one against
//! the other; then predictors side by side.

use resolvent_field::{Array, Labelled, SiteKind};

use super::predictors;
use super::read::{heatmap, number, observable};
use crate::rows::names;
use crate::scene::token;
use crate::{Axis, Figure, Grid, Heatmap, Map, Point, Scatter, strongest_heads};

/// Most rows of the table of heads.
const HEADS: usize = 16;
/// Maps with more rows than this are narrow, so that they fit side by side. They have no numbers: the table has these.
const ROWS: usize = 20;
/// Width of a narrow map, in pixels.
const NARROW: f64 = 460.0;

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    // Arrays are in the order in which the kinds were requested.
    let kind_of = |array: &Array| SiteKind::ALL.into_iter().find(|kind| kind.arrays()[0] == array.name);
    let kinds: Vec<SiteKind> = result.arrays.iter().filter_map(kind_of).collect();
    let mut sweeps: Vec<Vec<Figure>> = kinds.iter().map(|kind| of_kind(result, labels, *kind)).collect();
    let sweeps = match &mut sweeps[..] {
        [only] => std::mem::take(only),
        // The figures of each kind begin a row of their own.
        _ => sweeps.into_iter().map(|figures| Grid::new("", figures).into()).collect(),
    };
    sweeps.into_iter().chain(predictors::figures(result, &kinds)).collect()
}

/// Returns both maps and the scatter plot of a kind and, for heads, the table of the strongest patches.
fn of_kind(result: &Labelled, labels: &[String], kind: SiteKind) -> Vec<Figure> {
    let [Some(effect), Some(first_order)] = kind.arrays().map(|name| result.array(name)) else {
        return Vec::new();
    };
    let ends = match (number(result, "corrupted_value"), number(result, "clean_value")) {
        (Some(from), Some(to)) => format!(": corrupted {from:.4}, clean {to:.4}"),
        _ => String::new(),
    };
    let of = if kind == SiteKind::Resid { String::new() } else { format!(", {kind}") };
    // Both maps share one scale, so that their colours can be compared.
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
    // The subtitle repeats the statistics of the result, so that the text and the plot count the same pairs.
    if let Some(correlations) = result.correlations(&format!("agreement.{kind}")) {
        scatter.subtitle = correlations;
    }
    let maps = [effects, predicted].into_iter().flatten().map(Figure::from);
    maps.chain([scatter.into()]).chain(heads).collect()
}

/// The reason why effect and prediction may both be exactly zero.
const NO_PATH: &str = "with equal values in both prompts or without a path to J";

/// Draws predicted against actual effects of the places at which the two runs differ.
///
/// Values of at most the noise floor are drawn at 0, as the statistics count them: see
/// [`resolvent_field::stats::Pairs::above`].
fn scatter([effect, first_order]: [&Array; 2], labels: &[String], floor: f64) -> Scatter {
    let above_floor = |x: f32| if f64::from(x).abs() <= floor { 0.0 } else { f64::from(x) };
    let tokens = effect.axes.last().map_or(1, |a| a.1.max(1));
    let rows = names(&effect.axes).unwrap_or_default();
    let (layers, letter) = match effect.axes.first() {
        Some(("level", levels)) => (*levels, "h"),
        Some((_, blocks)) => (*blocks, "L"),
        None => (1, ""),
    };
    let heads = (rows.len() / layers.max(1)).max(1);
    let pairs = effect.data.iter().zip(&first_order.data).enumerate();
    // If both are exactly zero, there was nothing to patch. Such points would all lie at the origin and raise the
    // count.
    let pairs = pairs.filter(|(_, (e, f))| **e != 0.0 || **f != 0.0);
    let points = pairs.map(|(i, (&effect, &predicted))| {
        let (row, at) = (i / tokens, i % tokens);
        let place = labels.get(at).map_or_else(|| at.to_string(), |text| token(at, text));
        Point {
            x: above_floor(predicted),
            y: above_floor(effect),
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

/// Number of colours of levels or blocks: one for each third of the depth.
const BANDS: usize = 3;

/// Returns the names of the thirds of the depth: `h0 to h2`, ...
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
