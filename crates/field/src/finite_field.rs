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

use resolvent_model::{Edit, EditedPrompt, Run, Site, Source, SourcedRun, captures};

use crate::certificate::{narrow, norm};
use crate::dense::{add_scaled, wide};
use crate::derivatives::responses_all;
use crate::error::Result;
use crate::field_slope::PlacedSource;
use crate::labelled::Labelled;
use crate::noise;
use crate::place::shape;
use crate::quadrature::Rule;

/// Adds the finite response of each source to its result of first order, from a secant with `nodes` nodes. All runs are
/// of one model; runs on the way to all sources share passes.
///
/// Arrays: `finite [L+1, T, d]`, by a run with the source; `secant [L+1, T, d]`, the response by derivatives on the
/// way; `first_error` and `secant_error [L+1]`, the relative errors of first order and of the secant at each level;
/// `secant_bar [L+1]`, the relative distance of the secant from a rule with half of its nodes. NaN where a level has no
/// response, or where rounding hides the error.
///
/// # Errors
/// A device error.
pub(crate) fn with_finite(results: Vec<Labelled>, sources: &[PlacedSource<'_>], nodes: usize) -> Result<Vec<Labelled>> {
    let Some(model) = sources.first().map(|source| source.run.model()) else { return Ok(results) };
    let rule = Rule::new(nodes);
    let of_runs: Vec<&Run> = sources.iter().map(|source| source.run).collect();
    let mut found: Vec<OnTheWay> = fields(&of_runs)?.into_iter().map(OnTheWay::new).collect();
    // Each source at the nodes, and then whole.
    let ways: Vec<(usize, usize)> = (0..sources.len()).flat_map(|n| (0..=nodes).map(move |node| (n, node))).collect();
    for part in model.passes(&ways, |&(n, _)| sources[n].run.tokens().len()) {
        let share = |node: usize| rule.nodes.get(node).map_or(1.0, |node| node[0]);
        let edits: Vec<Vec<Edit>> = part.iter().map(|&(n, node)| sources[n].moved(share(node))).collect();
        let prompts = part.iter().zip(&edits);
        let prompts = prompts.map(|(&(n, _), edits)| EditedPrompt { tokens: sources[n].run.tokens(), edits });
        let runs = model.run_edited(&prompts.collect::<Vec<_>>(), &[])?;
        let (at_nodes, whole): (Vec<_>, Vec<_>) = part.iter().zip(&runs).partition(|((_, node), _)| *node < nodes);
        let whole_fields = fields(&whole.iter().map(|(_, run)| *run).collect::<Vec<_>>())?;
        whole.iter().zip(whole_fields).for_each(|(((n, _), _), field)| found[*n].end(&field));
        let vectors: Vec<[Source; 1]> = at_nodes.iter().map(|&(&(n, _), _)| [sources[n].at(1.0)]).collect();
        let sourced = at_nodes.iter().zip(&vectors).map(|(&(_, run), sources)| SourcedRun { run, sources });
        let responses = responses_all(&sourced.collect::<Vec<_>>())?;
        at_nodes
            .iter()
            .zip(responses)
            .for_each(|(&(&(n, node), _), response)| found[n].add(&rule.nodes[node], &response));
    }
    let each = results.into_iter().zip(found).zip(sources);
    Ok(each.map(|((result, found), source)| found.add_to(result, source.run, nodes)).collect())
}

/// Returns the field of each run, `[L+1, T, d]`.
fn fields(runs: &[&Run]) -> Result<Vec<Vec<f32>>> {
    let Some(levels) = runs.first().map(|run| run.levels()) else { return Ok(Vec::new()) };
    let wanted: Vec<(&Run, &[Site])> = runs.iter().map(|run| (*run, &levels[..])).collect();
    Ok(captures(&wanted)?.into_iter().map(|levels| levels.concat()).collect())
}

/// What is known of the way to one source: fields `[L+1, T, d]`.
struct OnTheWay {
    /// Without the source.
    field: Vec<f32>,
    finite: Vec<f32>,
    /// The sums of the rule and of its embedded one.
    secant: Vec<f64>,
    embedded: Vec<f64>,
}

impl OnTheWay {
    fn new(field: Vec<f32>) -> Self {
        let zeros = vec![0.0; field.len()];
        Self { field, finite: Vec::new(), secant: zeros.clone(), embedded: zeros }
    }

    /// Takes the field with the whole source.
    fn end(&mut self, whole: &[f32]) {
        self.finite = whole.iter().zip(&self.field).map(|(a, b)| a - b).collect();
    }

    /// Adds the response at a node.
    fn add(&mut self, [_, weight, weight_embedded]: &[f64; 3], response: &[f32]) {
        let response = wide(response);
        add_scaled(&mut self.secant, *weight, &response);
        add_scaled(&mut self.embedded, *weight_embedded, &response);
    }

    fn add_to(self, result: Labelled, run: &Run, nodes: usize) -> Labelled {
        let ((levels, tokens, d), Self { field, finite, .. }) = (shape(run), &self);
        let (secant, embedded) = (narrow(&self.secant), narrow(&self.embedded));
        let first = result.array("response").map_or(&[][..], |response| &response.data);
        let unit = noise::unit(run.model().sizes());
        let apart = |of: &[f32], from: &[f32]| -> Vec<f32> {
            let each = of.chunks(tokens * d).zip(from.chunks(tokens * d)).zip(field.chunks(tokens * d));
            each.map(|((of, from), h)| relative((of, from), unit * norm(h)) as f32).collect()
        };
        let (of_field, axis) = ([("level", levels), ("token", tokens), ("d", d)], [("level", levels)]);
        let (first_error, secant_error) = (apart(first, finite), apart(&secant, finite));
        let bar = apart(&embedded, &secant);
        result
            .with("finite", &of_field, self.finite)
            .with("secant", &of_field, secant)
            .with("first_error", &axis, first_error)
            .with("secant_error", &axis, secant_error)
            .with("secant_bar", &axis, bar)
            .note("nodes", nodes.to_string())
    }
}

/// Returns `|of - from| / |from|`; NaN if there is nothing to compare with, or if the difference is at most `floor`.
fn relative((of, from): (&[f32], &[f32]), floor: f64) -> f64 {
    let apart: Vec<f32> = of.iter().zip(from).map(|(a, b)| a - b).collect();
    let (apart, size) = (norm(&apart), norm(from));
    if size == 0.0 || apart <= floor { f64::NAN } else { apart / size }
}
