//! Analyses of many prompts whose sources lie at places of each.

use pyo3::prelude::*;
use resolvent::field::{
    CaseRuns, Goal, GreenOptions, InvertCase, InvertOptions, OnProgress, PlacedSource, Prompts, RegimeCase,
    RegimeOptions, Result as Found, clean_alone, green_all, invert_all, over_prompts, regime_all,
};
use resolvent::model::{Model, PromptCase};
use resolvent::{Context, Labelled, Place};

use crate::arguments::{Along, place, places};
use crate::failure::{Result, value_error};
use crate::lists::Pair;

/// A direction in each of many prompts; a displacement is to the row's corrupted prompt.
pub(crate) struct EachAlong {
    along: Along,
    unit: bool,
}

impl EachAlong {
    /// Reads a direction: text, or `[d]` for all prompts.
    pub(crate) fn new(model: &Model, direction: Option<&Bound<'_, PyAny>>, unit: bool) -> Result<Self> {
        let along = Along::new(model, direction)?;
        match &along {
            Along::Given(_, 2) => {
                Err(value_error("one direction for each place; for many prompts give one [d], or a name"))
            }
            _ => Ok(Self { along, unit }),
        }
    }

    /// Returns the direction at each of `places`; with `where_it_is`, at those at which it is defined.
    fn sources(&self, runs: &CaseRuns<'_>, places: &[Place], where_it_is: bool) -> Found<Vec<(Place, Vec<f32>)>> {
        let context =
            Context { observable: runs.case.observable.as_ref(), other: runs.corrupted.as_ref(), unit: self.unit };
        self.along.sources(&runs.clean, places, (context, where_it_is))
    }

    fn noted(&self, result: Labelled) -> Labelled {
        result.note("direction", self.along.name()).note("unit", self.unit.to_string())
    }

    /// Returns the cases with the prompts that the direction needs.
    fn cases(&self, cases: &[PromptCase]) -> Vec<PromptCase> {
        match &self.along {
            Along::Named(direction, _) if direction.needs_other() => cases.to_vec(),
            _ => clean_alone(cases),
        }
    }
}

/// Computes the response to a source at `at` of each prompt.
pub(crate) fn green(
    (at, along): (&Pair, &EachAlong),
    options: GreenOptions,
    (model, cases): (&Model, &[PromptCase]),
    progress: OnProgress<'_>,
) -> Found<Prompts> {
    let batch = &mut |all: &[CaseRuns<'_>]| {
        let one = |runs: &CaseRuns<'_>| Ok(along.sources(runs, &[place(&runs.clean, *at)?], false)?.remove(0));
        let sources = all.iter().map(one).collect::<Found<Vec<(Place, Vec<f32>)>>>()?;
        let placed = all.iter().zip(&sources);
        let placed = placed.map(|(runs, (place, vector))| PlacedSource { run: &runs.clean, place: *place, vector });
        let results = green_all(&placed.collect::<Vec<_>>(), options)?;
        Ok(results.into_iter().map(|result| Ok(along.noted(result))).collect())
    };
    over_prompts(model, &along.cases(cases), &[], batch, progress)
}

/// Computes the linear regime of each prompt's observable, at `sites` or at every place on which it depends.
pub(crate) fn regime(
    (sites, along): (Option<&[Pair]>, &EachAlong),
    options: &RegimeOptions,
    (model, cases): (&Model, &[PromptCase]),
    progress: OnProgress<'_>,
) -> Found<Prompts> {
    let of = |runs: &CaseRuns<'_>| {
        let all = places(&runs.clean, sites, runs.observable()?.position())?;
        along.sources(runs, &all, sites.is_none())
    };
    let batch = &mut |all: &[CaseRuns<'_>]| {
        let sources = all.iter().map(of).collect::<Found<Vec<Vec<(Place, Vec<f32>)>>>>()?;
        let mut whole = Vec::with_capacity(all.len());
        for (runs, sites) in all.iter().zip(&sources) {
            whole.push(RegimeCase { run: &runs.clean, observable: runs.observable()?, sites });
        }
        Ok(regime_all(&whole, options)?.into_iter().map(|result| Ok(along.noted(result?))).collect())
    };
    over_prompts(model, &along.cases(cases), &[], batch, progress)
}

/// Finds sources that change the observable of each prompt by `change`.
pub(crate) fn invert(
    (change, sites): (f64, Option<&[Pair]>),
    options: &InvertOptions,
    (model, cases): (&Model, &[PromptCase]),
    progress: OnProgress<'_>,
) -> Found<Prompts> {
    let asked = |runs: &CaseRuns<'_>| {
        let observable = runs.observable()?;
        let sites = places(&runs.clean, sites, observable.position())?;
        Ok(([Goal::Observable { observable: observable.clone(), change }], sites))
    };
    let batch = &mut |all: &[CaseRuns<'_>]| {
        let asked = all.iter().map(asked).collect::<Found<Vec<([Goal; 1], Vec<Place>)>>>()?;
        let cases = all.iter().zip(&asked);
        let cases = cases.map(|(runs, (goals, sites))| InvertCase { run: &runs.clean, goals, sites });
        invert_all(&cases.collect::<Vec<_>>(), options)
    };
    over_prompts(model, &clean_alone(cases), &[], batch, progress)
}
