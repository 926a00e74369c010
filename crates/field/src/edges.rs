//! Edges between nodes: how much of an effect passes from each writer to each reader directly.
//!
//! A writer is the embedding, a head or an MLP; a reader is the queries, keys or values of a head, an MLP or the logits
//! ([`Writer`], [`Reader`]). The patch of an edge lets the reader read the clean output of the writer, at every token,
//! in an otherwise corrupted run. Its effect is `J(patched) - J(corrupted)`.
//!
//! Let `w` be the output of a writer, `d = w_clean - w_corrupted`, and `g` the derivative of J by what a reader reads,
//! through this reader alone:
//!
//! | prediction | |
//! |---|---|
//! | `first_order` | `<g, d>`, summed over tokens: edge attribution patching (arXiv 2310.10348) |
//! | `integrated` | `<mean g, d>` over runs whose embeddings lie between those of both prompts (EAP-IG, arXiv 2403.17806) |
//! | `integrated_activations` | `<mean g, d>` over runs in which the site of the writer lies between its values in both prompts |
//! | `relp` | `<g, d>` with the derivatives of [`Mode::RelP`] |
//!
//! All edges of a reader share one derivative, and all edges of a writer one displacement. So every prediction takes a
//! forward and a backward pass, and one product for each pair. `integrated` takes both passes at each step, and
//! `integrated_activations` at each step of each site: the embedding, the attention and the MLP of each block.

mod averaged;
mod into;
mod path;
mod predictor;
mod scores;

use resolvent_engine::counted;
use resolvent_model::{
    Edge, Mode, Outputs, Reader, Site, Sizes, Writer, captures, edge_values, ends_at_logits, outputs_of,
    reader_gradients,
};

use crate::case::Case;
use crate::certificate::{Certificate, adjoint, dot, narrow, norm, same, worse};
use crate::distinct::distinct;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::nodes::{Sensitivities, last_rows, with_edges};
use crate::noise;
use crate::patch::both_values;
use crate::predictors::pass;
use crate::stats::Pairs;

use averaged::{along_activations, along_inputs};
pub use into::edges_into;
pub use path::path_patch;
pub use predictor::EdgePredictor;
use scores::Scores;

/// Options of [`edges`].
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeOptions {
    /// Predictions beside first order.
    pub predictors: Vec<EdgePredictor>,
    /// Number of runs between the prompts, for `integrated`; for `integrated_activations`, of each site.
    pub steps: usize,
    /// Whether every edge is patched too.
    pub exact: bool,
    /// Number of other prompts of the set whose displacements are controls, for [`crate::edges_of_prompts`]; 0 for
    /// none.
    pub controls: usize,
    /// Number of random displacements of each writer that are patched along every edge too, beside `exact`; 0 for none.
    pub random: usize,
    /// Seed of the random displacements.
    pub seed: u64,
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self { predictors: Vec::new(), steps: 8, exact: false, controls: 0, random: 0, seed: 0 }
    }
}

/// Tolerance of the sum rules, relative to the sizes of their terms. They differ by f32 rounding only.
const SUMS: f64 = 1e-4;

/// How many of the strongest edges are compared between predictions and exact effects.
const TOP: [usize; 3] = [10, 50, 200];

/// Predicts the effects of patching each edge, and computes them if `options` asks for it.
///
/// Both runs must have been prepared for [`path_sites`](resolvent_model::path_sites).
///
/// Arrays: `edges [E, 2]` (indices of writer and reader), `first_order [E]`, `integrated [E]`, `integrated_activations
/// [E]`, `relp [E]`, `exact [E]`, `random [E]`, `random_exact [E]`, `clean_value [1]` and `corrupted_value [1]`.
/// `random` and `random_exact` are controls of `first_order` and `exact`: root mean squares over displacements of the
/// same norms in random directions, of all directions and of [`EdgeOptions::random`] ones.
///
/// The metadata name the `writers` and `readers`, separated by commas, and have `agreement.NAME` and `top.NAME` of each
/// prediction with the exact effects. `integration_error` is the largest distance between the sum of
/// `integrated_activations` over the edges from a site and the effect of moving the site, over the largest such effect.
///
/// Certificates: the first-order edges into each reader add up to the first-order effect of what it reads
/// (`into_readers`); those from each writer add up to the first-order effect of its output (`from_writers`), and so do
/// those from each site in a run between (`from_sites`); three edges agree with patches of the same edges by edits of
/// single runs (`alone`); the adjoint identity.
///
/// # Errors
/// Runs that do not pair or were not prepared, edits in the corrupted run, an observable that reads the field below the
/// last level, a device error, or a check that fails.
pub fn edges(case: &Case<'_>, options: &EdgeOptions) -> Result<Labelled> {
    edges_beside(case, &[], options)
}

/// Returns the result of [`edges`], with the array `other_prompts [E]` if there are others: the root mean square of the
/// first-order scores over displacements of other cases, each with the norm that the writer's own displacement has.
pub(crate) fn edges_beside(case: &Case<'_>, others: &[Case<'_>], options: &EdgeOptions) -> Result<Labelled> {
    case.check()?;
    let (run, model) = (case.corrupted, case.corrupted.model());
    let sizes = *model.sizes();
    ends_at_logits(case.observable, &sizes)?;
    if options.steps == 0 {
        return Err(Error::Input("integrated gradients need one step or more".to_owned()));
    }
    if options.random > 0 && !options.exact {
        return Err(Error::Input("random displacements are a control of exact effects; ask for these too".to_owned()));
    }
    let [clean_outputs, displacement] = displacement(case)?;
    let edges = Edge::all(model.architecture());
    let scores = Scores { sizes: &sizes, edges: &edges, displacement: &displacement.data };
    let gradients = reader_gradients(Mode::Exact, &[case.reading()])?.remove(0);
    let first_order = scores.of(&gradients);
    let chi = Sensitivities::new(run, case.observable)?;
    let floor = noise::floor(run, &chi.field())?;
    let (mut predictions, mut activations) = (vec![(EdgePredictor::FirstOrder, first_order)], None);
    for predictor in distinct(options.predictors.iter().copied()) {
        let predicted = match predictor {
            EdgePredictor::FirstOrder => continue,
            EdgePredictor::RelP => scores.of(&reader_gradients(Mode::RelP, &[case.reading()])?[0]),
            EdgePredictor::Integrated => along_inputs(case, &scores, options.steps)?,
            EdgePredictor::IntegratedActivations => {
                let found = along_activations(case, &scores, options.steps)?;
                activations = Some((found.sums, found.error));
                found.scores
            }
        };
        predictions.push((predictor, predicted));
    }
    let [clean, corrupted] = both_values([case.clean, run], case.observable)?;
    let axis = [("edge", edges.len())];
    let mut result = with_edges(case.named("edges").note(noise::NAME, format!("{floor:e}")), model, &edges);
    for (predictor, predicted) in &predictions {
        result = result.with(predictor.name(), &axis, narrow(predicted));
    }
    result = result.with("random", &axis, narrow(&scores.random(&gradients)));
    if !others.is_empty() {
        result = result.with("other_prompts", &axis, narrow(&other_prompts(&scores, others, &gradients)?));
    }
    if let Some((sums, error)) = activations {
        result = result.note("integration_error", format!("{error:.1e}")).certify(sums)?;
    }
    let into = into_readers(case, &edges, &gradients, &predictions[0].1)?;
    let from = from_writers(&sizes, &chi, &displacement, (&edges, &predictions[0].1));
    if options.exact {
        let (values, work) = counted(|| edge_values(run, &displacement.data, &edges, case.observable));
        let values = values?;
        let exact: Vec<f32> = values.iter().map(|value| (value - corrupted) as f32).collect();
        for (predictor, predicted) in &predictions {
            let pairs = Pairs::above(&narrow(predicted), &exact, floor);
            let top = TOP.iter().filter(|k| **k <= pairs.len());
            let top: Vec<String> = top.map(|&k| format!("{k}: {:.2}", pairs.top_overlap(k))).collect();
            result = result.note(&format!("agreement.{predictor}"), pairs.agreement().to_string());
            if !top.is_empty() {
                result = result.note(&format!("top.{predictor}"), top.join(", "));
            }
        }
        result = result
            .note("sweep_cost", format!("{:.1}", work.flops / pass(case)?))
            .with("exact", &axis, exact)
            .certify(alone(case, &clean_outputs, &edges, &values)?)?;
        if options.random > 0 {
            let control = random_exact(case, &scores, corrupted, (options.random, options.seed))?;
            result = result.with("random_exact", &axis, narrow(&control));
        }
    }
    result
        .with("clean_value", &[("value", 1)], vec![clean as f32])
        .with("corrupted_value", &[("value", 1)], vec![corrupted as f32])
        .certify(into)?
        .certify(from)?
        .certify(adjoint(&run.linearize(Mode::Exact), 1)?)
}

/// Returns the clean outputs of all writers, and these minus the corrupted ones.
fn displacement(case: &Case<'_>) -> Result<[Outputs; 2]> {
    let mut outputs = outputs_of(&[case.clean, case.corrupted])?;
    let (mut moved, clean) = (outputs.remove(1), outputs.remove(0));
    let from = |clean: &[f32], corrupted: &mut [f32]| {
        corrupted.iter_mut().zip(clean).for_each(|(corrupted, clean)| *corrupted = clean - *corrupted);
    };
    from(&clean.data, &mut moved.data);
    from(&clean.biases, &mut moved.biases);
    from(&clean.mlp_biases, &mut moved.mlp_biases);
    Ok([clean, moved])
}

/// Returns the root mean square of the scores over displacements of other cases.
fn other_prompts(scores: &Scores<'_>, others: &[Case<'_>], gradients: &[f32]) -> Result<Vec<f64>> {
    let mut squares = vec![0.0; scores.edges.len()];
    for other in others {
        let [_, moved] = displacement(other)?;
        let moved = last_rows(&moved.data, [moved.tokens, scores.tokens()], moved.d);
        let moved = scores.matched(moved);
        let each = Scores { displacement: &moved, ..*scores }.of(gradients);
        squares.iter_mut().zip(each).for_each(|(sum, x)| *sum += x * x / others.len() as f64);
    }
    Ok(squares.into_iter().map(f64::sqrt).collect())
}

/// Returns the root mean square of the exact effects over `count` random displacements of each writer. Each has the
/// norm of the writer's own displacement at every token.
fn random_exact(case: &Case<'_>, scores: &Scores<'_>, value: f64, (count, seed): (usize, u64)) -> Result<Vec<f64>> {
    let mut squares = vec![0.0; scores.edges.len()];
    for n in 0..count {
        let moved = scores.randomised(seed.wrapping_add(n as u64));
        let values = edge_values(case.corrupted, &moved, scores.edges, case.observable)?;
        squares.iter_mut().zip(values).for_each(|(sum, v)| *sum += (v - value).powi(2) / count as f64);
    }
    Ok(squares.into_iter().map(f64::sqrt).collect())
}

/// Checks that the edges into each reader add up to `<g, h_clean - h_corrupted>`, where h is what it reads.
fn into_readers(case: &Case<'_>, edges: &[Edge], gradients: &[f32], scores: &[f64]) -> Result<Certificate> {
    let model = case.corrupted.model();
    let (sizes, site) = (model.sizes(), |reader: Reader| reader.input(model.architecture()));
    let readers = Reader::all(sizes);
    let mut sites: Vec<Site> = readers.iter().map(|&reader| site(reader)).collect();
    sites.sort();
    sites.dedup();
    let both = captures(&[(case.clean, &sites), (case.corrupted, &sites)])?;
    let size = case.corrupted.tokens().len() * sizes.d;
    let mut worst = 0.0;
    for (n, &reader) in readers.iter().enumerate() {
        let at = sites.binary_search(&site(reader)).unwrap_or_default();
        let moved: Vec<f32> = both[0][at].iter().zip(&both[1][at]).map(|(a, b)| a - b).collect();
        let g = &gradients[n * size..][..size];
        let sum: f64 = edges.iter().zip(scores).filter(|(edge, _)| edge.reader == reader).map(|(_, s)| s).sum();
        let scale = (norm(g) * norm(&moved)).max(f64::MIN_POSITIVE);
        worst = worse(worst, (sum - dot(g, &moved)).abs() / scale);
    }
    Ok(Certificate::new("into_readers", worst, SUMS))
}

/// Checks that the edges from each writer add up to `<dJ/dw, d>`. The derivative by its output comes from the backward
/// pass of the whole model.
fn from_writers(
    sizes: &Sizes,
    chi: &Sensitivities,
    displacement: &Outputs,
    (edges, scores): (&[Edge], &[f64]),
) -> Certificate {
    let writers = Writer::all(sizes);
    let mut sums = vec![0.0; writers.len()];
    edges.iter().zip(scores).for_each(|(edge, score)| sums[edge.writer.index(sizes)] += score);
    let mut worst = 0.0;
    for (&writer, sum) in writers.iter().zip(sums) {
        let (chi, moved) = (chi.by(writer), displacement.get(writer, sizes));
        let scale = (norm(chi) * norm(moved)).max(f64::MIN_POSITIVE);
        worst = worse(worst, (sum - dot(chi, moved)).abs() / scale);
    }
    Certificate::new("from_writers", worst, SUMS)
}

/// Compares three exact effects with patches of the same edges by edits of single runs.
fn alone(case: &Case<'_>, clean: &Outputs, edges: &[Edge], values: &[f64]) -> Result<Certificate> {
    let (run, observable) = case.reading();
    let scale = values.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let (last, mut worst) = (edges.len() - 1, 0.0);
    for n in [0, last / 2, last] {
        let value = path_patch(run, clean, &edges[n..=n], observable)?;
        worst = worse(worst, (value - values[n]).abs() / scale);
    }
    Ok(Certificate::new("alone", worst, same(run.model())))
}
