//! Greedy exact pruning: edges are removed one by one as long as the circuit stays faithful (ACDC, arXiv 2304.14997).

use resolvent_model::{EditedPrompt, Model, Observable, PromptCase, Run, path_sites, rewired_values};

use super::{CircuitOptions, replacements};
use crate::case::Case;
use crate::error::{Error, Result};
use crate::slice::OnProgress;
use crate::study::left_out::LeftOut;

/// A case of the prompts on which edges are removed.
struct Measured<'a> {
    clean: Run,
    replaced: Vec<f32>,
    observable: &'a Observable,
    /// The values with all edges and without any.
    ends: [f64; 2],
}

/// Returns whether each edge remains.
///
/// From the logits downwards, each edge is removed if the mean over prompts of `|1 - faithfulness|` grows by less than
/// `threshold`. Each edge takes a run of every prompt. `progress` gets the numbers of edges tried and of all edges. Also returns
/// the cases that are left out, since J does not depend on their edges.
pub(super) fn pruned(
    model: &Model,
    cases: &[PromptCase],
    (options, mean, threshold): (&CircuitOptions, Option<&[f32]>, f64),
    edges: usize,
    progress: OnProgress<'_>,
) -> Result<(Vec<bool>, Vec<LeftOut>)> {
    let (measured, left_out) = measured(model, cases, (options, mean), edges)?;
    if measured.is_empty() {
        return Err(Error::Input("no prompt can prune edges: J depends on the edges of none".to_owned()));
    }
    let mut included = vec![true; edges];
    let mut loss = 0.0;
    // Edges are listed reader by reader, each with its writers in order.
    for (n, edge) in (0..edges).rev().enumerate() {
        included[edge] = false;
        let without = mean_loss(&measured, &included)?;
        match without - loss < threshold {
            true => loss = without,
            false => included[edge] = true,
        }
        progress(n as u64 + 1, edges as u64);
    }
    Ok((included, left_out))
}

fn measured<'a>(
    model: &Model,
    cases: &'a [PromptCase],
    (options, mean): (&CircuitOptions, Option<&[f32]>),
    edges: usize,
) -> Result<(Vec<Measured<'a>>, Vec<LeftOut>)> {
    let both = cases.iter().flat_map(|case| [Some(&case.clean), case.corrupted.as_ref()]).flatten();
    let prompts: Vec<EditedPrompt<'_>> = both.map(|tokens| EditedPrompt { tokens, edits: &[] }).collect();
    let mut runs = model.run_edited(&prompts, &path_sites(model.sizes()))?.into_iter();
    let (mut measured, mut left_out) = (Vec::with_capacity(cases.len()), Vec::new());
    for case in cases {
        let (Some(clean), Some(corrupted), Some(observable)) =
            (runs.next(), case.corrupted.as_ref().and_then(|_| runs.next()), &case.observable)
        else {
            return Err(Error::Input(format!("{}: the row has no corrupted prompt or no observable", case.name)));
        };
        let pair = Case { clean: &clean, corrupted: &corrupted, observable };
        pair.check()?;
        let replaced = replacements(&pair, options.ablation, mean)?;
        let ends = rewired_values(&clean, &replaced, &[vec![true; edges], vec![false; edges]], observable)?;
        let ends = [ends[0], ends[1]];
        if let Some(error) = super::undefined(ends) {
            left_out.push(LeftOut::from_error(&case.name, &error));
            continue;
        }
        measured.push(Measured { clean, replaced, observable, ends });
    }
    Ok((measured, left_out))
}

/// Returns the mean over cases of `|1 - faithfulness|`.
fn mean_loss(measured: &[Measured<'_>], included: &[bool]) -> Result<f64> {
    let mut sum = 0.0;
    for Measured { clean, replaced, observable, ends: [full, none] } in measured {
        let value = rewired_values(clean, replaced, &[included.to_vec()], observable)?[0];
        sum += (1.0 - (value - none) / (full - none)).abs();
    }
    Ok(sum / measured.len().max(1) as f64)
}
