//! Analyses over many prompts: in batches, with what cannot be analysed left out, as one result.
//!
//! Prompts may have any lengths. As many as fit pass through the model together, so each batch reads the weights once.
//! A prompt's numbers do not depend on its company.

mod average;
mod bootstrap;
mod circuits;
mod columns;
mod features;
mod joined;
mod others;
mod outline;
mod stack;
mod texts;

use std::collections::BTreeMap;

use resolvent_model::{EditedPrompt, Model, Observable, PromptCase, Run, Site, from_end};

use crate::case::Case;
use crate::distinct::distinct;
use crate::error::{Error, Result};
use crate::flow::{FlowOptions, flow_between};
use crate::forward::forward_all;
use crate::growth::growth;
use crate::identities::identities;
use crate::interaction::{Interacting, Joint};
use crate::labelled::Labelled;
use crate::patch::patch_all;
use crate::predictor::{Predictor, PredictorOptions};
use crate::site_kind::SiteKind;
use crate::site_sensitivity::sensitivity_at;
use crate::slice::OnProgress;
use crate::study::left_out::{LeftOut, ends, may_pass};
use crate::transfer::{TransferOptions, transfer};

pub(crate) use average::WIDE;
pub use circuits::{
    attribute_of_prompts, edges_into_of_prompts, edges_of_prompts, lens_of_prompts, paths_of_prompts,
    subspace_of_prompts,
};
pub(crate) use columns::{EachPrompt, OnePrompt, Places, Selected, Visit, columns};
pub use features::features_of_prompts;
pub(crate) use joined::Joined;
pub(crate) use others::others;
pub(crate) use outline::Outline;
pub use stack::Prompts;

/// One case as runs, which share a batch with those of other cases.
pub struct CaseRuns<'a> {
    /// The case.
    pub case: &'a PromptCase,
    /// Run of the clean prompt.
    pub clean: Run,
    /// Run of the corrupted prompt, if the case has one.
    pub corrupted: Option<Run>,
}

impl CaseRuns<'_> {
    /// Returns the observable.
    ///
    /// # Errors
    /// The case has none.
    pub fn observable(&self) -> Result<&Observable> {
        let none =
            || Error::Input("no observable: the row needs `target` or `observable`, or give one for all".to_owned());
        self.case.observable.as_ref().ok_or_else(none)
    }

    /// Returns the runs to patch between.
    ///
    /// # Errors
    /// The case has no corrupted prompt or no observable.
    pub fn patched(&self) -> Result<Case<'_>> {
        let none = || Error::Input("the row has no corrupted prompt".to_owned());
        let corrupted = self.corrupted.as_ref().ok_or_else(none)?;
        Ok(Case { clean: &self.clean, corrupted, observable: self.observable()? })
    }
}

/// A result for each of several cases, or why a case has none. An error of the whole is about all of them.
pub type Outcomes = Result<Vec<Result<Labelled>>>;

/// An analysis of several cases.
pub type Analysis<'a> = &'a mut dyn FnMut(&[CaseRuns<'_>]) -> Outcomes;

/// Returns the outcomes of an analysis that has either all results or none.
pub(crate) fn all_or_none(results: Result<Vec<Labelled>>) -> Outcomes {
    Ok(results?.into_iter().map(Ok).collect())
}

/// Runs `analysis` over all cases, in batches that fit the device's memory, and collects the results. The runs are
/// prepared for `sites`. `progress` gets the numbers of cases done and of all cases.
///
/// If a whole batch fails, it is split in two, down to single cases. A case that fails is left out, with its reason.
///
/// # Errors
/// A device error.
pub fn over_prompts(
    model: &Model,
    cases: &[PromptCase],
    sites: &[Site],
    analysis: Analysis<'_>,
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    let mut prompts = Prompts::default();
    let (mut done, tokens) = (0, |case: &PromptCase| case.clean.len() + case.corrupted.as_ref().map_or(0, Vec::len));
    for part in model.passes(cases, tokens) {
        attempt(model, part, sites, analysis, &mut prompts)?;
        done += part.len();
        progress(done as u64, cases.len() as u64);
    }
    Ok(prompts)
}

/// Analyses cases together or, if that fails, in two parts.
fn attempt(
    model: &Model,
    cases: &[PromptCase],
    sites: &[Site],
    analysis: Analysis<'_>,
    prompts: &mut Prompts,
) -> Result<()> {
    let outcome = runs(model, cases, sites).and_then(|runs| analysis(&runs));
    match outcome {
        Ok(results) => {
            for (case, result) in cases.iter().zip(results) {
                match result {
                    Ok(result) => prompts.push(case, result),
                    Err(error) if ends(&error) || may_pass(&error) => return Err(error),
                    Err(error) => prompts.left_out.push(LeftOut::from_error(&case.name, &error)),
                }
            }
            Ok(())
        }
        Err(error) if ends(&error) || may_pass(&error) => Err(error),
        Err(error) if cases.len() == 1 => {
            prompts.left_out.push(LeftOut::from_error(&cases[0].name, &error));
            Ok(())
        }
        Err(_) => {
            let (a, b) = cases.split_at(cases.len() / 2);
            attempt(model, a, sites, analysis, prompts)?;
            attempt(model, b, sites, analysis, prompts)
        }
    }
}

/// Runs all prompts of the cases in one batch.
fn runs<'a>(model: &Model, cases: &'a [PromptCase], sites: &[Site]) -> Result<Vec<CaseRuns<'a>>> {
    let both = cases.iter().flat_map(|case| {
        let both = [Some(&case.clean), case.corrupted.as_ref()].into_iter().flatten();
        both.map(|tokens| EditedPrompt { tokens, edits: &case.edits })
    });
    let prompts: Vec<EditedPrompt<'_>> = both.collect();
    let mut runs = model.run_edited(&prompts, sites)?.into_iter();
    let mut of = |case: &'a PromptCase| {
        let clean = runs.next()?;
        let corrupted = case.corrupted.as_ref().and_then(|_| runs.next());
        Some(CaseRuns { case, clean, corrupted })
    };
    Ok(cases.iter().filter_map(&mut of).collect())
}

/// Returns the fields and the logits of the last position of many prompts; see [`crate::forward`].
///
/// # Errors
/// As [`over_prompts`].
pub fn forward_of_prompts(model: &Model, cases: &[PromptCase], progress: OnProgress<'_>) -> Result<Prompts> {
    let analysis = &mut |runs: &[CaseRuns<'_>]| {
        all_or_none(forward_all(&runs.iter().map(|runs| &runs.clean).collect::<Vec<_>>(), true))
    };
    over_prompts(model, &clean_alone(cases), &[], analysis, progress)
}

/// Returns the cases without their corrupted prompts, for analyses that do not run these.
pub fn clean_alone(cases: &[PromptCase]) -> Vec<PromptCase> {
    cases.iter().map(|case| PromptCase { corrupted: None, ..case.clone() }).collect()
}

/// Computes the sensitivity fields of many prompts, and sensitivities at further kinds of sites; see
/// [`crate::sensitivity_at`].
///
/// # Errors
/// As [`over_prompts`].
pub fn sensitivity_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    kinds: &[SiteKind],
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    let sites: Vec<Site> = kinds.iter().flat_map(|kind| kind.sites(model.sizes())).collect();
    let analysis = &mut |runs: &[CaseRuns<'_>]| {
        let readings = runs.iter().map(|runs| Ok((&runs.clean, runs.observable()?))).collect::<Result<Vec<_>>>()?;
        all_or_none(sensitivity_at(&readings, kinds))
    };
    over_prompts(model, &clean_alone(cases), &sites, analysis, progress)
}

/// Checks the identities of the derivatives for many prompts; see [`identities`].
///
/// # Errors
/// As [`over_prompts`].
pub fn identities_of_prompts(model: &Model, cases: &[PromptCase], progress: OnProgress<'_>) -> Result<Prompts> {
    let one = |runs: &CaseRuns<'_>| identities(&runs.clean, runs.observable()?);
    let analysis = &mut |runs: &[CaseRuns<'_>]| Ok(runs.iter().map(one).collect());
    over_prompts(model, &clean_alone(cases), &[], analysis, progress)
}

/// Measures the growth of sources at some tokens of many prompts, which count from the end if they are negative; see
/// [`growth`]. All prompts have these tokens on the axis `token`, so there are no means by role.
///
/// # Errors
/// As [`over_prompts`].
pub fn growth_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    tokens: &[i64],
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    let one = |runs: &CaseRuns<'_>| {
        let at = |&token: &i64| from_end("token position", token, runs.clean.tokens().len());
        let at = tokens.iter().map(at).collect::<Result<Vec<usize>, _>>()?;
        match distinct(at.iter().copied()).len() == at.len() {
            true => growth(&runs.clean, &at),
            false => Err(Error::Input("two of the token positions are the same in this prompt".to_owned())),
        }
    };
    let cases: Vec<PromptCase> = clean_alone(cases);
    let cases: Vec<PromptCase> = cases.into_iter().map(|case| PromptCase { roles: BTreeMap::new(), ..case }).collect();
    over_prompts(model, &cases, &[], &mut |runs| Ok(runs.iter().map(one).collect()), progress)
}

/// What [`patch_of_prompts`] computes beside the effects and their first order.
#[derive(Clone, Copy, Debug, Default)]
pub struct BesidePatches<'a> {
    /// Predictors; see [`Labelled::with_predictors`].
    pub predictors: &'a [Predictor],
    /// Their options.
    pub options: PredictorOptions,
    /// Which patches interact, at sites of the first kind; see [`Labelled::with_interactions`].
    pub interactions: Option<(&'a Interacting, Joint)>,
}

/// Computes the patch effects of many pairs of prompts; see [`crate::patch_at`].
///
/// # Errors
/// As [`over_prompts`].
pub fn patch_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    kinds: &[SiteKind],
    beside: BesidePatches<'_>,
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    let sites: Vec<Site> = kinds.iter().flat_map(|kind| kind.sites(model.sizes())).collect();
    let analysis = &mut |runs: &[CaseRuns<'_>]| {
        let cases: Vec<Case<'_>> = runs.iter().map(CaseRuns::patched).collect::<Result<_>>()?;
        let mut results = patch_all(&cases, kinds)?;
        if !beside.predictors.is_empty() {
            results = Labelled::with_predictors_all(results, &cases, kinds, beside.predictors, beside.options)?;
        }
        match (beside.interactions, kinds.first()) {
            (Some((which, joint)), Some(&kind)) => {
                let named: Vec<_> = cases.iter().zip(runs).map(|(case, runs)| (*case, &runs.case.roles)).collect();
                Labelled::with_interactions_all(results, &named, (kind, which, joint))
            }
            _ => all_or_none(Ok(results)),
        }
    };
    over_prompts(model, cases, &sites, analysis, progress)
}

/// Computes the transfer fractions of many prompts, whose donors are the corrupted prompts; see [`transfer`].
///
/// # Errors
/// As [`over_prompts`].
pub fn transfer_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    options: &TransferOptions,
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    let analysis = &mut |runs: &[CaseRuns<'_>]| {
        let one = |runs: &CaseRuns<'_>| {
            let Case { clean, corrupted, observable } = runs.patched()?;
            transfer(clean, corrupted, observable, &[], options)
        };
        Ok(runs.iter().map(one).collect())
    };
    over_prompts(model, cases, &[], analysis, progress)
}

/// Computes the flow of the difference of each of many pairs of prompts; see [`flow_between`].
///
/// # Errors
/// As [`over_prompts`].
pub fn flow_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    options: FlowOptions,
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    let analysis = &mut |runs: &[CaseRuns<'_>]| {
        let cases: Vec<Case<'_>> = runs.iter().map(CaseRuns::patched).collect::<Result<_>>()?;
        all_or_none(flow_between(&cases, options))
    };
    over_prompts(model, cases, &[], analysis, progress)
}
