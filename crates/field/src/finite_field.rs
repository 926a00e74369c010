//! Finite responses of the field: what a source of its whole length does, beside what derivatives say.
//!
//! ```text
//! finite = h(a = 1) - h(a = 0),    secant = integral over a from 0 to 1 of G(a) s
//!
//! G(a) = dh / ds at the run with a s
//! ```
//!
//! The secant is the Green operator averaged over the way to the source. A Gauss-Legendre rule with n nodes replaces
//! the integral; with more nodes it becomes the finite response. First order is the value at a = 0 alone.

use resolvent_model::{Edit, EditedPrompt, Run, SourcedRun};

use crate::certificate::{narrow, norm};
use crate::dense::{add_scaled, wide};
use crate::derivatives::responses_all;
use crate::error::Result;
use crate::field_slope::PlacedSource;
use crate::labelled::Labelled;
use crate::noise;
use crate::place::shape;
use crate::quadrature::Rule;

/// Adds the finite response of a source to its result of first order, from a secant with `nodes` nodes.
///
/// Arrays: `finite [L+1, T, d]`, by a run with the source; `secant [L+1, T, d]`, the response by derivatives on the
/// way; `first_error` and `secant_error [L+1]`, the relative errors of first order and of the secant at each level;
/// `secant_bar [L+1]`, the relative distance of the secant from a rule with half of its nodes. NaN where a level has no
/// response, or where rounding hides the error.
///
/// # Errors
/// A device error.
pub(crate) fn with_finite(result: Labelled, placed: &PlacedSource<'_>, nodes: usize) -> Result<Labelled> {
    let run = placed.run;
    let (rule, (levels, tokens, d)) = (Rule::new(nodes), shape(run));
    let shares = rule.nodes.iter().map(|node| node[0]).chain([1.0]);
    let runs = on_the_way(placed, shares)?;
    let Some((whole, runs)) = runs.split_last() else { return Ok(result) };
    let field = run.field()?;
    let finite: Vec<f32> = whole.field()?.iter().zip(&field).map(|(a, b)| a - b).collect();
    let source = [placed.at(1.0)];
    let sourced: Vec<SourcedRun<'_>> = runs.iter().map(|run| SourcedRun { run, sources: &source }).collect();
    let [mut secant, mut embedded] = [0, 1].map(|_| vec![0.0f64; field.len()]);
    for ([_, weight, weight_embedded], response) in rule.nodes.iter().zip(responses_all(&sourced)?) {
        let response = wide(&response);
        add_scaled(&mut secant, *weight, &response);
        add_scaled(&mut embedded, *weight_embedded, &response);
    }
    let (secant, embedded) = (narrow(&secant), narrow(&embedded));
    let first = result.array("response").map_or(&[][..], |response| &response.data);
    let unit = noise::unit(run.model().sizes());
    let apart = |of: &[f32], from: &[f32]| -> Vec<f32> {
        let each = of.chunks(tokens * d).zip(from.chunks(tokens * d)).zip(field.chunks(tokens * d));
        each.map(|((of, from), h)| relative((of, from), unit * norm(h)) as f32).collect()
    };
    let (of_field, axis) = ([("level", levels), ("token", tokens), ("d", d)], [("level", levels)]);
    let (first_error, secant_error) = (apart(first, &finite), apart(&secant, &finite));
    let bar = apart(&embedded, &secant);
    Ok(result
        .with("finite", &of_field, finite)
        .with("secant", &of_field, secant)
        .with("first_error", &axis, first_error)
        .with("secant_error", &axis, secant_error)
        .with("secant_bar", &axis, bar)
        .note("nodes", nodes.to_string()))
}

/// Returns the runs with each share of the source added.
fn on_the_way(placed: &PlacedSource<'_>, shares: impl Iterator<Item = f64>) -> Result<Vec<Run>> {
    let (model, tokens) = (placed.run.model(), placed.run.tokens());
    let edits: Vec<Vec<Edit>> = shares.map(|share| placed.moved(share)).collect();
    let prompts: Vec<EditedPrompt<'_>> = edits.iter().map(|edits| EditedPrompt { tokens, edits }).collect();
    let mut runs = Vec::with_capacity(prompts.len());
    for part in model.passes(&prompts, |prompt| prompt.tokens.len()) {
        runs.extend(model.run_edited(part, &[])?);
    }
    Ok(runs)
}

/// Returns `|of - from| / |from|`; NaN if there is nothing to compare with, or if the difference is at most `floor`.
fn relative((of, from): (&[f32], &[f32]), floor: f64) -> f64 {
    let apart: Vec<f32> = of.iter().zip(from).map(|(a, b)| a - b).collect();
    let (apart, size) = (norm(&apart), norm(from));
    if size == 0.0 || apart <= floor { f64::NAN } else { apart / size }
}
