//! The analyses of a run: convert arguments, call the library, and return a result.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use resolvent::field::{
    Case, FlowOptions, Goal, GreenOptions, InvertOptions, Method, RegimeOptions, SiteKind, TransferOptions, distinct,
    flow as flow_of, flow_between, green_with, regime as regime_at, sensitivity_along, sensitivity_at,
};
use resolvent::model::{Observable, Run, Site, Source};
use resolvent::{Direction, Place};

use crate::arguments::{About, Along, donor_of, field_vector, place, places, run_of, with_sites};
use crate::failure::{Result, value_error};
use crate::lists::{Pair, Seed, count, counts, items};
use crate::observable::PyObservable;
use crate::result::PyResultOf;
use crate::work::detached;

type Places<'a> = Option<&'a [Pair]>;

/// A direction, with the observable and donor that it refers to.
pub(crate) struct Direct {
    along: Along,
    about: About,
}

impl Direct {
    pub(crate) fn new(
        run: &Run,
        py: Python<'_>,
        (direction, unit): (Option<&Bound<'_, PyAny>>, bool),
        (observable, donor): (Option<&Bound<'_, PyObservable>>, Option<&Bound<'_, PyAny>>),
    ) -> Result<Self> {
        let observable = observable.map(|j| j.get().of(py, run)).transpose()?;
        let donor = donor_of(run.model(), donor)?;
        let along = Along::new(run.model(), direction)?;
        Ok(Self { along, about: About { observable, donor, unit } })
    }
}

/// Returns the kinds of sites with these names, each once.
pub(crate) fn kinds(names: &[String]) -> Result<Vec<SiteKind>> {
    Ok(distinct(names.iter().map(|kind| Ok(kind.parse()?)).collect::<Result<Vec<SiteKind>>>()?))
}

pub(crate) fn sensitivity(
    run: &Run,
    observable: &Bound<'_, PyObservable>,
    kinds: &[SiteKind],
    direction: Option<&str>,
    donor: Option<&Bound<'_, PyAny>>,
) -> Result<PyResultOf> {
    let py = observable.py();
    if direction.is_some() && !kinds.is_empty() {
        return Err(value_error("a direction is one of the field; give sites or a direction"));
    }
    let (j, title) = (observable.get().of(py, run)?, observable.get().title());
    let donor = donor_of(run.model(), donor)?;
    let named = direction.map(|text| Direction::parse(text, run.model())).transpose()?;
    let sites: Vec<Site> = kinds.iter().flat_map(|kind| kind.sites(run.model().sizes())).collect();
    let run = &detached(py, |_| with_sites(run, &sites))?;
    let result = detached(py, |_| match (&named, direction) {
        (Some(named), Some(text)) => Ok(sensitivity_along(run, &j, named, donor.as_ref())?.note("direction", text)),
        _ => Ok::<_, resolvent::field::Error>(sensitivity_at(&[(run, &j)], kinds)?.remove(0)),
    })?;
    PyResultOf::new(py, result, Some(run), Some(&title))
}

pub(crate) fn green(
    py: Python<'_>,
    run: &Run,
    at: Pair,
    Direct { along, about }: Direct,
    options: GreenOptions,
) -> Result<PyResultOf> {
    let at = place(run, at)?;
    let result = detached(py, |_| {
        let source = along.at(run, at, about.context())?;
        let result = green_with(run, at, &source, options)?;
        Ok::<_, crate::failure::Failure>(result.note("direction", along.name()).note("unit", about.unit.to_string()))
    })?;
    PyResultOf::new(py, result, Some(run), None)
}

pub(crate) fn flow(
    run: &Run,
    observable: &Bound<'_, PyObservable>,
    (at, Direct { along, about }): (Option<Pair>, Direct),
    options: FlowOptions,
) -> Result<PyResultOf> {
    let py = observable.py();
    let (j, title) = (observable.get().of(py, run)?, observable.get().title());
    let at = at.map(|at| place(run, at)).transpose()?;
    let result = detached(py, |_| match (at, &about.donor) {
        (Some(at), _) => {
            let site = Site::level(at.0, run.model().sizes());
            let source = Source { site, token: at.1, vector: along.at(run, at, about.context())? };
            let result = flow_of(run, &j, &[source], options)?;
            Ok::<_, crate::failure::Failure>(
                result.note("direction", along.name()).note("unit", about.unit.to_string()),
            )
        }
        (None, Some(donor)) => {
            let case = Case { clean: donor, corrupted: run, observable: &j };
            Ok(flow_between(&[case], options)?.remove(0))
        }
        (None, None) => Err(value_error("no source: give `at`=(level, position), or `donor`, another prompt")),
    })?;
    PyResultOf::new(py, result, Some(run), Some(&title))
}

pub(crate) fn identities(run: &Run, observable: &Bound<'_, PyObservable>) -> Result<PyResultOf> {
    let py = observable.py();
    let (j, title) = (observable.get().of(py, run)?, observable.get().title());
    let result = detached(py, |_| resolvent::field::identities(run, &j))?;
    PyResultOf::new(py, result, Some(run), Some(&title))
}

pub(crate) fn regime(
    run: &Run,
    observable: &Bound<'_, PyObservable>,
    Direct { along, about }: Direct,
    (sites, options): (Places<'_>, RegimeOptions),
) -> Result<PyResultOf> {
    let py = observable.py();
    let (j, title) = (observable.get().of(py, run)?, observable.get().title());
    let all = places(run, sites, j.position())?;
    let result = detached(py, |_| {
        let sources = along.sources(run, &all, (about.context(), sites.is_none()))?;
        let result = regime_at(run, &j, &sources, &options)?;
        Ok::<_, crate::failure::Failure>(result.note("direction", along.name()).note("unit", about.unit.to_string()))
    })?;
    PyResultOf::new(py, result, Some(run), Some(&title))
}

/// Checks the options of an inversion: the number of places and their choice, the limit, the weight of the energy,
/// steps and seed.
pub(crate) fn inversion(
    (sparse, choose): (Option<i64>, &str),
    limit: Option<f32>,
    damp: f64,
    (refine, seed): (i64, Seed),
) -> Result<InvertOptions> {
    let method = method(counts("sparse", sparse)?, choose)?;
    let (refine, seed) = (count("refine", refine)?, seed.0);
    if let Some(limit) = limit.filter(|limit| !limit.is_finite() || *limit <= 0.0) {
        return Err(value_error(format!("invalid limit={limit}: expected a finite number above 0 for |s| / |h[l,t]|")));
    }
    if !damp.is_finite() || damp < 0.0 {
        return Err(value_error(format!("invalid damp={damp}: expected a finite number >= 0")));
    }
    Ok(InvertOptions { method, limit, damp, refine, seed })
}

/// Returns the method that searches for sources.
fn method(sparse: Option<usize>, choose: &str) -> Result<Method> {
    match (sparse, choose) {
        (None, _) => Ok(Method::LeastEnergy),
        (Some(n), "greedy") => Ok(Method::Greedy(n)),
        (Some(n), "lasso") => Ok(Method::Lasso(n)),
        (_, other) => Err(value_error(format!("invalid choose={other:?}: expected greedy or lasso"))),
    }
}

pub(crate) fn invert(
    run: &Run,
    goals: &Bound<'_, PyAny>,
    sites: Places<'_>,
    options: &InvertOptions,
) -> Result<PyResultOf> {
    let py = goals.py();
    // A tuple is one goal, unless its items are goals too.
    let list = items(goals)?;
    let list = match goals.is_instance_of::<PyTuple>() && !list.iter().all(is_goal) {
        true => vec![goals.clone()],
        false => list,
    };
    let (mut wanted, mut title) = (Vec::new(), None);
    for item in &list {
        let pair = items(item).map_err(|_| value_error(GOAL))?;
        let [of, change] = &pair[..] else { return Err(value_error(GOAL)) };
        match of.cast::<PyObservable>() {
            Ok(j) => {
                if title.is_none() {
                    title = Some(j.get().title());
                }
                wanted.push(Goal::Observable { observable: j.get().of(py, run)?, change: change.extract()? });
            }
            Err(_) => {
                let place = place(run, of.extract::<Pair>().map_err(|_| value_error(GOAL))?)?;
                wanted.push(Goal::Field { place, change: field_vector(run.model(), change)? });
            }
        }
    }
    let last = wanted.iter().map(Goal::position).max().unwrap_or(0);
    let sites: Vec<Place> = places(run, sites, last)?;
    let result = detached(py, |_| resolvent::invert(run, &wanted, &sites, options))?;
    PyResultOf::new(py, result, Some(run), title.as_deref())
}

/// The form of a goal, for messages.
const GOAL: &str = "invalid goal: expected (observable, change) or ((level, position), vector)";

/// Returns whether an object is a pair that begins with an observable or a place.
fn is_goal(any: &Bound<'_, PyAny>) -> bool {
    let Ok(parts) = items(any) else { return false };
    parts.len() == 2 && (parts[0].is_instance_of::<PyObservable>() || parts[0].extract::<Pair>().is_ok())
}

pub(crate) fn transfer(
    run: &Run,
    (donor, others): (&Bound<'_, PyAny>, &[Bound<'_, PyAny>]),
    observable: &Bound<'_, PyObservable>,
    options: &TransferOptions,
) -> Result<PyResultOf> {
    let py = observable.py();
    if !options.scale.is_finite() || options.scale == 0.0 {
        let scale = options.scale;
        return Err(value_error(format!("invalid scale={scale}: expected a finite number other than 0")));
    }
    let (j, title) = (observable.get().of(py, run)?, observable.get().title());
    let donor = run_of(run.model(), donor, "the donor")?;
    let others =
        others.iter().map(|other| run_of(run.model(), other, "one of the others")).collect::<Result<Vec<Run>>>()?;
    let result = detached(py, |_| resolvent::transfer(run, &donor, &j, &others, options))?;
    PyResultOf::new(py, result, Some(run), Some(&title))
}

/// Returns the observable of an optional argument as a list of at most one.
pub(crate) fn observables(
    py: Python<'_>,
    run: &Run,
    observable: Option<&Bound<'_, PyObservable>>,
) -> Result<Vec<Observable>> {
    observable.into_iter().map(|j| j.get().of(py, run)).collect()
}
