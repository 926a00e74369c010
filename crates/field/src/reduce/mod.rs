//! Reduced descriptions: effects of patches through few directions of one level.
//!
//! A patch at or below level m moves J by `sum_t <chi[m, t], x[m, t]>`, where x is the response that reaches level m
//! and chi the sensitivity there, averaged on the way. A reduced description keeps k directions of each token: it
//! replaces chi by `P chi`, with `P = W T^T` of rank k. The directions come from the first prompts; the errors are
//! those of the actual effects on the others, over patches of every place up to level m.
//!
//! Balanced truncation takes the directions that are both moved and matter: if displacements and sensitivities are
//! independent, it has the smallest expected squared error of all projectors of rank k, and the squares of its
//! discarded singular values are that error. Principal components (POD) see only what moves, the active subspace only
//! what matters.

mod bases;
mod measure;
mod options;
mod projector;
mod roles;
mod rows;
mod snapshots;
mod summary;
mod trained;
mod weights;

use resolvent_model::{Mode, Model, PromptCase};

use crate::case::Case;
use crate::certificate::{Certificate, adjoint_all, merge, worse};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::prompts::{CaseRuns, over_prompts};
use crate::slice::OnProgress;
use crate::study::left_out;

use measure::{Measured, error, measure};
use roles::Roles;
use snapshots::{Snapshot, snapshots};
use trained::Trained;

pub use options::{ReduceOptions, Sensitivities};
pub use summary::{compared_rank, dimensions};

/// Number of training prompts of which places are patched, for the error to expect.
const PATCHED: usize = 4;

/// Reduces the effects of patches of one task to few directions of level m, and measures the errors on held-out
/// prompts.
///
/// Arrays: `ranks [R]`; `error [basis, method, R]` with `error_low`, `error_high` (95 % over prompts): the relative
/// error of the actual effects, for one basis and for one by role of the token; `squared_error [prompt, basis, method,
/// R]` and `squared_effect [prompt]`, their sums over the patches of each measured prompt (`error` is the root of the
/// quotient of their sums over prompts); `floor [1]`, with all directions; `said [basis, R]`, the error that the
/// discarded singular values of `balanced` lead to expect; `cross_validated [basis, R]`, its error on training prompts
/// that the bases have not seen, to first order; `power [basis]`, the power of `|<chi, x>|` in the weights of tokens
/// that makes this error smallest; `expected [basis, R]`, the root of the sum of the squares of `cross_validated` and
/// of the error of all directions on patches of up to four training prompts; `dimension [basis]`, the smallest of the
/// ranks whose error is within 0.05 of the floor (NaN if none is); `learning [part, R]` and `learning_prompts [part]`,
/// the error of `balanced` by role over the number of training prompts; `by_tokens [count, R]` and `counts [count]`,
/// with the tokens of the largest `|<chi, x>|` alone; `spectrum [set, d]`, `read` and `write [set, K, d]`, the singular
/// values and directions of `balanced` for all tokens and for each role; `trained_on [1]` and `measured_on [1]`,
/// numbers of prompts. The metadata have the names of `methods`, `bases` and `roles`.
///
/// Certificates: three patched runs agree with the same runs alone; with all directions, nothing is dropped; the
/// adjoint identity.
///
/// # Errors
/// Invalid options, prompts without pairs, a device error, or a check that fails.
pub fn reduce(
    model: &Model,
    cases: &[PromptCase],
    options: &ReduceOptions,
    progress: OnProgress<'_>,
) -> Result<Labelled> {
    let sizes = model.sizes();
    let (d, (level, train)) = (sizes.d, options.resolved(sizes.layers, cases.len())?);
    let ranks: Vec<usize> = options.ranks.iter().copied().filter(|&k| k <= d).collect();
    if ranks.is_empty() {
        return Err(Error::Input(format!("the field has {d} directions; give a rank of at most {d}")));
    }
    let (roles, total) = (Roles::of(cases), cases.len() as u64);
    let (training, held_out) = cases.split_at(train);
    let mut learned: Vec<Snapshot> = Vec::new();
    let mut patched_training: Vec<Measured> = Vec::new();
    let mut certificates = Vec::new();
    let of_training = &mut |runs: &[CaseRuns<'_>]| {
        let (found, check) = taken(runs, &roles, (level, true), options)?;
        merge(&mut certificates, &check);
        let some = found.len().min(PATCHED - patched_training.len());
        if some > 0 {
            let cases: Vec<Case<'_>> = runs[..some].iter().map(CaseRuns::patched).collect::<Result<_>>()?;
            let whole: Vec<Vec<Vec<f32>>> = found[..some].iter().map(|one| vec![one.chi.clone()]).collect();
            let (more, alone) = measure(&cases, level, &found[..some], &whole)?;
            merge(&mut certificates, &[alone]);
            patched_training.extend(more);
        }
        learned.extend(found);
        Ok(nothing(runs))
    };
    let first = over_prompts(model, training, &[], of_training, &mut |n, _| progress(n, total))?;
    first.some()?;
    let floor = error(&patched_training, 0, options.seed).estimate;
    let trained = Trained::new(&learned, (roles.names.len(), d), (&ranks, options.seed), floor)?;
    let mut measured: Vec<Measured> = Vec::new();
    let mut positive = learned.iter().filter(|one| one.difference > 0.0).count();
    let mut dropped = 0.0f64;
    let of_others = &mut |runs: &[CaseRuns<'_>]| {
        let (found, check) = taken(runs, &roles, (level, false), options)?;
        merge(&mut certificates, &check);
        let reduced: Vec<Vec<Vec<f32>>> = found.iter().map(|one| trained.cells(one, &ranks, d)).collect();
        let patched: Vec<Case<'_>> = runs.iter().map(CaseRuns::patched).collect::<Result<_>>()?;
        let (more, alone) = measure(&patched, level, &found, &reduced)?;
        merge(&mut certificates, &[alone]);
        positive += found.iter().filter(|one| one.difference > 0.0).count();
        dropped = found.iter().fold(dropped, |worst, one| worse(worst, trained.dropped(one, d)));
        measured.extend(more);
        Ok(nothing(runs))
    };
    let others = over_prompts(model, held_out, &[], of_others, &mut |n, _| progress(train as u64 + n, total))?;
    others.some()?;
    if !measured.iter().any(|one| one.actual > 0.0) {
        return Err(Error::Input("no patch has an effect, so there is nothing to reduce".to_owned()));
    }
    certificates.push(Certificate::new("nothing_dropped", dropped, 1e-4));
    let result = others.some()?.metadata_alone().note("analysis", "reduce").note("level", level.to_string());
    let longest = held_out.iter().map(|case| case.clean.len()).max().unwrap_or(0);
    let result = trained.labelled(result, (&measured, &ranks, d), (longest, options.seed));
    let result = certificates.into_iter().try_fold(result, Labelled::certify)?;
    let left_out = [first.left_out, others.left_out].concat();
    Ok(left_out::write(result, &left_out)
        .with("trained_on", &[("value", 1)], vec![learned.len() as f32])
        .with("measured_on", &[("value", 1)], vec![measured.len() as f32])
        .note("sensitivities", options.sensitivities.name())
        .note("roles", roles.names.join(","))
        .note("answered", format!("{positive} of {}", learned.len() + measured.len()))
        .note("prompts", (learned.len() + measured.len()).to_string()))
}

/// Takes the snapshots of a batch, and its adjoint checks.
fn taken(
    runs: &[CaseRuns<'_>],
    roles: &Roles,
    (level, probed): (usize, bool),
    options: &ReduceOptions,
) -> Result<(Vec<Snapshot>, Vec<Certificate>)> {
    let cases: Vec<Case<'_>> = runs.iter().map(CaseRuns::patched).collect::<Result<_>>()?;
    cases.iter().try_for_each(Case::check)?;
    let tokens = runs.iter().map(|runs| roles.tokens(runs.case)).collect();
    let corrupted: Vec<_> = cases.iter().map(|case| case.corrupted).collect();
    Ok((snapshots(&cases, tokens, (level, probed), options)?, adjoint_all(Mode::Exact, &corrupted, 1)?))
}

/// Returns results that have only the provenance.
fn nothing(runs: &[CaseRuns<'_>]) -> Vec<Result<Labelled>> {
    runs.iter().map(|runs| Ok(Labelled::new("reduce", &runs.clean))).collect()
}
