//! Runs with their observables and probes, and finite responses along all probes together.

use std::ops::Range;

use resolvent_model::{Edit, EditedRun, Observable, ProbedRun, Run, Source, captures, values, values_of};

use super::RegimeCase;
use super::probe::{Probe, probes};
use crate::error::Result;
use crate::noise;
use crate::quadrature::Rule;
use crate::radius::Curve;
use crate::secant::{Sourced, secants};
use crate::sensitivity::chi_all;

/// The most elements of the sources of one sweep: 64 MiB.
const SOURCES: usize = 16 << 20;

/// A case, with what its probes share.
pub(super) struct At<'a> {
    pub(super) run: &'a Run,
    pub(super) observable: &'a Observable,
    /// Its probes, among those of all cases.
    pub(super) probes: Range<usize>,
    /// The field `[L+1, T, d]`.
    pub(super) field: Vec<f32>,
    /// The sensitivities `[L+1, T, d]`.
    pub(super) chi: Vec<f32>,
    pub(super) value: f64,
    /// The noise floor of J.
    pub(super) noise: f64,
}

/// All cases, and the probes of each, one case after another. Runs of one batch share passes.
pub(super) struct Setup<'a> {
    pub(super) cases: Vec<At<'a>>,
    pub(super) probes: Vec<Probe>,
}

impl<'a> Setup<'a> {
    /// Places the probes, for some amplitudes. If `absolute` is false, their unit is |h\[l, t\]|.
    pub(super) fn new(cases: &[RegimeCase<'a>], (amplitudes, absolute): (&[f32], bool)) -> Result<Self> {
        let levels = cases.first().map_or_else(Vec::new, |case| case.run.levels());
        let fields = captures(&cases.iter().map(|case| (case.run, &levels[..])).collect::<Vec<_>>())?;
        let fields: Vec<Vec<f32>> = fields.into_iter().map(|levels| levels.concat()).collect();
        let (mut all, mut ranges) = (Vec::new(), Vec::with_capacity(cases.len()));
        for (of, (case, field)) in cases.iter().zip(&fields).enumerate() {
            let first = all.len();
            all.extend(probes(of, (case.run, field), case.sites, (amplitudes, absolute))?);
            ranges.push(first..all.len());
        }
        let readings: Vec<(&Run, &Observable)> = cases.iter().map(|case| (case.run, case.observable)).collect();
        let (values, chi) = (values(&readings)?, chi_all(&readings)?);
        let each = readings.into_iter().zip(fields).zip(values.into_iter().zip(chi)).zip(ranges);
        let cases = each.map(|((((run, observable), field), (value, chi)), probes)| {
            let noise = noise::unit(run.model().sizes()) * noise::square(&chi, &field).sqrt();
            At { run, observable, probes, field, chi, value, noise }
        });
        Ok(Self { cases: cases.collect(), probes: all })
    }

    /// Returns the case of a probe.
    pub(super) fn of(&self, probe: usize) -> &At<'a> {
        &self.cases[self.probes[probe].of]
    }

    /// Returns the noise floor of each probe's J.
    pub(super) fn noise(&self) -> Vec<f64> {
        self.probes.iter().map(|probe| self.cases[probe.of].noise).collect()
    }

    /// Returns the probes as sources of amplitude 1.
    pub(super) fn sources(&self) -> Vec<[Source; 1]> {
        self.probes.iter().map(|probe| [probe.source(1.0)]).collect()
    }

    /// Returns sources of the probes, one each, with their runs and observables.
    pub(super) fn probed<'s>(&'s self, sources: &'s [[Source; 1]]) -> Vec<ProbedRun<'s>> {
        let each = self.probes.iter().zip(sources).map(|(probe, sources)| {
            let At { run, observable, .. } = self.cases[probe.of];
            ProbedRun { run, sources, observable }
        });
        each.collect()
    }

    /// Returns what `some` gives for parts of the points, each with `copies` vectors of width d.
    fn in_parts<T>(
        &self,
        points: &[(usize, f64)],
        copies: usize,
        mut some: impl FnMut(&[(usize, f64)]) -> Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let width = self.probes.first().map_or(1, |probe| probe.vector.len());
        let mut all = Vec::with_capacity(points.len());
        for part in points.chunks((SOURCES / (copies * width).max(1)).max(1)) {
            all.extend(some(part)?);
        }
        Ok(all)
    }
}

impl Curve for Setup<'_> {
    fn finite(&self, points: &[(usize, f64)]) -> Result<Vec<f64>> {
        self.in_parts(points, 1, |points| {
            let edits: Vec<[Edit; 1]> = points.iter().map(|&(n, a)| self.probes[n].edit(a)).collect();
            let edited = points.iter().zip(&edits).map(|(&(n, _), edits)| {
                let At { run, observable, .. } = self.of(n);
                EditedRun { run, edits, observable }
            });
            let values = values_of(&edited.collect::<Vec<_>>())?;
            Ok(values.into_iter().zip(points).map(|(v, &(n, _))| v - self.of(n).value).collect())
        })
    }
}

/// The same responses, predicted by secants.
pub(super) struct Secants<'a> {
    pub(super) setup: &'a Setup<'a>,
    pub(super) rule: Rule,
}

impl Secants<'_> {
    /// Returns the secants by the rule and by its embedded rule.
    pub(super) fn of(&self, points: &[(usize, f64)]) -> Result<Vec<[f64; 2]>> {
        self.setup.in_parts(points, self.rule.nodes.len(), |points| {
            let sourced = points.iter().map(|&(n, a)| {
                let At { run, observable, .. } = *self.setup.of(n);
                Sourced { run, observable, source: self.setup.probes[n].source(a) }
            });
            secants(&sourced.collect::<Vec<_>>(), &self.rule)
        })
    }
}

impl Curve for Secants<'_> {
    fn finite(&self, points: &[(usize, f64)]) -> Result<Vec<f64>> {
        self.setup.finite(points)
    }

    fn predicted(&self, _: &[f64], points: &[(usize, f64)]) -> Result<Vec<f64>> {
        Ok(self.of(points)?.into_iter().map(|[secant, _]| secant).collect())
    }
}
