//! Edges and direct contributions of many prompts.

use resolvent_model::{Model, PromptCase, path_sites};

use super::{CaseRuns, clean_alone, over_prompts};
use crate::attribution::{AttributeOptions, attribute};
use crate::edges::{EdgeOptions, edges};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::slice::OnProgress;

/// Predicts the effects of patching each edge of many pairs of prompts; see [`crate::edges`].
///
/// # Errors
/// As [`over_prompts`].
pub fn edges_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    options: &EdgeOptions,
    progress: OnProgress<'_>,
) -> Result<Labelled> {
    let analysis = &mut |runs: &[CaseRuns<'_>]| runs.iter().map(|runs| edges(&runs.patched()?, options)).collect();
    over_prompts(model, cases, &path_sites(model.sizes()), analysis, progress)?.stack()
}

/// Decomposes the observables of many prompts; see [`crate::attribute`].
///
/// # Errors
/// As [`over_prompts`].
pub fn attribute_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    options: AttributeOptions,
    progress: OnProgress<'_>,
) -> Result<Labelled> {
    let one = |runs: &CaseRuns<'_>| attribute(&runs.clean, runs.observable()?, options);
    let analysis = &mut |runs: &[CaseRuns<'_>]| runs.iter().map(one).collect();
    over_prompts(model, &clean_alone(cases), &options.sites(model.sizes()), analysis, progress)?.stack()
}
