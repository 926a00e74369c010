//! Errors of reduced effects on held-out prompts.

use resolvent_model::{Edit, EditedRun, Site, values_of};

use super::snapshots::Snapshot;
use crate::case::Case;
use crate::certificate::{Certificate, alone_of, dot};
use crate::displacements::Displacements;
use crate::error::Result;
use crate::site_kind::SiteKind;
use crate::stats::{Interval, interval};

/// Squared errors on one prompt, in units of its range.
pub(super) struct Measured {
    /// Of each reduced sensitivity: the sum over patches of the squared error.
    pub(super) square: Vec<f64>,
    /// The sum over patches of the squared effect.
    pub(super) actual: f64,
}

/// Patches every place up to level m of each case, and compares the effects with those that reduced sensitivities of
/// level m predict from the responses there. `reduced` are several sensitivities `[T, d]` of each case. Returns the
/// errors, and the check of some patched runs by themselves.
pub(super) fn measure(
    cases: &[Case<'_>],
    level: usize,
    snapshots: &[Snapshot],
    reduced: &[Vec<Vec<f32>>],
) -> Result<(Vec<Measured>, Certificate)> {
    let patches = Displacements::of_all(cases, SiteKind::Resid)?;
    let below = |case: &Case<'_>| (level + 1) * case.corrupted.tokens().len();
    let edits = patches
        .iter()
        .zip(cases)
        .map(|(patches, case)| (0..below(case)).map(|i| patches.edits(i)).collect::<Result<Vec<Vec<Edit>>>>())
        .collect::<Result<Vec<_>>>()?;
    let unpatched: &[Edit] = &[];
    let variants: Vec<EditedRun<'_>> = cases
        .iter()
        .zip(&edits)
        .flat_map(|(case, edits)| {
            let each = [unpatched].into_iter().chain(edits.iter().map(Vec::as_slice));
            each.map(|edits| EditedRun { run: case.corrupted, edits, observable: case.observable })
        })
        .collect();
    let values = values_of(&variants)?;
    let alone = alone_of(cases[0].corrupted.model(), &variants, &values)?;
    let (mut values, mut measured) = (values.into_iter(), Vec::with_capacity(cases.len()));
    for (((case, edits), snapshot), reduced) in cases.iter().zip(&edits).zip(snapshots).zip(reduced) {
        let base = values.next().unwrap_or(f64::NAN);
        let effects: Vec<f64> =
            values.by_ref().take(edits.len()).map(|value| (value - base) / snapshot.range()).collect();
        let predicted = predicted(case, level, edits, reduced)?;
        let square = |predicted: &Vec<f64>| {
            let difference = |(p, e): (&f64, &f64)| (p / snapshot.range() - e).powi(2);
            predicted.iter().zip(&effects).map(difference).sum()
        };
        let actual = effects.iter().map(|e| e * e).sum();
        measured.push(Measured { square: predicted.iter().map(square).collect(), actual });
    }
    Ok((measured, alone))
}

/// Returns `<chi, response>` at level m of each patch, for each sensitivity.
fn predicted(case: &Case<'_>, level: usize, edits: &[Vec<Edit>], reduced: &[Vec<f32>]) -> Result<Vec<Vec<f64>>> {
    let run = case.corrupted;
    let (site, d) = (Site::level(level, run.model().sizes()), run.model().sizes().d);
    let base = run.capture(site)?;
    let mut predicted = vec![vec![0.0; edits.len()]; reduced.len()];
    let mut response = Vec::new();
    run.fields_under(edits, &[site], &mut |chunk| {
        let from = chunk.token * d;
        response.clear();
        response.extend(chunk.rows.iter().zip(&base[from..]).map(|(a, b)| a - b));
        for (predicted, chi) in predicted.iter_mut().zip(reduced) {
            predicted[chunk.sequence] += dot(&response, &chi[from..from + response.len()]);
        }
    })?;
    Ok(predicted)
}

/// Returns the relative error of a cell over all prompts, `sqrt(sum of squared errors / sum of squared effects)`, with
/// its 95 % interval over prompts; the ends are NaN for fewer than eight.
pub(super) fn error(measured: &[Measured], cell: usize, seed: u64) -> Interval {
    let of = |draw: &[&Measured]| {
        let (square, actual) =
            draw.iter().fold((0.0, 0.0), |(square, actual), one| (square + one.square[cell], actual + one.actual));
        f64::sqrt(square / actual)
    };
    interval(measured, seed, of)
}
