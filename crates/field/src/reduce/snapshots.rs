//! Snapshots of a level: displacements and sensitivities of pairs of prompts.

use resolvent_model::{Mode, Observable, Run, Seed, SeededRun, Site, captures, gaussian, values};

use super::options::{ReduceOptions, Sensitivities};
use crate::between::{Between, middles};
use crate::case::Case;
use crate::derivatives::{cotangents_all, derivatives_all};
use crate::error::{Error, Result};

/// What one pair of prompts shows of level m.
pub(super) struct Snapshot {
    /// `h_clean[m, t] - h_corrupted[m, t]` over the range, `[T, d]`.
    pub(super) moved: Vec<f32>,
    /// chi\[m, t\], `[T, d]`.
    pub(super) chi: Vec<f32>,
    /// h\[m, t\] of the clean and the corrupted run over the range, `[T, d]` each.
    pub(super) fields: [Vec<f32>; 2],
    /// Random cotangents of the last level, carried down to level m: `[PROBES, T, d]`; empty without probes.
    pub(super) probes: Vec<f32>,
    /// The role of each token.
    pub(super) roles: Vec<usize>,
    /// `J(clean) - J(corrupted)`.
    pub(super) difference: f64,
}

impl Snapshot {
    /// Returns the unit of effects of this pair: `|J(clean) - J(corrupted)|`.
    pub(super) fn range(&self) -> f64 {
        self.difference.abs()
    }
}

/// Random cotangents of each prompt. The mean square of a Gaussian product errs by about `sqrt(2 / PROBES / prompts)`.
const PROBES: usize = 8;

/// Differences of J below this share of its size are rounding.
const LEAST: f64 = 1e-4;

/// Takes the snapshots of several pairs, which share passes. `probed` adds the probes.
pub(super) fn snapshots(
    cases: &[Case<'_>],
    roles: Vec<Vec<usize>>,
    (level, probed): (usize, bool),
    options: &ReduceOptions,
) -> Result<Vec<Snapshot>> {
    let Some(first) = cases.first() else { return Ok(Vec::new()) };
    let both: Vec<_> = cases.iter().flat_map(|case| [(case.clean, case.observable), case.reading()]).collect();
    let differences: Vec<f64> = values(&both)?.chunks(2).map(difference).collect::<Result<_>>()?;
    let sites = [Site::level(level, first.corrupted.model().sizes())];
    let fields = captures(&both.iter().map(|(run, _)| (*run, &sites[..])).collect::<Vec<_>>())?;
    let chi = sensitivities(cases, sites[0], options)?;
    let probes = match probed {
        true => probes(cases, sites[0], options.seed)?,
        false => vec![Vec::new(); cases.len()],
    };
    let mut found = Vec::with_capacity(cases.len());
    let parts = fields.chunks(2).zip(chi).zip(probes).zip(roles).zip(differences);
    for ((((fields, chi), probes), roles), difference) in parts {
        let over_range = |x: f32| x / difference.abs() as f32;
        let moved = fields[0][0].iter().zip(&fields[1][0]).map(|(a, b)| over_range(a - b)).collect();
        let fields = [0, 1].map(|end| fields[end][0].iter().copied().map(over_range).collect());
        found.push(Snapshot { moved, chi, fields, probes, roles, difference });
    }
    Ok(found)
}

/// Returns `J(clean) - J(corrupted)` of the two values, or an error if it is rounding.
fn difference(values: &[f64]) -> Result<f64> {
    let [clean, corrupted] = [values[0], values[1]];
    match (clean - corrupted).abs() <= LEAST * clean.abs().max(corrupted.abs()).max(1.0) {
        true => Err(Error::Input("J is the same in both prompts, so there is no effect to reduce".to_owned())),
        false => Ok(clean - corrupted),
    }
}

/// Returns chi\[m\] `[T, d]` of each case.
fn sensitivities(cases: &[Case<'_>], site: Site, options: &ReduceOptions) -> Result<Vec<Vec<f32>>> {
    let of = |mode, runs: &[&Run]| -> Result<Vec<Vec<f32>>> {
        let readings: Vec<(&Run, &Observable)> =
            runs.iter().zip(cases).map(|(run, case)| (*run, case.observable)).collect();
        Ok(derivatives_all(mode, &readings, &[site])?.into_iter().map(|mut sites| sites.remove(0)).collect())
    };
    let corrupted: Vec<&Run> = cases.iter().map(|case| case.corrupted).collect();
    match options.sensitivities {
        Sensitivities::FirstOrder => of(Mode::Exact, &corrupted),
        Sensitivities::RelP => of(Mode::RelP, &corrupted),
        Sensitivities::Averaged => {
            let zeros = |case: &Case<'_>| vec![0.0; case.corrupted.tokens().len() * case.corrupted.model().sizes().d];
            let mut sums: Vec<Vec<f32>> = cases.iter().map(zeros).collect();
            let between = Between::at(site, cases)?;
            for share in middles(options.steps) {
                let runs = between.runs(share, &[])?;
                for (sum, chi) in sums.iter_mut().zip(of(Mode::Exact, &runs.iter().collect::<Vec<_>>())?) {
                    sum.iter_mut().zip(chi).for_each(|(sum, x)| *sum += x / options.steps as f32);
                }
            }
            Ok(sums)
        }
    }
}

/// Returns the probes of each case's corrupted run, `[PROBES, T, d]`.
fn probes(cases: &[Case<'_>], site: Site, seed: u64) -> Result<Vec<Vec<f32>>> {
    let mut all = Vec::with_capacity(cases.len());
    for case in cases {
        let (run, tokens) = (case.corrupted, case.corrupted.tokens().len());
        let sizes = run.model().sizes();
        let drawn = gaussian(seed, PROBES * tokens * sizes.d);
        let seeds: Vec<Vec<Seed>> = drawn
            .chunks(tokens * sizes.d)
            .map(|level| {
                let seed =
                    |(token, row): (usize, &[f32])| Seed::Field { level: sizes.layers, token, vector: row.to_vec() };
                level.chunks(sizes.d).enumerate().map(seed).collect()
            })
            .collect();
        let seeded: Vec<SeededRun<'_>> = seeds.iter().map(|seeds| SeededRun { run, seeds }).collect();
        all.push(cotangents_all(Mode::Exact, &seeded, &[site])?.concat().concat());
    }
    Ok(all)
}
