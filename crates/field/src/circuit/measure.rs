//! Faithfulness, completeness and areas of circuits on one prompt.

use resolvent_model::rewired_values;

use super::Ablation;
use super::replaced::Replaced;
use crate::case::Case;
use crate::certificate::{Certificate, narrow, same, worse};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::patch::both_values;
use crate::stats::deviation;

/// The least difference between the values with all edges and without any, relative to the larger, or to 1.
const LEAST: f64 = 1e-4;

/// Whether each edge is included, for each size.
pub(super) struct Masks {
    pub(super) included: Vec<Vec<bool>>,
    /// Several for each size.
    pub(super) random: Vec<Vec<bool>>,
}

impl Masks {
    /// Returns the masks that are measured: all edges, none, the circuits, their complements, and the random ones.
    fn all(&self) -> Vec<Vec<bool>> {
        let edges = self.included.first().map_or(0, Vec::len);
        let complement = self.included.iter().map(|included| included.iter().map(|included| !included).collect());
        let ends = [vec![true; edges], vec![false; edges]].into_iter();
        ends.chain(self.included.iter().cloned()).chain(complement).chain(self.random.iter().cloned()).collect()
    }
}

/// What one set of outputs in the place of the others gives, for each size.
struct Measured {
    value: Vec<f64>,
    faithfulness: Vec<f64>,
    completeness: Vec<f64>,
    /// Means over the random circuits.
    random: Vec<f64>,
    /// The values with all edges and without any.
    ends: [f64; 2],
}

impl Measured {
    /// Divides the values of [`Masks::all`].
    fn new(values: &[f64], sizes: usize) -> Result<Self> {
        let ends = [values[0], values[1]];
        if let Some(error) = undefined(ends) {
            return Err(error);
        }
        let [full, none] = ends;
        let of = |values: &[f64]| values.iter().map(|&value| (value - none) / (full - none)).collect::<Vec<f64>>();
        let (included, rest) = values[2..].split_at(sizes);
        let (complement, random) = rest.split_at(sizes);
        let repeats = (random.len() / sizes.max(1)).max(1);
        let random = random.chunks(repeats).map(|of_size| of(of_size).iter().sum::<f64>() / repeats as f64).collect();
        Ok(Self { value: included.to_vec(), faithfulness: of(included), completeness: of(complement), random, ends })
    }
}

/// Measures the circuits on one case. With several sets of outputs in the place of the others, everything is the mean
/// over them.
pub(super) fn measure(
    case: &Case<'_>,
    (masks, counts): (&Masks, &[usize]),
    replaced: &Replaced<'_>,
) -> Result<Labelled> {
    let (run, observable) = (case.clean, case.observable);
    let (sizes, all) = (masks.included.len(), masks.all());
    let edges = all[0].len();
    let mut found = Vec::new();
    for outputs in replaced.of(case)? {
        found.push(Measured::new(&rewired_values(run, &outputs, &all, observable)?, sizes)?);
    }
    let [clean, corrupted] = both_values([run, case.corrupted], observable)?;
    let scale = clean.abs().max(corrupted.abs()).max(1.0);
    let mut ends = found.iter().fold(0.0, |worst, one| worse(worst, (one.ends[0] - clean).abs() / scale));
    if replaced.ablation() == Ablation::Corrupted {
        ends = found.iter().fold(ends, |worst, one| worse(worst, (one.ends[1] - corrupted).abs() / scale));
    }
    let mean = |of: &dyn Fn(&Measured) -> &[f64]| -> Vec<f64> {
        (0..sizes).map(|n| found.iter().map(|one| of(one)[n]).sum::<f64>() / found.len() as f64).collect()
    };
    let (faithfulness, completeness) = (mean(&|one| &one.faithfulness), mean(&|one| &one.completeness));
    let shares: Vec<f64> = counts.iter().map(|&n| n as f64 / edges as f64).collect();
    let distance: Vec<f64> = faithfulness.iter().map(|f| (1.0 - f).abs()).collect();
    let axis = [("size", sizes)];
    let mut result = Labelled::new("circuit", run).note("observable", observable.to_string());
    if !masks.random.is_empty() {
        result = result.with("random", &axis, narrow(&mean(&|one| &one.random)));
    }
    if replaced.ablation() == Ablation::Resample {
        let apart = |n: usize| deviation(&found.iter().map(|one| one.faithfulness[n]).collect::<Vec<f64>>());
        result = result.with("deviation", &axis, (0..sizes).map(|n| apart(n) as f32).collect()).with(
            "resamples",
            &[("value", 1)],
            vec![found.len() as f32],
        );
    }
    result
        .with("value", &axis, narrow(&mean(&|one| &one.value)))
        .with("faithfulness", &axis, narrow(&faithfulness))
        .with("completeness", &axis, narrow(&completeness))
        .with("area", &[("value", 1)], vec![area(&shares, &faithfulness, 0.0) as f32])
        .with("distance", &[("value", 1)], vec![area(&shares, &distance, 1.0) as f32])
        .certify(Certificate::new("ends", ends, same(run.model()).max(1e-4)))
}

/// Returns the error of a prompt whose values with all edges and without any are the same, so that nothing can be
/// divided by their difference.
pub(super) fn undefined([full, none]: [f64; 2]) -> Option<Error> {
    let size = full.abs().max(none.abs()).max(1.0);
    ((full - none).abs() <= LEAST * size).then(|| {
        Error::Input(format!("J is {full:.4} with all edges and {none:.4} without any: faithfulness is undefined"))
    })
}

/// Returns the integral of `values` over `shares`, by trapezoids; `first` is the value at 0.
fn area(shares: &[f64], values: &[f64], first: f64) -> f64 {
    let (mut sum, mut before) = (0.0, (0.0, first));
    for point in shares.iter().copied().zip(values.iter().copied()) {
        sum += 0.5 * (point.0 - before.0) * (point.1 + before.1);
        before = point;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_sums_of_trapezoids() {
        assert_eq!(area(&[0.5, 1.0], &[1.0, 1.0], 0.0), 0.75);
        assert_eq!(area(&[0.0, 1.0], &[0.0, 1.0], 0.0), 0.5);
        assert_eq!(area(&[], &[], 0.0), 0.0);
    }
}
