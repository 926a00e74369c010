//! The figures of each analysis, drawn from its labelled result.
//!
//! Each analysis has a file. A new analysis also needs a line in [`figures`].

mod green;
mod invert;
mod patch;
mod predictors;
mod regime;
mod run;
mod scale;
mod sensitivity;
mod slice;
#[cfg(test)]
mod tests;
mod transfer;

pub(crate) use predictors::{zero_by_construction, zeros};
use resolvent_field::{Array, Labelled};

use crate::rows::names;
use crate::scene::token;
use crate::{Figure, Heatmap, Map};

/// Returns the figures of a result; `labels` are the texts of its tokens. Some analyses have no figures.
pub fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    match fact(result, "analysis") {
        "run" => run::figures(result, labels),
        "sensitivity" => sensitivity::figures(result, labels),
        "patch" => patch::figures(result, labels),
        "green" => green::figures(result, labels),
        "regime" => regime::figures(result, labels),
        "slice" => slice::figures(result, labels),
        "invert" => invert::figures(result, labels),
        "transfer" => transfer::figures(result, labels),
        "scale" => scale::figures(result, labels),
        _ => Vec::new(),
    }
}

/// Returns an entry of the metadata; empty if it is missing.
fn fact<'a>(result: &'a Labelled, key: &str) -> &'a str {
    result.metadata.get(key).map_or("", String::as_str)
}

/// Returns the only element of an array such as `value [1]`.
fn number(result: &Labelled, name: &str) -> Option<f64> {
    result.array(name).and_then(|a| a.data.first()).map(|&x| f64::from(x))
}

/// Returns the observable as it was typed, if the caller has noted it as `observable_text`; else `J`.
///
/// Result files do not contain this text, because they do not depend on the notation of a token.
fn observable(result: &Labelled) -> String {
    match fact(result, "observable_text") {
        "" => "J".to_owned(),
        text => format!("J = {text}"),
    }
}

/// Returns the name of a place of the field, with its token: `h3, 9 " Mary"`.
fn place(level: usize, at: usize, labels: &[String]) -> String {
    format!("h{level}, {}", labels.get(at).map_or_else(|| at.to_string(), |text| token(at, text)))
}

/// Returns a heatmap of an array over levels, blocks or heads, and tokens; `None` for other axes.
fn heatmap(title: impl Into<String>, array: &Array, labels: &[String], map: Map) -> Option<Heatmap> {
    let rows = names(&array.axes)?;
    let tokens = array.axes.last()?.1;
    let columns = (0..tokens).map(|t| labels.get(t).cloned().unwrap_or_else(|| t.to_string()));
    let map = Heatmap { map, ..Heatmap::new(title, rows, columns.collect(), array.data.clone()) };
    Some(map)
}
