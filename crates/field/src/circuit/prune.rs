//! Greedy exact pruning: edges are removed one by one as long as the circuit stays faithful (ACDC, arXiv 2304.14997).

use resolvent_model::{EditedPrompt, Model, Observable, PromptCase, Run, path_sites, rewired_values};

use super::measure::undefined;
use super::replaced::Replaced;
use crate::case::Case;
use crate::error::{Error, Result};
use crate::slice::OnProgress;
use crate::study::left_out::LeftOut;

/// A case of the prompts on which edges are removed.
struct Measured<'a> {
    clean: Run,
    observable: &'a Observable,
    /// Each set of outputs in the place of the others, with the values with all edges and without any.
    replaced: Vec<(Vec<f32>, [f64; 2])>,
}

/// Returns whether each edge remains.
///
/// From the logits downwards, each edge is removed if the mean over prompts of `|1 - faithfulness|` grows by less than
/// `threshold`. Each edge takes a run of every prompt. `progress` gets the numbers of edges tried and of all edges.
/// Also returns the cases that are left out, since J does not depend on their edges.
pub(super) fn pruned(
    model: &Model,
    cases: &[PromptCase],
    (replaced, threshold): (&Replaced<'_>, f64),
    edges: usize,
    progress: OnProgress<'_>,
) -> Result<(Vec<bool>, Vec<LeftOut>)> {
    let (measured, left_out) = measured(model, cases, replaced, edges)?;
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
    replaced: &Replaced<'_>,
    edges: usize,
) -> Result<(Vec<Measured<'a>>, Vec<LeftOut>)> {
    let both = cases.iter().flat_map(|case| {
        let both = [Some(&case.clean), case.corrupted.as_ref()].into_iter().flatten();
        both.map(|tokens| EditedPrompt { tokens, edits: &case.edits })
    });
    let prompts: Vec<EditedPrompt<'_>> = both.collect();
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
        match sets(&pair, replaced, edges) {
            Ok(replaced) => measured.push(Measured { clean, observable, replaced }),
            Err(error @ Error::Input(_)) => left_out.push(LeftOut::from_error(&case.name, &error)),
            Err(error) => return Err(error),
        }
    }
    Ok((measured, left_out))
}

/// Returns each set of outputs in the place of the others, with the values with all edges and without any.
fn sets(case: &Case<'_>, replaced: &Replaced<'_>, edges: usize) -> Result<Vec<(Vec<f32>, [f64; 2])>> {
    let with_ends = |outputs: Vec<f32>| {
        let ends = [vec![true; edges], vec![false; edges]];
        let ends = rewired_values(case.clean, &outputs, &ends, case.observable)?;
        let ends = [ends[0], ends[1]];
        undefined(ends).map_or(Ok((outputs, ends)), Err)
    };
    replaced.of(case)?.into_iter().map(with_ends).collect()
}

/// Returns the mean over cases, and over the sets of each, of `|1 - faithfulness|`.
fn mean_loss(measured: &[Measured<'_>], included: &[bool]) -> Result<f64> {
    let mut sum = 0.0;
    for Measured { clean, observable, replaced } in measured {
        for (outputs, [full, none]) in replaced {
            let value = rewired_values(clean, outputs, &[included.to_vec()], observable)?[0];
            sum += (1.0 - (value - none) / (full - none)).abs() / replaced.len() as f64;
        }
    }
    Ok(sum / measured.len().max(1) as f64)
}
