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

use resolvent_model::{Edit, EditedPrompt, Mode, Run, Site, Source, SourcedRun, jvp_of};

use crate::certificate::{narrow, norm};
use crate::dense::add_scaled;
use crate::error::{Error, Result};
use crate::field_slope::PlacedSource;
use crate::labelled::Labelled;
use crate::noise;
use crate::place::shape;
use crate::quadrature::Rule;
use crate::regime::MOST_NODES;

/// Adds the finite response of a source to its result of first order, from a secant with `nodes` nodes.
///
/// Arrays: `finite [L+1, T, d]`, by a run with the source; `secant [L+1, T, d]`, the response by derivatives on the
/// way; `first_error` and `secant_error [L+1]`, the relative errors of first order and of the secant at each level;
/// `secant_bar [L+1]`, the relative distance of the secant from a rule with half of its nodes. NaN where a level has no
/// response, or where rounding hides the error.
///
/// # Errors
/// Too many nodes, or a device error.
pub(crate) fn with_finite(result: Labelled, placed: &PlacedSource<'_>, nodes: usize) -> Result<Labelled> {
    let PlacedSource { run, place: (level, token), vector } = *placed;
    if nodes > MOST_NODES {
        return Err(Error::Input(format!("{nodes} nodes of a secant: give at most {MOST_NODES}")));
    }
    let (rule, (levels, tokens, d)) = (Rule::new(nodes), shape(run));
    let source = [Source { site: Site::level(level, run.model().sizes()), token, vector: vector.to_vec() }];
    let shares: Vec<f64> = rule.nodes.iter().map(|node| node[0]).chain([1.0]).collect();
    let runs = on_the_way(run, &source[0], &shares)?;
    let Some((whole, runs)) = runs.split_last() else { return Ok(result) };
    let field = run.field()?;
    let finite: Vec<f32> = whole.field()?.iter().zip(&field).map(|(a, b)| a - b).collect();
    let [mut secant, mut embedded] = [0, 1].map(|_| vec![0.0f64; field.len()]);
    let sourced: Vec<SourcedRun<'_>> = runs.iter().map(|run| SourcedRun { run, sources: &source }).collect();
    jvp_of(Mode::Exact, &sourced, &run.levels(), &mut |chunk| {
        let [_, weight, weight_embedded] = rule.nodes[chunk.sequence];
        let rows: Vec<f64> = chunk.rows.iter().map(|x| f64::from(*x)).collect();
        let at = (chunk.site * tokens + chunk.token) * d;
        add_scaled(&mut secant[at..at + rows.len()], weight, &rows);
        add_scaled(&mut embedded[at..at + rows.len()], weight_embedded, &rows);
    })?;
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
fn on_the_way(run: &Run, Source { site, token, vector }: &Source, shares: &[f64]) -> Result<Vec<Run>> {
    let edit = |share: &f64| {
        let part = vector.iter().map(|v| (share * f64::from(*v)) as f32).collect();
        run.edits().iter().cloned().chain([Edit::add(*site, *token, part)]).collect::<Vec<Edit>>()
    };
    let edits: Vec<Vec<Edit>> = shares.iter().map(edit).collect();
    let prompts: Vec<EditedPrompt<'_>> =
        edits.iter().map(|edits| EditedPrompt { tokens: run.tokens(), edits }).collect();
    let mut runs = Vec::with_capacity(prompts.len());
    for part in run.model().passes(&prompts, |prompt| prompt.tokens.len()) {
        runs.extend(run.model().run_edited(part, &[])?);
    }
    Ok(runs)
}

/// Returns `|of - from| / |from|`; NaN if there is nothing to compare with, or if the difference is at most `floor`.
fn relative((of, from): (&[f32], &[f32]), floor: f64) -> f64 {
    let apart: Vec<f32> = of.iter().zip(from).map(|(a, b)| a - b).collect();
    let (apart, size) = (norm(&apart), norm(from));
    if size == 0.0 || apart <= floor { f64::NAN } else { apart / size }
}
