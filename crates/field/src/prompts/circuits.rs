//! Edges, paths, direct contributions, subspace patches and logit lenses of many prompts.

use resolvent_model::{Edge, EditedPrompt, Model, PromptCase, Run, Site, from_end, path_sites};

use super::{CaseRuns, Prompts, clean_alone, others, over_prompts};
use crate::attribution::{AttributeOptions, attribute};
use crate::case::Case;
use crate::edges::{EdgeOptions, edges_beside, edges_into, paths};
use crate::error::Result;
use crate::lens::{LensOptions, lens};
use crate::slice::OnProgress;
use crate::subspace::{Subspace, SubspaceOptions, subspace};

/// Predicts the effects of patching each edge of many pairs of prompts; see [`crate::edges`]. With
/// [`EdgeOptions::controls`], the array `other_prompts [P, E]` is the root mean square of the first-order scores over
/// displacements of other pairs of `set`, each with the norm that the writer's own displacement has. `set` is the list
/// of which `cases` are a part or the whole.
///
/// # Errors
/// As [`over_prompts`].
pub fn edges_of_prompts(
    model: &Model,
    (cases, set): (&[PromptCase], &[PromptCase]),
    options: &EdgeOptions,
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    let pairs = |case: &&PromptCase| case.corrupted.as_ref().is_some_and(|other| other.len() == case.clean.len());
    let pairs: Vec<PromptCase> = set.iter().filter(|_| options.controls > 0).filter(pairs).cloned().collect();
    let one = |runs: &CaseRuns<'_>| {
        let case = runs.patched()?;
        let others = match options.controls {
            0 => Vec::new(),
            count => other_pairs(model, &pairs, (&case, count))?,
        };
        let others = others.chunks(2).map(|pair| Case { clean: &pair[0], corrupted: &pair[1], ..case });
        edges_beside(&case, &others.collect::<Vec<_>>(), options)
    };
    let analysis = &mut |runs: &[CaseRuns<'_>]| Ok(runs.iter().map(one).collect());
    over_prompts(model, cases, &path_sites(model.sizes()), analysis, progress)
}

/// Runs the prompts of `count` other pairs, the clean one of each first.
fn other_pairs(model: &Model, pairs: &[PromptCase], (case, count): (&Case<'_>, usize)) -> Result<Vec<Run>> {
    let others = others(pairs, case.clean.tokens(), (count, 0))?;
    let both = others.iter().flat_map(|other| {
        let both = [Some(&other.clean), other.corrupted.as_ref()].into_iter().flatten();
        both.map(|tokens| EditedPrompt { tokens, edits: &other.edits })
    });
    let prompts: Vec<EditedPrompt<'_>> = both.collect();
    Ok(model.run_edited(&prompts, &path_sites(model.sizes()))?)
}

/// Computes which writers carry the difference of each of many pairs of prompts at a place (level, token); see
/// [`edges_into`]. The token counts from the end if it is negative.
///
/// # Errors
/// As [`over_prompts`].
pub fn edges_into_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    (level, token): (usize, i64),
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    let one = |runs: &CaseRuns<'_>| {
        let case = runs.patched()?;
        case.check()?;
        edges_into(&case, (level, from_end("token position", token, case.corrupted.tokens().len())?))
    };
    let analysis = &mut |runs: &[CaseRuns<'_>]| Ok(runs.iter().map(one).collect());
    over_prompts(model, cases, &path_sites(model.sizes()), analysis, progress)
}

/// Patches some edges of many pairs of prompts; see [`paths`].
///
/// # Errors
/// As [`over_prompts`].
pub fn paths_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    edges: &[Edge],
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    edges.iter().try_for_each(|edge| edge.check(model.architecture()))?;
    let analysis = &mut |runs: &[CaseRuns<'_>]| Ok(runs.iter().map(|runs| paths(&runs.patched()?, edges)).collect());
    over_prompts(model, cases, &path_sites(model.sizes()), analysis, progress)
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
) -> Result<Prompts> {
    // The neurons of a list differ from prompt to prompt, so that means over prompts would mean nothing.
    let options = AttributeOptions { listed: 0, ..options };
    let one = |runs: &CaseRuns<'_>| attribute(&runs.clean, runs.observable()?, options);
    let analysis = &mut |runs: &[CaseRuns<'_>]| Ok(runs.iter().map(one).collect());
    over_prompts(model, &clean_alone(cases), &options.sites(model.sizes()), analysis, progress)
}

/// Patches a site of many pairs of prompts along a few directions, at one token, which counts from the end if it is
/// negative; see [`subspace`].
///
/// # Errors
/// As [`over_prompts`].
pub fn subspace_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    (site, token): (Site, i64),
    (of, options): (&Subspace, SubspaceOptions),
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    site.check(model.sizes())?;
    let one = |runs: &CaseRuns<'_>| {
        let case = runs.patched()?;
        case.check()?;
        subspace(&case, (site, from_end("token position", token, case.corrupted.tokens().len())?), of, options)
    };
    over_prompts(model, cases, &[site], &mut |runs| Ok(runs.iter().map(one).collect()), progress)
}

/// Reads every level of many prompts by the head; see [`crate::lens`]. There is a `value` of the prompts that have an
/// observable.
///
/// # Errors
/// As [`over_prompts`].
pub fn lens_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    options: LensOptions<'_>,
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    let one = |runs: &CaseRuns<'_>| lens(&runs.clean, runs.case.observable.as_ref(), options);
    let analysis = &mut |runs: &[CaseRuns<'_>]| Ok(runs.iter().map(one).collect());
    over_prompts(model, &clean_alone(cases), &[], analysis, progress)
}
