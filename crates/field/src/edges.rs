//! Edges between nodes: how much of an effect passes from each writer to each reader directly.
//!
//! A writer is the embedding, a head or an MLP; a reader is the queries, keys or values of a head, an MLP or the logits
//! ([`Writer`], [`Reader`]). The patch of an edge lets the reader read the clean output of the writer, at every token, in
//! an otherwise corrupted run. Its effect is `J(patched) - J(corrupted)`.
//!
//! Let `w` be the output of a writer, `d = w_clean - w_corrupted`, and `g` the derivative of J by what a reader reads,
//! through this reader alone:
//!
//! | prediction | |
//! |---|---|
//! | `first_order` | `<g, d>`, summed over tokens: edge attribution patching (arXiv 2310.10348) |
//! | `integrated` | `<mean g, d>` over runs whose embeddings lie between those of both prompts (EAP-IG, arXiv 2403.17806) |
//! | `relp` | `<g, d>` with the derivatives of [`Mode::RelP`] |
//!
//! All edges of a reader share one derivative, and all edges of a writer one displacement. So every prediction takes a
//! forward and a backward pass, and one product for each pair.

mod path;
mod scores;

use resolvent_engine::counted;
use resolvent_model::{
    Edge, Mode, Observable, Outputs, Reader, Run, SeededRun, Site, Writer, edge_values, outputs_of, path_sites,
    reader_gradients, vjp_of,
};

use crate::between::between;
use crate::case::Case;
use crate::certificate::{Certificate, adjoint, dot, narrow, norm, same, worse};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::noise;
use crate::patch::both_values;
use crate::predictor::Predictor;
use crate::predictors::pass;
use crate::stats::Pairs;

pub use path::path_patch;
use scores::Scores;

/// Options of [`edges`].
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeOptions {
    /// Predictions beside first order: [`Predictor::Integrated`] and [`Predictor::RelP`].
    pub predictors: Vec<Predictor>,
    /// Number of runs between the prompts, for `integrated`.
    pub steps: usize,
    /// Whether every edge is patched too.
    pub exact: bool,
}

impl Default for EdgeOptions {
    fn default() -> Self {
        Self { predictors: Vec::new(), steps: 8, exact: false }
    }
}

/// Tolerance of the sum rules, relative to the sizes of their terms. They differ by f32 rounding only.
const SUMS: f64 = 1e-4;

/// How many of the strongest edges are compared between predictions and exact effects.
const TOP: [usize; 3] = [10, 50, 200];

/// Predicts the effects of patching each edge, and computes them if `options` asks for it.
///
/// Both runs must have been prepared for [`path_sites`].
///
/// Arrays: `edges [E, 2]` (indices of writer and reader), `first_order [E]`, `integrated [E]`, `relp [E]`, `exact [E]`,
/// `clean_value [1]` and `corrupted_value [1]`. The metadata name the `writers` and `readers`, separated by commas, and
/// have `agreement.NAME` and `top.NAME` of each prediction with the exact effects.
///
/// Certificates: the first-order edges into each reader add up to the first-order effect of what it reads
/// (`into_readers`); those from each writer add up to the first-order effect of its output (`from_writers`); three edges
/// agree with patches of the same edges by edits of single runs (`alone`); the adjoint identity.
///
/// # Errors
/// Runs that do not pair or were not prepared, edits in the corrupted run, a predictor that edges lack, an observable that
/// reads the field below the last level, a device error, or a check that fails.
pub fn edges(case: &Case<'_>, options: &EdgeOptions) -> Result<Labelled> {
    case.check()?;
    let (run, model) = (case.corrupted, case.corrupted.model());
    let sizes = *model.sizes();
    if let Some(other) = options.predictors.iter().find(|p| !matches!(p, Predictor::Integrated | Predictor::RelP)) {
        return Err(Error::Input(format!("edges have no predictor `{other}`: expected integrated or relp")));
    }
    if case.observable.places(&sizes).iter().any(|(level, _)| *level < sizes.layers) {
        let reason = "edges end at the logits; give an observable that reads the field at the last level only";
        return Err(Error::Input(reason.to_owned()));
    }
    if options.steps == 0 {
        return Err(Error::Input("integrated gradients need one step or more".to_owned()));
    }
    let displacement = displacement(case)?;
    let edges = Edge::all(model.architecture());
    let scores = Scores { sizes: &sizes, edges: &edges, displacement: &displacement.data };
    let gradients = reader_gradients(Mode::Exact, &[case.reading()])?.remove(0);
    let first_order = scores.of(&gradients);
    let chi = run.linearize(Mode::Exact).gradient(case.observable)?;
    let floor = noise::floor(run, &chi)?;
    let mut predictions = vec![(Predictor::FirstOrder, first_order)];
    for &predictor in &options.predictors {
        let predicted = match predictor {
            Predictor::RelP => scores.of(&reader_gradients(Mode::RelP, &[case.reading()])?[0]),
            _ => integrated(case, &scores, options.steps)?,
        };
        predictions.push((predictor, predicted));
    }
    let [clean, corrupted] = both_values([case.clean, run], case.observable)?;
    let names = |names: Vec<String>| names.join(",");
    let mut result = Labelled::new("edges", run)
        .note("observable", case.observable.to_string())
        .note("clean_tokens", case.clean.tokens().iter().map(u32::to_string).collect::<Vec<_>>().join(","))
        .note("writers", names(Writer::all(&sizes).iter().map(Writer::to_string).collect()))
        .note("readers", names(Reader::all(&sizes).iter().map(Reader::to_string).collect()))
        .note(noise::NAME, format!("{floor:e}"));
    let indices = |edge: &Edge| [edge.writer.index(&sizes) as f32, edge.reader.index(&sizes) as f32];
    let axis = [("edge", edges.len())];
    result = result.with("edges", &[axis[0], ("end", 2)], edges.iter().flat_map(indices).collect());
    for (predictor, predicted) in &predictions {
        result = result.with(predictor.name(), &axis, narrow(predicted));
    }
    let into = into_readers((run, case.clean), (&sizes, &edges), &gradients, &predictions[0].1)?;
    let from = from_writers(case, &displacement, (&edges, &predictions[0].1))?;
    if options.exact {
        let (values, work) = counted(|| edge_values(run, &displacement.data, &edges, case.observable));
        let values = values?;
        let exact: Vec<f32> = values.iter().map(|value| (value - corrupted) as f32).collect();
        for (predictor, predicted) in &predictions {
            let pairs = Pairs::above(&narrow(predicted), &exact, floor);
            let top = TOP.map(|k| format!("{k}: {:.2}", pairs.top_overlap(k))).join(", ");
            result = result
                .note(&format!("agreement.{predictor}"), pairs.agreement().to_string())
                .note(&format!("top.{predictor}"), top);
        }
        result = result
            .note("sweep_cost", format!("{:.1}", work.flops / pass(case)?))
            .with("exact", &axis, exact)
            .certify(alone(case, &edges, &values)?)?;
    }
    result
        .with("clean_value", &[("value", 1)], vec![clean as f32])
        .with("corrupted_value", &[("value", 1)], vec![corrupted as f32])
        .certify(into)?
        .certify(from)?
        .certify(adjoint(&run.linearize(Mode::Exact), 1)?)
}

/// Returns the clean outputs of all writers minus the corrupted ones.
fn displacement(case: &Case<'_>) -> Result<Outputs> {
    let mut outputs = outputs_of(&[case.clean, case.corrupted])?;
    let (corrupted, mut moved) = (outputs.remove(1), outputs.remove(0));
    moved.data.iter_mut().zip(&corrupted.data).for_each(|(a, b)| *a -= b);
    moved.biases.iter_mut().zip(&corrupted.biases).for_each(|(a, b)| *a -= b);
    Ok(moved)
}

/// Returns the scores with the mean derivative over runs between the prompts.
fn integrated(case: &Case<'_>, scores: &Scores<'_>, steps: usize) -> Result<Vec<f64>> {
    let mut sums = vec![0.0; scores.edges.len()];
    let sites = path_sites(case.corrupted.model().sizes());
    for step in 0..steps {
        let run = between(&[*case], &sites, (step as f32 + 0.5) / steps as f32)?.remove(0);
        let gradients = reader_gradients(Mode::Exact, &[(&run, case.observable)])?;
        let each = scores.of(&gradients[0]);
        sums.iter_mut().zip(each).for_each(|(sum, x)| *sum += x / steps as f64);
    }
    Ok(sums)
}

/// Checks that the edges into each reader add up to `<g, h_clean - h_corrupted>`, where h is what it reads.
fn into_readers(
    (corrupted, clean): (&Run, &Run),
    (sizes, edges): (&resolvent_model::Sizes, &[Edge]),
    gradients: &[f32],
    scores: &[f64],
) -> Result<Certificate> {
    let has_mid = |l| corrupted.has(Site::ResidMid(l));
    let site = |reader: Reader| match reader {
        Reader::Query(l, _) | Reader::Key(l, _) | Reader::Value(l, _) => Site::ResidPre(l),
        Reader::Mlp(l) if has_mid(l) => Site::ResidMid(l),
        Reader::Mlp(l) => Site::ResidPre(l),
        Reader::Logits => Site::level(sizes.layers, sizes),
    };
    let readers = Reader::all(sizes);
    let mut sites: Vec<Site> = readers.iter().map(|&reader| site(reader)).collect();
    sites.sort();
    sites.dedup();
    let both = resolvent_model::captures(&[(clean, &sites), (corrupted, &sites)])?;
    let size = corrupted.tokens().len() * sizes.d;
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

/// Checks that the edges from each writer add up to `<dJ/dw, d>`. The derivative by its output comes from the backward pass
/// of the whole model.
fn from_writers(case: &Case<'_>, displacement: &Outputs, (edges, scores): (&[Edge], &[f64])) -> Result<Certificate> {
    let (run, observable) = case.reading();
    let sizes = run.model().sizes();
    let writers = Writer::all(sizes);
    // All heads of a block add to the stream at one place, and so have one derivative.
    let site = |writer: &Writer| match *writer {
        Writer::Embedding => Site::ResidPre(0),
        Writer::Head(l, _) => Site::AttnOut(l),
        Writer::Mlp(l) => Site::MlpOut(l),
    };
    let mut sites: Vec<Site> = writers.iter().map(site).collect();
    sites.sort();
    sites.dedup();
    let (tokens, d) = (run.tokens().len(), sizes.d);
    let mut derivatives = vec![vec![0.0f32; tokens * d]; sites.len()];
    let seeds = run.seeds(observable)?;
    vjp_of(Mode::Exact, &[SeededRun { run, seeds: &seeds }], &sites, &mut |chunk| {
        derivatives[chunk.site][chunk.token * d..][..chunk.rows.len()].copy_from_slice(chunk.rows);
    })?;
    let mut sums = vec![0.0; writers.len()];
    edges.iter().zip(scores).for_each(|(edge, score)| sums[edge.writer.index(sizes)] += score);
    let mut worst = 0.0;
    for (writer, sum) in writers.iter().zip(sums) {
        let chi = &derivatives[sites.binary_search(&site(writer)).unwrap_or_default()];
        let moved = displacement.get(*writer, sizes);
        let scale = (norm(chi) * norm(moved)).max(f64::MIN_POSITIVE);
        worst = worse(worst, (sum - dot(chi, moved)).abs() / scale);
    }
    Ok(Certificate::new("from_writers", worst, SUMS))
}

/// Compares three exact effects with patches of the same edges by edits of single runs.
fn alone(case: &Case<'_>, edges: &[Edge], values: &[f64]) -> Result<Certificate> {
    let (run, observable): (&Run, &Observable) = case.reading();
    let clean = outputs_of(&[case.clean])?.remove(0);
    let scale = values.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let (last, mut worst) = (edges.len() - 1, 0.0);
    for n in [0, last / 2, last] {
        let value = path_patch(run, &clean, &edges[n..=n], observable)?;
        worst = worse(worst, (value - values[n]).abs() / scale);
    }
    Ok(Certificate::new("alone", worst, same(run.model())))
}
