//! Path patching of chosen edges: each alone, and all together.

use resolvent_model::{
    Architecture, Edge, Mode, Reader, StreamEdits, Writer, edge_values, ends_at_logits, reader_gradients,
    rewired_values,
};

use super::path::path_patch;
use super::scores::Scores;
use super::{alone, displacement};
use crate::case::Case;
use crate::certificate::{Certificate, narrow, same};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::nodes::with_edges;
use crate::patch::both_values;

/// Patches some edges: each alone, and all together.
///
/// Both runs must have been prepared for [`path_sites`](resolvent_model::path_sites).
///
/// Arrays: `edges [E, 2]` (indices of writer and reader), `first_order [E]`, `random [E]` and `exact [E]` of each edge
/// alone, as in [`crate::edges`]; `together [1]`, the effect of the patch of all of these edges at once, which
/// [`path_patch`] computes; `clean_value [1]` and `corrupted_value [1]`. The metadata name the `writers` and `readers`,
/// separated by commas.
///
/// Certificates: three edges agree with patches by edits of single runs (`alone`); all together agree with a run in
/// which these edges carry the clean outputs and all nodes are computed again (`together`).
///
/// # Errors
/// No edges, or one that the model lacks; otherwise as [`crate::edges`].
pub fn paths(case: &Case<'_>, edges: &[Edge]) -> Result<Labelled> {
    case.check()?;
    let ((run, observable), model) = (case.reading(), case.corrupted.model());
    ends_at_logits(observable, model.sizes())?;
    edges.iter().try_for_each(|edge| edge.check(model.architecture()))?;
    if edges.is_empty() {
        return Err(Error::Input("no edges to patch; name one or more".to_owned()));
    }
    let [clean, moved] = displacement(case)?;
    let (stream, gradients) = (StreamEdits::of(run), reader_gradients(Mode::Exact, &[case.reading()])?.remove(0));
    let architecture = model.architecture();
    let scores = Scores { model: architecture, edges, stream: &stream, displacement: &moved.data, by_token: false };
    let values = edge_values(run, &moved.data, edges, observable)?;
    let together = path_patch(run, &clean, edges, observable)?;
    let included: Vec<bool> = Edge::all(architecture).iter().map(|edge| !edges.contains(edge)).collect();
    let rewired = rewired_values(run, &clean.data, &[included], observable)?[0];
    let apart = (together - rewired).abs() / together.abs().max(1.0);
    let [clean_value, value] = both_values([case.clean, run], observable)?;
    let (axis, one) = ([("edge", edges.len())], [("value", 1)]);
    with_edges(case.named("paths"), model, edges)
        .with("first_order", &axis, narrow(&scores.of(&gradients)))
        .with("random", &axis, scores.random(&gradients).into_iter().map(|square| square.sqrt() as f32).collect())
        .with("exact", &axis, values.iter().map(|x| (x - value) as f32).collect())
        .with("together", &one, vec![(together - value) as f32])
        .with("clean_value", &one, vec![clean_value as f32])
        .with("corrupted_value", &one, vec![value as f32])
        .certify(alone(case, &clean, edges, &values)?)?
        .certify(Certificate::new("together", apart, same(model)))
}

/// Returns all edges from some writers to some readers, by their names.
///
/// Writers are `input`, `aL.hH` and `mL`. Readers are `aL.hH<q>`, `<k>` and `<v>`, `mL` and `logits`; `aL.hH` are the
/// three of this head, whose keys and values other heads may share. Pairs whose writer does not write before the reader
/// reads are no edges.
///
/// # Errors
/// A name that is none, or of no node of the model; or no edges at all.
pub fn edges_from_to(model: &Architecture, senders: &[String], receivers: &[String]) -> Result<Vec<Edge>> {
    let (sizes, input) = (model.sizes(), |text: String| Err(Error::Input(text)));
    let writers = senders.iter().map(|name| Ok(name.trim().parse()?)).collect::<Result<Vec<Writer>>>()?;
    let readers = receivers.iter().map(|name| of_node(name.trim(), sizes.heads / sizes.kv_heads));
    let readers = readers.collect::<Result<Vec<_>>>()?.concat();
    let (known_writers, known_readers) = (Writer::all(sizes), Reader::all(sizes));
    if let Some(unknown) = writers.iter().find(|writer| !known_writers.contains(writer)) {
        return input(format!("the model has no sender {unknown}"));
    }
    if let Some(unknown) = readers.iter().find(|reader| !known_readers.contains(reader)) {
        return input(format!("the model has no receiver {unknown}"));
    }
    let wanted = |edge: &Edge| writers.contains(&edge.writer) && readers.contains(&edge.reader);
    let edges: Vec<Edge> = Edge::all(model).into_iter().filter(wanted).collect();
    match edges.is_empty() {
        true => input("no sender writes before a receiver reads; give senders of earlier blocks".to_owned()),
        false => Ok(edges),
    }
}

/// Returns the reader of a name, or all three readers of a head. `shared` heads have the same keys and values.
fn of_node(name: &str, shared: usize) -> Result<Vec<Reader>> {
    match name.parse() {
        Ok(Writer::Head(l, h)) => {
            Ok(vec![Reader::Query(l, h), Reader::Key(l, h / shared), Reader::Value(l, h / shared)])
        }
        _ => Ok(vec![name.parse()?]),
    }
}

#[cfg(test)]
mod tests {
    use resolvent_model::tiny;

    use super::*;

    #[test]
    fn names_are_edges() {
        let model: Architecture = tiny().into();
        let names = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<String>>();
        let of = |from: &str, to: &str| edges_from_to(&model, &names(from), &names(to));
        let shown = |from: &str, to: &str| -> Vec<String> {
            of(from, to).expect("edges").iter().map(Edge::to_string).collect()
        };
        assert_eq!(
            shown("a0.h1, m0", "a1.h0<v>,logits"),
            ["a0.h1->a1.h0<v>", "m0->a1.h0<v>", "a0.h1->logits", "m0->logits"]
        );
        assert_eq!(shown("m0", "a1.h1"), ["m0->a1.h1<q>", "m0->a1.h1<k>", "m0->a1.h1<v>"]);
        assert_eq!(shown("m0,m0", "m0,m1"), ["m0->m1"], "m0 does not read itself");
        for (from, to, message) in [
            ("a1.h0", "m0", "no sender writes before"),
            ("a9.h0", "logits", "no sender a9.h0"),
            ("m0", "a1.h9", "no receiver a1.h9<q>"),
            ("m0", "a1", "invalid reader `a1`"),
            ("logits", "logits", "invalid writer `logits`"),
        ] {
            let error = of(from, to).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
