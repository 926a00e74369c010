//! `Run.locate`: the place and the direction of an unknown source.

use pyo3::prelude::*;
use resolvent::field::{LocateOptions, Observed, locate as locate_source};
use resolvent::model::{Observable, Run, from_end};

use crate::arguments::check_model;
use crate::arrays::{contiguous, floats};
use crate::classes::PyRun;
use crate::failure::{Result, value_error};
use crate::lists::{List, Many, Seed, count};
use crate::observable::PyObservable;
use crate::result::PyResultOf;
use crate::work::detached;

#[pymethods]
impl PyRun {
    /// Infers the place and the direction of an unknown source from its response, with a credible set of places.
    ///
    /// `response` is a change of the field [L+1, T, d], of which `levels` are observed (the default is the last one).
    /// With `values`, it is the changes [M] of M observables; each is an observable, or a pair (run, observable) with
    /// the same source in another prompt, counted from the end. `noise` is the length of the noise over that of the
    /// response, and `length` the expected length of the source. `draws` random sources at each place measure what can
    /// be told apart. The places of `best` reach the posterior probability `share` together.
    ///
    /// With `sources` above 1, up to so many sources are found that explain the response together.
    ///
    /// Arrays: `posterior`, `score`, `identifiable` [L+1, T], `best` [K, 2], `probability` [K], `direction` [d],
    /// `resolution` [L+1, T, L+1, T]; of several sources `sources` [S, 2], `source_directions` [S, d], `gain` [S],
    /// `source_posteriors` [S, L+1, T].
    #[pyo3(
        signature = (response, *, levels = None, values = None, noise = 0.01, length = None, draws = 4,
            share = 0.95, seed = Seed(0), sources = 1),
        text_signature = "($self, response, *, levels=None, values=None, noise=0.01, length=None, draws=4, share=0.95, \
            seed=0, sources=1)"
    )]
    fn locate(
        &self,
        response: &Bound<'_, PyAny>,
        levels: Option<Many<i64>>,
        values: Option<List<Bound<'_, PyAny>>>,
        noise: f64,
        length: Option<f64>,
        draws: i64,
        share: f64,
        seed: Seed,
        sources: i64,
    ) -> Result<PyResultOf> {
        let (draws, seed, sources) = (count("draws", draws)?, seed.0, count("sources", sources)?);
        let observed = (levels.map(|levels| levels.0), values.map(|values| values.0));
        locate(&self.run, response, observed, &LocateOptions { noise, length, draws, share, seed, sources })
    }
}

/// Locates the source of a response, which is observed at `levels` of the field or as values of observables.
fn locate(
    run: &Run,
    response: &Bound<'_, PyAny>,
    (levels, values): (Option<Vec<i64>>, Option<Vec<Bound<'_, PyAny>>>),
    options: &LocateOptions,
) -> Result<PyResultOf> {
    let (py, count) = (response.py(), run.model().sizes().layers + 1);
    let given = contiguous(&floats(response)?)?.to_vec();
    if levels.is_some() && values.is_some() {
        return Err(value_error("both levels and values are given: leave one out"));
    }
    let readings = match &values {
        Some(values) => values.iter().map(|value| reading(run, value)).collect::<Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    let of_values = values.is_some();
    let levels = levels.unwrap_or_else(|| vec![-1]);
    let levels = levels.into_iter().map(|level| from_end("level", level, count)).collect::<Result<Vec<_>, _>>()?;
    let result = detached(py, |_| {
        let (observed, response) = match of_values {
            true => {
                let readings: Vec<(&Run, Observable)> = readings.iter().map(|(run, j)| (run, j.clone())).collect();
                (Observed::values(&readings)?, given)
            }
            false => {
                let observed = Observed::levels(run, &levels)?;
                let response = observed.of_field(&given)?;
                (observed, response)
            }
        };
        locate_source(&observed, &response, options)
    })?;
    PyResultOf::new(py, result, Some(run), None)
}

/// Reads an observable, which is of this run, or a pair (run, observable).
fn reading(run: &Run, value: &Bound<'_, PyAny>) -> Result<(Run, Observable)> {
    let py = value.py();
    if let Ok(j) = value.cast::<PyObservable>() {
        return Ok((run.clone(), j.get().of(py, run)?));
    }
    let (other, j): (Bound<'_, PyRun>, Bound<'_, PyObservable>) = value.extract()?;
    let other = other.get().run.clone();
    check_model(run.model(), &other, "a run of the values")?;
    let j = j.get().of(py, &other)?;
    Ok((other, j))
}
