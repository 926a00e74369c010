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
//! In runs with edits, `d` reaches a reader through the edits of the stream, and of attention's whole output, that lie
//! between writer and reader: an added vector changes nothing, and a replaced row stops `d` at its token. Edits of
//! nodes are in their outputs, and what a reader computes is edited as in the run.
//!
//! All edges of a reader share one derivative, and all edges of a writer one displacement. So every prediction takes a
//! forward and a backward pass, and one product for each pair. `integrated` takes both passes at each step, and
//! `integrated_activations` at each step of each site: the embedding, the attention and the MLP of each block.

mod averaged;
mod by_token;
mod into;
mod path;
mod paths;
mod predictor;
mod scores;

use resolvent_engine::counted;
use resolvent_model::{
    Edge, Edit, Mode, Outputs, Reader, Site, StreamEdits, Writer, captures, edge_values, ends_at_logits, outputs_of,
    reader_gradients, rewired_values,
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
pub use paths::{edges_from_to, paths};
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
    /// Whether scores, and exact effects, are also those of each edge at each token alone.
    pub by_token: bool,
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
        Self { predictors: Vec::new(), steps: 8, exact: false, by_token: false, controls: 0, random: 0, seed: 0 }
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
/// same norms in random directions, of all directions and of [`EdgeOptions::random`] ones. With
/// [`EdgeOptions::by_token`], the same of each edge at each token alone: `first_order_by_token [E, T]`, likewise
/// `integrated_by_token`, `integrated_activations_by_token`, `relp_by_token`, `random_by_token`, `exact_by_token` and
/// `random_exact_by_token`.
/// Predictions of an edge are the sums of these over tokens; exact effects need not be.
///
/// The metadata name the `writers` and `readers`, separated by commas, and have `agreement.NAME` and `top.NAME` of each
/// prediction with the exact effects. `integration_error` is the largest distance between the sum of
/// `integrated_activations` over the edges from a site and the effect of moving the site, over the largest such effect.
///
/// Certificates: the first-order edges into each reader add up to the first-order effect of what it reads
/// (`into_readers`); those from each writer add up to the first-order effect of its output (`from_writers`), and so do
/// those from each site in a run between (`from_sites`); three edges agree with patches of the same edges by edits of
/// single runs (`alone`, `alone_by_token`); all edges from the writer of the strongest one, patched together, are the
/// patch of its output (`of_writer`); the adjoint identity. By token, the first two sums hold at each token, and
/// the scores of each edge add up to its own (`over_tokens`).
///
/// # Errors
/// Runs that do not pair or were not prepared, or with different edits of the stream; an observable that reads the
/// field below the last level; a device error; or a check that fails.
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
    let (edges, stream) = (Edge::all(model.architecture()), StreamEdits::of(run));
    let by_token = options.by_token;
    let moved = &displacement.data;
    let scores = Scores { model: model.architecture(), edges: &edges, stream: &stream, displacement: moved, by_token };
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
    let whole: Vec<(EdgePredictor, Vec<f32>)> =
        predictions.iter().map(|(predictor, each)| (*predictor, narrow(&scores.summed(each)))).collect();
    for (predictor, predicted) in &whole {
        result = result.with(predictor.name(), &axis, predicted.clone());
    }
    let random = scores.random(&gradients);
    let roots = scores.summed(&random).into_iter().map(|square| square.sqrt() as f32);
    result = result.with("random", &axis, roots.collect());
    if !others.is_empty() {
        let [summed, each] = other_prompts(&scores, others, &gradients)?;
        result = result.with("other_prompts", &axis, narrow(&summed));
        if by_token {
            let axes = [axis[0], ("token", scores.tokens())];
            result = result.with("other_prompts_by_token", &axes, narrow(&each));
        }
    }
    if let Some((sums, error)) = activations {
        result = result.note("integration_error", format!("{error:.1e}")).certify(sums)?;
    }
    if by_token {
        result = by_token::with_scores(result, &scores, &predictions, (&gradients, &random))?;
    }
    let into = into_readers(case, &scores, &gradients, &predictions[0].1)?;
    let from = from_writers(&scores, &chi, &displacement, &predictions[0].1);
    if options.exact {
        let (values, work) = counted(|| edge_values(run, &displacement.data, &edges, case.observable));
        let values = values?;
        let exact: Vec<f32> = values.iter().map(|value| (value - corrupted) as f32).collect();
        for (predictor, predicted) in &whole {
            result = agreeing(result, predictor.name(), (predicted, &exact), floor);
        }
        result = result
            .note("sweep_cost", format!("{:.1}", work.flops / pass(case)?))
            .with("exact", &axis, exact)
            .certify(alone(case, &clean_outputs, &edges, &values)?)?
            .certify(of_writer(case, (&clean_outputs, &displacement), &edges, &values)?)?;
        if options.random > 0 {
            let values = |moved: Vec<f32>| Ok(edge_values(run, &moved, &edges, case.observable)?);
            let control = random_exact(&scores, corrupted, (options.random, options.seed), values)?;
            result = result.with("random_exact", &axis, narrow(&control));
        }
        if by_token {
            let outputs = [&clean_outputs, &displacement];
            let control = (options.random, options.seed);
            result = by_token::with_exact(result, (case, &scores, corrupted), outputs, (&predictions, floor), control)?;
        }
    }
    result
        .with("clean_value", &[("value", 1)], vec![clean as f32])
        .with("corrupted_value", &[("value", 1)], vec![corrupted as f32])
        .certify(into)?
        .certify(from)?
        .certify(adjoint(&run.linearize(Mode::Exact), 1)?)
}

/// Adds how well a prediction agrees with the exact effects, and which share of the strongest edges it finds.
fn agreeing(result: Labelled, name: &str, (predicted, exact): (&[f32], &[f32]), floor: f64) -> Labelled {
    let pairs = Pairs::above(predicted, exact, floor);
    let top = TOP.iter().filter(|k| **k <= pairs.len());
    let top: Vec<String> = top.map(|&k| format!("{k}: {:.2}", pairs.top_overlap(k))).collect();
    let result = result.note(&format!("agreement.{name}"), pairs.agreement().to_string());
    if top.is_empty() { result } else { result.note(&format!("top.{name}"), top.join(", ")) }
}

/// Returns the clean outputs of all writers, and these minus the corrupted ones.
fn displacement(case: &Case<'_>) -> Result<[Outputs; 2]> {
    let differ = !StreamEdits::all(case.clean).eq(StreamEdits::all(case.corrupted));
    if let Some(edit) = StreamEdits::all(case.clean).chain(StreamEdits::all(case.corrupted)).next().filter(|_| differ) {
        return Err(Error::Input(format!(
            "{}: the clean and the corrupted run have different edits of the stream, which no edge carries; give both \
             the same, or edit outputs of heads and MLPs",
            edit.site
        )));
    }
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

/// Returns the root mean square of the scores over displacements of other cases: of each edge summed over tokens, then
/// as [`Scores::of`] returns scores.
fn other_prompts(scores: &Scores<'_>, others: &[Case<'_>], gradients: &[f32]) -> Result<[Vec<f64>; 2]> {
    let mut squares = [vec![0.0; scores.edges.len()], vec![0.0; scores.len()]];
    for other in others {
        let [_, moved] = displacement(other)?;
        let moved = last_rows(&moved.data, [moved.tokens, scores.tokens()], moved.d);
        let moved = scores.matched(moved);
        let each = Scores { displacement: &moved, ..*scores }.of(gradients);
        for (squares, found) in squares.iter_mut().zip([scores.summed(&each), each]) {
            squares.iter_mut().zip(found).for_each(|(sum, x)| *sum += x * x / others.len() as f64);
        }
    }
    Ok(squares.map(|squares| squares.into_iter().map(f64::sqrt).collect()))
}

/// Returns the root mean square of exact effects over `count` random displacements of each writer. Each has the norm of
/// the writer's own displacement at every token. `values` are those of J under a displacement, and `value` is that
/// without.
fn random_exact(
    scores: &Scores<'_>,
    value: f64,
    (count, seed): (usize, u64),
    mut values: impl FnMut(Vec<f32>) -> Result<Vec<f64>>,
) -> Result<Vec<f64>> {
    let mut squares = Vec::new();
    for n in 0..count {
        let found = values(scores.randomised(seed.wrapping_add(n as u64)))?;
        squares.resize(found.len(), 0.0);
        squares.iter_mut().zip(found).for_each(|(sum, x)| *sum += (x - value).powi(2) / count as f64);
    }
    Ok(squares.into_iter().map(f64::sqrt).collect())
}

/// Checks that the edges into each reader add up to `<g, h_clean - h_corrupted>`, where h is what it reads: summed over
/// tokens, or at each token.
fn into_readers(case: &Case<'_>, scores: &Scores<'_>, gradients: &[f32], found: &[f64]) -> Result<Certificate> {
    let model = case.corrupted.model();
    let (sizes, site) = (model.sizes(), |reader: Reader| reader.input(model.architecture()));
    let readers = Reader::all(sizes);
    let mut sites: Vec<Site> = readers.iter().map(|&reader| site(reader)).collect();
    sites.sort();
    sites.dedup();
    let both = captures(&[(case.clean, &sites), (case.corrupted, &sites)])?;
    let (size, parts) = (case.corrupted.tokens().len() * sizes.d, scores.parts());
    let sums = scores.gathered(found, readers.len(), |edge| edge.reader.index(sizes));
    let mut worst = 0.0;
    for ((&reader, sums), g) in readers.iter().zip(sums.chunks(parts)).zip(gradients.chunks(size)) {
        let at = sites.binary_search(&site(reader)).unwrap_or_default();
        let moved: Vec<f32> = both[0][at].iter().zip(&both[1][at]).map(|(a, b)| a - b).collect();
        worst = worse(worst, apart(sums, [g, &moved]));
    }
    Ok(Certificate::new("into_readers", worst, SUMS))
}

/// Checks that the edges from each writer add up to `<dJ/dw, d>`: summed over tokens, or at each token. The derivative
/// by its output comes from the backward pass of the whole model.
fn from_writers(scores: &Scores<'_>, chi: &Sensitivities, displacement: &Outputs, found: &[f64]) -> Certificate {
    let (sizes, parts) = (scores.sizes(), scores.parts());
    let writers = Writer::all(sizes);
    let sums = scores.gathered(found, writers.len(), |edge| edge.writer.index(sizes));
    let each = writers.iter().zip(sums.chunks(parts));
    let worst = each.fold(0.0, |worst, (&writer, sums)| {
        worse(worst, apart(sums, [&chi.by(writer), displacement.get(writer, sizes)]))
    });
    Certificate::new("from_writers", worst, SUMS)
}

/// Returns the largest distance of sums from the products of the parts of two rows `[T, d]`, over the norms of both.
fn apart(sums: &[f64], [a, b]: [&[f32]; 2]) -> f64 {
    let (part, scale) = (a.len() / sums.len(), (norm(a) * norm(b)).max(f64::MIN_POSITIVE));
    let products = a.chunks(part).zip(b.chunks(part)).map(|(a, b)| dot(a, b));
    products.zip(sums).fold(0.0, |worst, (product, sum)| worse(worst, (product - sum).abs() / scale))
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

/// Compares the patch of all edges from the writer of the strongest one with the patch of the writer's output. The
/// first is one run in which these edges carry the clean output and all nodes are computed again.
fn of_writer(
    case: &Case<'_>,
    (clean, moved): (&Outputs, &Outputs),
    edges: &[Edge],
    values: &[f64],
) -> Result<Certificate> {
    let ((run, observable), sizes) = (case.reading(), case.corrupted.model().sizes());
    let base = run.value(observable)?;
    let strongest = edges.iter().zip(values).max_by(|(_, a), (_, b)| (*a - base).abs().total_cmp(&(*b - base).abs()));
    let writer = strongest.map_or(Writer::Embedding, |(edge, _)| edge.writer);
    let others: Vec<bool> = edges.iter().map(|edge| edge.writer != writer).collect();
    let together = rewired_values(run, &clean.data, &[others], observable)?[0];
    let mut rows = moved.get(writer, sizes).to_vec();
    StreamEdits::of(run).pass(writer, writer.site(), (0, moved.d), &mut rows);
    let rows = rows.chunks(moved.d).enumerate();
    let patch: Vec<Edit> = rows.map(|(t, row)| Edit::add(writer.site(), t, row.to_vec())).collect();
    let node = run.values_under(&[patch], observable)?[0];
    Ok(Certificate::new("of_writer", (together - node).abs() / node.abs().max(1.0), same(run.model())))
}
