//! Edges at each token: a writer and a reader at the same token, whose scores add up to those of the edge.

use resolvent_engine::counted;
use resolvent_model::{Edge, Outputs, edge_values, outputs_of};

use super::path::path_patch;
use super::scores::Scores;
use super::{EdgePredictor, SUMS, agreeing, random_exact};
use crate::case::Case;
use crate::certificate::{Certificate, narrow, same, worse};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::predictors::pass;

/// Adds the scores at each token, their controls, and the check that first-order scores add up to those of the edges.
pub(super) fn with_scores(
    result: Labelled,
    scores: &Scores<'_>,
    predictions: &[(EdgePredictor, Vec<f64>)],
    (gradients, random): (&[f32], &[f64]),
) -> Result<Labelled> {
    let axes = [("edge", scores.edges.len()), ("token", scores.tokens())];
    let add = |result: Labelled, (predictor, predicted): &(EdgePredictor, Vec<f64>)| {
        result.with(predictor.by_token(), &axes, narrow(predicted))
    };
    predictions
        .iter()
        .fold(result, add)
        .with("random_by_token", &axes, random.iter().map(|square| square.sqrt() as f32).collect())
        .certify(over_tokens(scores, gradients, &predictions[0].1))
}

/// Checks that first-order scores at each token add up to those of the edges, from products of whole outputs.
fn over_tokens(scores: &Scores<'_>, gradients: &[f32], by_token: &[f64]) -> Certificate {
    let whole = Scores { by_token: false, ..*scores };
    let (sums, random) = (scores.summed(by_token), whole.random(gradients));
    let d = scores.sizes().d as f64;
    // |<g, d>| is at most |g| |d|, which is this much above the size at random directions, summed over tokens.
    let apart = whole
        .of(gradients)
        .into_iter()
        .zip(sums)
        .zip(random)
        .map(|((whole, sum), square)| (whole - sum).abs() / (square * d).sqrt().max(f64::MIN_POSITIVE));
    Certificate::new("over_tokens", apart.fold(0.0, worse), SUMS)
}

/// Adds the exact effect of each edge at each token alone, how well the predictions agree with these, and with `random`
/// displacements the control of the exact effects.
pub(super) fn with_exact(
    mut result: Labelled,
    (case, scores, value): (&Case<'_>, &Scores<'_>, f64),
    [clean, moved]: [&Outputs; 2],
    (predictions, floor): (&[(EdgePredictor, Vec<f64>)], f64),
    (random, seed): (usize, u64),
) -> Result<Labelled> {
    let (edges, tokens) = (scores.edges, moved.tokens);
    let axes = [("edge", edges.len()), ("token", tokens)];
    let (values, work) = counted(|| at_tokens(case, edges, moved, value));
    let values = values?;
    let exact: Vec<f32> = values.iter().map(|x| (x - value) as f32).collect();
    for (predictor, predicted) in predictions {
        result = agreeing(result, predictor.by_token(), (&narrow(predicted), &exact), floor);
    }
    result = result
        .note("sweep_cost_by_token", format!("{:.1}", work.flops / pass(case)?))
        .with("exact_by_token", &axes, exact)
        .certify(alone(case, clean, edges, (&values, value))?)?;
    if random > 0 {
        let values = |data| at_tokens(case, edges, &Outputs { data, ..moved.clone() }, value);
        let control = random_exact(scores, value, (random, seed), values)?;
        result = result.with("random_exact_by_token", &axes, narrow(&control));
    }
    Ok(result)
}

/// Returns the values of the observable, `[E, T]`, under each displacement at one token alone along each edge. `value`
/// is that of the run, which tokens that the observable does not read leave as it is.
fn at_tokens(case: &Case<'_>, edges: &[Edge], moved: &Outputs, value: f64) -> Result<Vec<f64>> {
    let ((run, observable), tokens) = (case.reading(), moved.tokens);
    let mut values = vec![value; edges.len() * tokens];
    for t in 0..=observable.position() {
        let alone = at_token(vec![0.0; moved.data.len()], moved, t);
        let of_token = edge_values(run, &alone, edges, observable)?;
        values.iter_mut().skip(t).step_by(tokens).zip(of_token).for_each(|(to, value)| *to = value);
    }
    Ok(values)
}

/// Returns `rows [W, T, d]` with those of `from` at one token.
fn at_token(mut rows: Vec<f32>, from: &Outputs, token: usize) -> Vec<f32> {
    let size = from.tokens * from.d;
    let own = token * from.d..(token + 1) * from.d;
    for (to, from) in rows.chunks_mut(size).zip(from.data.chunks(size)) {
        to[own.clone()].copy_from_slice(&from[own.clone()]);
    }
    rows
}

/// Compares the exact effects of three edges, each at the token where it is largest, with patches by edits of single
/// runs.
fn alone(case: &Case<'_>, clean: &Outputs, edges: &[Edge], (values, value): (&[f64], f64)) -> Result<Certificate> {
    let ((run, observable), tokens) = (case.reading(), clean.tokens);
    let corrupted = outputs_of(&[run])?.remove(0);
    let scale = values.iter().fold(1.0f64, |most, v| most.max(v.abs()));
    let (last, mut worst) = (edges.len() - 1, 0.0);
    for n in [0, last / 2, last] {
        let effect = |t: usize| (values[n * tokens + t] - value).abs();
        let t = (0..tokens).max_by(|&a, &b| effect(a).total_cmp(&effect(b))).unwrap_or(0);
        let senders = Outputs { data: at_token(corrupted.data.clone(), clean, t), ..corrupted.clone() };
        let single = path_patch(run, &senders, &edges[n..=n], observable)?;
        worst = worse(worst, (single - values[n * tokens + t]).abs() / scale);
    }
    Ok(Certificate::new("alone_by_token", worst, same(run.model())))
}
