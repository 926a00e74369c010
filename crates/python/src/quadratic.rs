//! `Run.quadratic`: an observable to second order in a few directions of a place.

use pyo3::prelude::*;
use resolvent::field::{Basis, BasisContext, End, QuadraticOptions, quadratic};
use resolvent::model::{Mode, Run};

use crate::arguments::{place, run_of};
use crate::classes::PyRun;
use crate::failure::{Failure, Result};
use crate::lists::{Many, Pair, Seed, count, counts};
use crate::observable::Given;
use crate::result::PyResultOf;
use crate::slice::Vectors;
use crate::work::detached;

#[pymethods]
impl PyRun {
    /// Expands an observable to second order in a few directions at a place (level, position), and measures how far
    /// both orders hold.
    ///
    /// `basis` is `curvature[:SEED]` (the sensitivity, and the directions along which the observable has the largest
    /// curvature), an array [d, k], or a basis as in `slice`, with `rank` vectors. `amplitudes` are lengths of random
    /// sources in units of |h[l,t]|, `samples` their number; `probes` random vectors estimate the curvature outside of
    /// the directions.
    /// `donor` is another prompt or run, of as many tokens, whose displacement is expanded too.
    ///
    /// Arrays: `slope`, `curvature` [k] (for sources of length 1), `direction` [k, d], `top_tokens` [k, 5], `size`,
    /// `captured` [1]; `amplitudes`, `error_first`, `error_second` [A]; `response`, `first`, `second` [A, N]; with
    /// `donor`: `moved_share`, `moved_effect`, `moved_within`, `moved_first`, `moved_second` [1].
    #[pyo3(
        signature = (observable, at, basis = None, *, rank = None, amplitudes = None, samples = 32, probes = 16,
            seed = Seed(0), donor = None),
        text_signature = "($self, observable, at, basis=None, *, rank=None, amplitudes=None, samples=32, probes=16, \
            seed=0, donor=None)"
    )]
    fn quadratic(
        &self,
        py: Python<'_>,
        observable: Given<'_>,
        at: Pair,
        basis: Option<&Bound<'_, PyAny>>,
        rank: Option<i64>,
        amplitudes: Option<Many<f32>>,
        samples: i64,
        probes: i64,
        seed: Seed,
        donor: Option<&Bound<'_, PyAny>>,
    ) -> Result<PyResultOf> {
        let run = &self.run;
        let basis =
            basis.map_or(Ok(Vectors::Named(Basis::Curvature(0))), |basis| Vectors::new(run.model(), Some(basis)))?;
        let (j, title) = (observable.get().of(py, run)?, observable.get().title());
        let (place, rank) = (place(run, at)?, counts("rank", rank)?);
        let other: Option<Run> = donor.map(|donor| run_of(run.model(), donor, "the donor")).transpose()?;
        let amplitudes = amplitudes.map_or(QuadraticOptions::default().amplitudes, |amplitudes| amplitudes.0);
        let (samples, probes) = (count("samples", samples)?, count("probes", probes)?);
        let options = QuadraticOptions { amplitudes, samples, probes, seed: seed.0 };
        let result = detached(py, |_| {
            let others = other.as_slice();
            let context = BasisContext { observables: std::slice::from_ref(&j), others, rank, position: None };
            let frames = basis.frames(&run.linearize(Mode::Exact), (&[place], End::Source), context)?;
            Ok::<_, Failure>(quadratic(run, &j, (place, &frames), other.as_ref(), &options)?)
        })?;
        PyResultOf::new(py, result, Some(run), Some(&title))
    }
}
