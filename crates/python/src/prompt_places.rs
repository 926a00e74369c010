//! Analyses of many prompts at one place of each: an expansion to second order, a subspace patch, growth.

use pyo3::prelude::*;
use resolvent::field::{
    Basis, BasisContext, CaseRuns, End, QuadraticOptions, SubspaceOptions, growth_of_prompts, over_prompts, quadratic,
    subspace_of_prompts,
};
use resolvent::model::{Mode, Site};

use crate::arguments::place;
use crate::circuits::directions_of;
use crate::failure::Result;
use crate::lists::{Many, Pair, Seed, count, counts};
use crate::prompts::PyPrompts;
use crate::result::PyResultOf;
use crate::slice::Vectors;

#[pymethods]
impl PyPrompts {
    /// Expands each prompt's observable to second order in a few directions at a place of each; arguments and arrays as
    /// those of `Run.quadratic`, with an axis `prompt`. The displacement is to the row's corrupted prompt, if it has
    /// one.
    #[pyo3(
        signature = (at, basis = None, *, rank = None, amplitudes = None, samples = 32, probes = 16, seed = Seed(0)),
        text_signature = "($self, at, basis=None, *, rank=None, amplitudes=None, samples=32, probes=16, seed=0)"
    )]
    fn quadratic(
        &self,
        py: Python<'_>,
        at: Pair,
        basis: Option<&Bound<'_, PyAny>>,
        rank: Option<i64>,
        amplitudes: Option<Many<f32>>,
        samples: i64,
        probes: i64,
        seed: Seed,
    ) -> Result<PyResultOf> {
        let named = Vectors::Named(Basis::Curvature(0));
        let basis = basis.map_or(Ok(named), |basis| Vectors::new(&self.model, Some(basis)))?;
        let (rank, samples, probes) = (counts("rank", rank)?, count("samples", samples)?, count("probes", probes)?);
        let amplitudes = amplitudes.map_or(QuadraticOptions::default().amplitudes, |amplitudes| amplitudes.0);
        let options = QuadraticOptions { amplitudes, samples, probes, seed: seed.0 };
        let one = |runs: &CaseRuns<'_>| {
            let (run, j, place) = (&runs.clean, runs.observable()?, place(&runs.clean, at)?);
            let (observables, others) = (std::slice::from_ref(j), runs.corrupted.as_slice());
            let context = BasisContext { observables, others, rank, position: None };
            let frames = basis.frames(&run.linearize(Mode::Exact), (&[place], End::Source), context)?;
            quadratic(run, j, (place, &frames), runs.corrupted.as_ref(), &options)
        };
        self.each(py, |model, cases, progress| {
            over_prompts(model, cases, &[], &mut |runs| Ok(runs.iter().map(one).collect()), progress)
        })
    }

    /// Patches a site of each pair along a few directions, at a token counted from the end if negative; arguments and
    /// arrays as those of `Model.subspace`, with an axis `prompt`.
    #[pyo3(
        signature = (site, token = -1, *, directions = None, readers = "next", controls = 16, seed = Seed(0)),
        text_signature = "($self, site, token=-1, *, directions=None, readers=\"next\", controls=16, seed=0)"
    )]
    fn subspace(
        &self,
        py: Python<'_>,
        site: &str,
        token: i64,
        directions: Option<&Bound<'_, PyAny>>,
        readers: &str,
        controls: i64,
        seed: Seed,
    ) -> Result<PyResultOf> {
        let (site, of): (Site, _) = (site.parse()?, directions_of(directions)?);
        let (random, seed) = (count("controls", controls)?, seed.0);
        let options = SubspaceOptions { readers: readers.parse()?, random, seed };
        self.each(py, |model, cases, progress| {
            subspace_of_prompts(model, cases, (site, token), (&of, options), progress)
        })
    }

    /// How much each block amplifies a source at its own token in each prompt, at tokens counted from the end if
    /// negative; arrays as those of `Run.growth`, with an axis `prompt`.
    #[pyo3(signature = (at = Many(vec![-1])), text_signature = "($self, at=-1)")]
    fn growth(&self, py: Python<'_>, at: Many<i64>) -> Result<PyResultOf> {
        let at = resolvent::field::distinct(at.0);
        self.each(py, |model, cases, progress| growth_of_prompts(model, cases, &at, progress))
    }
}
