//! Reads numbers from a study's results.

use resolvent_field::study::Done;
use resolvent_field::{Labelled, stats};

use crate::{Heatmap, Map, Series};

/// The results of a study by analysis and task.
pub(super) struct Results<'a> {
    done: &'a [Done],
}

impl<'a> Results<'a> {
    pub(super) fn new(done: &'a [Done]) -> Self {
        Self { done }
    }

    /// Returns the results of an analysis, with the names of their tasks. Results without arrays are omitted, because
    /// their steps were left out.
    pub(super) fn of(&self, analysis: &str) -> Vec<(&'a str, &'a Labelled)> {
        let split = |d: &'a Done| (d.name.split_once('.').unwrap_or((&d.name, "")), &d.result);
        let present = self.done.iter().filter(|d| !d.result.arrays.is_empty());
        let of_analysis = present.map(split).filter(|((name, _), _)| *name == analysis);
        of_analysis.map(|((_, task), result)| (task, result)).collect()
    }
}

/// Returns the elements of an array; empty if the result lacks it.
pub(super) fn array(result: &Labelled, name: &str) -> Vec<f64> {
    result.array(name).map_or_else(Vec::new, |a| a.data.iter().map(|&x| f64::from(x)).collect())
}

/// Returns a comma-separated list from the metadata; empty if it is missing.
pub(super) fn list(result: &Labelled, key: &str) -> Vec<String> {
    result.list(key).unwrap_or_default().into_iter().map(str::to_owned).collect()
}

/// Returns the texts of the tokens of a result's example.
pub(super) fn labels(result: &Labelled) -> Vec<String> {
    result.texts("labels")
}

/// Returns the rows of an array `[N, width]`.
pub(super) fn rows(result: &Labelled, name: &str) -> Vec<Vec<f64>> {
    let width = result.array(name).and_then(|a| a.axes.get(1)).map_or(1, |axis| axis.1.max(1));
    array(result, name).chunks(width).map(<[f64]>::to_vec).collect()
}

/// Returns a heatmap of an array over level and token; `None` for other axes.
pub(super) fn heatmap(title: &str, result: &Labelled, name: &str, map: Map, unit: &str) -> Option<Heatmap> {
    let array = result.array(name)?;
    let [("level", levels), ("token", _)] = array.axes[..] else { return None };
    let rows = (0..levels).map(|l| format!("h{l}")).collect();
    let mut drawn = Heatmap::new(title, rows, labels(result), array.data.clone());
    (drawn.map, drawn.unit) = (map, unit.to_owned());
    Some(drawn)
}

/// Returns the medians of groups of numbers along an axis, with the middle half of each group as a band.
///
/// Numbers that are not finite are left out, and so are groups that have no other numbers.
pub(crate) fn medians(name: &str, groups: impl IntoIterator<Item = (f64, Vec<f64>)>) -> Series {
    let (mut points, mut band) = (Vec::new(), Vec::new());
    for (x, values) in groups {
        let sorted = stats::sorted(&values.into_iter().filter(|v| v.is_finite()).collect::<Vec<f64>>());
        if !sorted.is_empty() {
            points.push((x, stats::quantile(&sorted, 0.5)));
            band.push((stats::quantile(&sorted, 0.25), stats::quantile(&sorted, 0.75)));
        }
    }
    Series::new(name, points).with_band(band)
}

/// Returns the means over rows, with 95 % intervals if all columns have the eight values that an interval needs. Column
/// `i` of the rows is at `x(i)` on the axis.
pub(super) fn means(name: &str, rows: &[Vec<f64>], x: impl Fn(usize) -> f64) -> Series {
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let (mut points, mut band) = (Vec::new(), Vec::new());
    for i in 0..width {
        let values: Vec<f64> = rows.iter().filter_map(|row| row.get(i)).copied().filter(|v| v.is_finite()).collect();
        if values.is_empty() {
            continue;
        }
        let interval =
            stats::interval(&values, i as u64, |draw| stats::mean(&draw.iter().map(|v| **v).collect::<Vec<f64>>()));
        points.push((x(i), interval.estimate));
        band.push((interval.low, interval.high));
    }
    if band.iter().any(|(low, high)| low.is_nan() || high.is_nan()) {
        band.clear();
    }
    Series::new(name, points).with_band(band)
}
