//! What figures of several analyses read from a result, and the heatmap that they share.

use resolvent_field::{Array, Labelled};

use crate::rows::names;
use crate::scene::token;
use crate::{Heatmap, Map};

/// Returns over how many prompts a result is, with the noun.
pub(super) fn prompts(result: &Labelled) -> String {
    let count = result.fact("prompts");
    format!("{count} {}", if count == "1" { "prompt" } else { "prompts" })
}

/// Returns the only element of an array such as `value [1]`.
pub(super) fn number(result: &Labelled, name: &str) -> Option<f64> {
    result.array(name).and_then(|a| a.data.first()).map(|&x| f64::from(x))
}

/// Returns the place that an entry of the metadata names, and how a title names it.
pub(super) fn named_place(result: &Labelled, key: &str) -> (Option<(usize, usize)>, String) {
    let text = result.fact(key);
    let place = text.split_once(',').and_then(|(l, t)| Some((l.parse().ok()?, t.parse().ok()?)));
    // Of several prompts with places of their own, the entry is their list.
    (place, place.map_or_else(|| "the place of each prompt".to_owned(), |_| format!("h[{text}]")))
}

/// Returns the observable as it was typed, if the caller has noted it as `observable_text`; else `J`.
///
/// Result files do not contain this text, because they do not depend on the notation of a token.
pub(super) fn observable(result: &Labelled) -> String {
    match result.fact("observable_text") {
        "" => "J".to_owned(),
        text => format!("J = {text}"),
    }
}

/// Returns how many edges a graph has at most: as many as the caller has noted as `drawn_edges`, or 40.
pub(super) fn drawn_edges(result: &Labelled) -> usize {
    const DRAWN: usize = 40;
    result.fact("drawn_edges").parse().map_or(DRAWN, |count: usize| count.clamp(1, MOST_EDGES))
}

/// Most edges of a graph: with more, they cannot be told apart.
pub(super) const MOST_EDGES: usize = 200;

/// Returns the name of a place of the field, with its token: `h3, 9 " Mary"`.
pub(super) fn place(level: usize, at: usize, labels: &[String]) -> String {
    format!("h{level}, {}", labels.get(at).map_or_else(|| at.to_string(), |text| token(at, text)))
}

/// Returns a heatmap of an array over levels, blocks or heads, and tokens; `None` for other axes.
pub(super) fn heatmap(title: impl Into<String>, array: &Array, labels: &[String], map: Map) -> Option<Heatmap> {
    let rows = names(&array.axes)?;
    let tokens = array.axes.last()?.1;
    let columns = (0..tokens).map(|t| labels.get(t).cloned().unwrap_or_else(|| t.to_string()));
    let map = Heatmap { map, ..Heatmap::new(title, rows, columns.collect(), array.data.clone()) };
    Some(map)
}
