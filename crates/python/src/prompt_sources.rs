//! Analyses of many prompts whose sources lie at places of each.

use pyo3::prelude::*;
use resolvent::field::{
    CaseRuns, Goal, GreenOptions, InvertOptions, OnProgress, PlacedSource, Prompts, RegimeOptions, Result as Found,
    clean_alone, green_all, over_prompts, regime as regime_of,
};
use resolvent::model::{Model, PromptCase, Run, from_end};
use resolvent::{Context, Direction, Labelled, Place};

use crate::arguments::Along;
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
        let along = match direction {
            Some(direction) => Along::new(model, direction)?,
            None => Along::Named(Direction::Random(0), "random".to_owned()),
        };
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
        match &self.along {
            Along::Named(direction, _) if where_it_is => direction.where_it_is(&runs.clean, places, context),
            Along::Named(direction, _) => {
                let vectors = direction.resolve_all(&runs.clean, places, context)?;
                Ok(places.iter().copied().zip(vectors).collect())
            }
            Along::Given(elements, _) => {
                let mut vector = elements.clone();
                if self.unit {
                    resolvent::field::make_unit(&mut vector, places.first().copied().unwrap_or_default())?;
                }
                Ok(places.iter().map(|&place| (place, vector.clone())).collect())
            }
        }
    }

    fn noted(&self, result: Labelled) -> Labelled {
        result.note("direction", self.along.name()).note("unit", self.unit.to_string())
    }

    /// Returns the cases with the prompts that the direction needs.
    fn cases(&self, cases: &[PromptCase]) -> Vec<PromptCase> {
        match &self.along {
            Along::Named(Direction::Displacement | Direction::Writer(_), _) => cases.to_vec(),
            _ => clean_alone(cases),
        }
    }
}

/// Converts `(level, position)` to a place of a run; negative numbers count from the end.
fn place(run: &Run, &Pair(level, position): &Pair) -> Found<Place> {
    let levels = run.model().sizes().layers + 1;
    Ok((from_end("level", level, levels)?, from_end("token position", position, run.tokens().len())?))
}

/// Returns the given places, or every level and token up to `last`.
fn places(run: &Run, given: Option<&[Pair]>, last: usize) -> Found<Vec<Place>> {
    match given {
        Some(given) => given.iter().map(|at| place(run, at)).collect(),
        None => Ok((0..run.levels().len()).flat_map(|l| (0..=last).map(move |t| (l, t))).collect()),
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
        let one = |runs: &CaseRuns<'_>| Ok(along.sources(runs, &[place(&runs.clean, at)?], false)?.remove(0));
        let sources = all.iter().map(one).collect::<Found<Vec<(Place, Vec<f32>)>>>()?;
        let placed = all.iter().zip(&sources);
        let placed = placed.map(|(runs, (place, vector))| PlacedSource { run: &runs.clean, place: *place, vector });
        let results = green_all(&placed.collect::<Vec<_>>(), options)?;
        Ok(results.into_iter().map(|result| along.noted(result)).collect())
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
    let one = |runs: &CaseRuns<'_>| {
        let (run, observable) = (&runs.clean, runs.observable()?);
        let all = places(run, sites, observable.position())?;
        let sources = along.sources(runs, &all, sites.is_none())?;
        Ok(along.noted(regime_of(run, observable, &sources, options)?))
    };
    let batch = &mut |all: &[CaseRuns<'_>]| all.iter().map(one).collect();
    over_prompts(model, &along.cases(cases), &[], batch, progress)
}

/// Finds sources that change the observable of each prompt by `change`.
pub(crate) fn invert(
    (change, sites): (f64, Option<&[Pair]>),
    options: &InvertOptions,
    (model, cases): (&Model, &[PromptCase]),
    progress: OnProgress<'_>,
) -> Found<Prompts> {
    let one = |runs: &CaseRuns<'_>| {
        let (run, observable) = (&runs.clean, runs.observable()?);
        let all = places(run, sites, observable.position())?;
        resolvent::invert(run, &[Goal::Observable { observable: observable.clone(), change }], &all, options)
    };
    let batch = &mut |all: &[CaseRuns<'_>]| all.iter().map(one).collect();
    over_prompts(model, &clean_alone(cases), &[], batch, progress)
}
