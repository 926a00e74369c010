//! Snapshots of a level: displacements and sensitivities of pairs of prompts.

use resolvent_model::{Mode, Observable, Run, Seed, SeededRun, Site, captures, gaussian, vjp_of};

use super::options::{ReduceOptions, Sensitivities};
use crate::between::between_at;
use crate::case::Case;
use crate::error::{Error, Result};
use crate::patch::both_values;

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
    let site = Site::level(level, first.corrupted.model().sizes());
    let both = cases.iter().flat_map(|case| [case.clean, case.corrupted]);
    let sites = [site];
    let fields = captures(&both.map(|run| (run, &sites[..])).collect::<Vec<_>>())?;
    let chi = sensitivities(cases, site, options)?;
    let mut probes = match probed {
        true => probes(cases, site, options.seed)?,
        false => vec![Vec::new(); cases.len()],
    };
    let mut found = Vec::with_capacity(cases.len());
    for (n, ((case, chi), roles)) in cases.iter().zip(chi).zip(roles).enumerate() {
        let [clean, corrupted] = both_values([case.clean, case.corrupted], case.observable)?;
        let difference = clean - corrupted;
        if difference.abs() <= LEAST * clean.abs().max(corrupted.abs()).max(1.0) {
            return Err(Error::Input("J is the same in both prompts, so there is no effect to reduce".to_owned()));
        }
        let rows = fields[2 * n][0].iter().zip(&fields[2 * n + 1][0]);
        let moved = rows.map(|(a, b)| (a - b) / difference.abs() as f32).collect();
        let over_range = |rows: &Vec<f32>| rows.iter().map(|x| x / difference.abs() as f32).collect();
        let fields = [0, 1].map(|end| over_range(&fields[2 * n + end][0]));
        found.push(Snapshot { moved, chi, fields, probes: std::mem::take(&mut probes[n]), roles, difference });
    }
    Ok(found)
}

/// Returns chi\[m\] `[T, d]` of each case.
fn sensitivities(cases: &[Case<'_>], site: Site, options: &ReduceOptions) -> Result<Vec<Vec<f32>>> {
    let of = |mode, runs: &[&Run]| {
        let observables: Vec<&Observable> = cases.iter().map(|case| case.observable).collect();
        gradients(mode, runs, &observables, site)
    };
    let corrupted: Vec<&Run> = cases.iter().map(|case| case.corrupted).collect();
    match options.sensitivities {
        Sensitivities::FirstOrder => of(Mode::Exact, &corrupted),
        Sensitivities::RelP => of(Mode::RelP, &corrupted),
        Sensitivities::Averaged => {
            let mut sums: Vec<Vec<f32>> = Vec::new();
            for step in 0..options.steps {
                let share = (step as f32 + 0.5) / options.steps as f32;
                let runs = between_at(site, cases, &[], share)?;
                let each = of(Mode::Exact, &runs.iter().collect::<Vec<_>>())?;
                sums.resize_with(cases.len(), Vec::new);
                for (sum, chi) in sums.iter_mut().zip(each) {
                    sum.resize(chi.len(), 0.0);
                    sum.iter_mut().zip(chi).for_each(|(sum, x)| *sum += x / options.steps as f32);
                }
            }
            Ok(sums)
        }
    }
}

/// Returns the gradient `[T, d]` of each run's observable at a site.
fn gradients(mode: Mode, runs: &[&Run], observables: &[&Observable], site: Site) -> Result<Vec<Vec<f32>>> {
    let seeds: Vec<Vec<Seed>> =
        runs.iter().zip(observables).map(|(run, j)| run.seeds(j)).collect::<std::result::Result<_, _>>()?;
    carried_down(mode, &runs.iter().copied().zip(&seeds).collect::<Vec<_>>(), site)
}

/// Carries the cotangents of each run down to a site: `[T, d]` each.
fn carried_down(mode: Mode, seeds: &[(&Run, &Vec<Seed>)], site: Site) -> Result<Vec<Vec<f32>>> {
    let d = seeds.first().map_or(0, |(run, _)| run.model().sizes().d);
    let seeded: Vec<SeededRun<'_>> = seeds.iter().map(|(run, seeds)| SeededRun { run, seeds }).collect();
    let mut rows: Vec<Vec<f32>> = seeds.iter().map(|(run, _)| vec![0.0; run.tokens().len() * d]).collect();
    vjp_of(mode, &seeded, &[site], &mut |chunk| {
        rows[chunk.sequence][chunk.token * d..][..chunk.rows.len()].copy_from_slice(chunk.rows);
    })?;
    Ok(rows)
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
        let seeded: Vec<(&Run, &Vec<Seed>)> = seeds.iter().map(|seeds| (run, seeds)).collect();
        all.push(carried_down(Mode::Exact, &seeded, site)?.concat());
    }
    Ok(all)
}
