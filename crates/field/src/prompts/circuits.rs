//! Edges, paths, direct contributions, subspace patches and logit lenses of many prompts.

use resolvent_model::{Edge, Model, PromptCase, Site, from_end, path_sites};

use super::others::{other_runs, pairs};
use super::{CaseRuns, Prompts, clean_alone, over_prompts};
use crate::attribution::{AttributeOptions, attribute_beside};
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
    let (sites, pairs) = (path_sites(model.sizes()), if options.controls > 0 { pairs(set) } else { Vec::new() });
    let one = |runs: &CaseRuns<'_>| {
        let case = runs.patched()?;
        let others = match options.controls {
            0 => Vec::new(),
            count => other_runs(model, &pairs, (case.clean.tokens(), count), &sites)?,
        };
        let others = others.chunks(2).map(|pair| Case { clean: &pair[0], corrupted: &pair[1], ..case });
        edges_beside(&case, &others.collect::<Vec<_>>(), options)
    };
    let analysis = &mut |runs: &[CaseRuns<'_>]| Ok(runs.iter().map(one).collect());
    over_prompts(model, cases, &sites, analysis, progress)
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

/// Decomposes the observables of many prompts; see [`crate::attribute`]. With [`AttributeOptions::controls`], the
/// arrays `other_prompts_direct` and `other_prompts_first_order [P, W, T]` are the root mean square of the
/// contributions if each output were that of another prompt of `set`, of its last tokens, with the norm that it has at
/// every token. `set` is the list of which `cases` are a part or the whole.
///
/// # Errors
/// As [`over_prompts`].
pub fn attribute_of_prompts(
    model: &Model,
    (cases, set): (&[PromptCase], &[PromptCase]),
    options: AttributeOptions,
    progress: OnProgress<'_>,
) -> Result<Prompts> {
    // The neurons of a list differ from prompt to prompt, so that means over prompts would mean nothing.
    let options = AttributeOptions { listed: 0, ..options };
    let (sites, set) = (options.sites(model.sizes()), clean_alone(if options.controls > 0 { set } else { &[] }));
    let one = |runs: &CaseRuns<'_>| {
        let others = match options.controls {
            0 => Vec::new(),
            count => other_runs(model, &set, (runs.clean.tokens(), count), &path_sites(model.sizes()))?,
        };
        attribute_beside(&runs.clean, &others, runs.observable()?, options)
    };
    let analysis = &mut |runs: &[CaseRuns<'_>]| Ok(runs.iter().map(one).collect());
    over_prompts(model, &clean_alone(cases), &sites, analysis, progress)
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
