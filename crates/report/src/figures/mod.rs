//! The figures of each analysis, drawn from its labelled result.
//!
//! Each analysis has a file. A new analysis also needs a line in [`figures`].

mod attribute;
mod average;
mod circuit;
mod edges;
mod features;
mod flow;
mod green;
mod growth;
mod invert;
mod lens;
mod locate;
mod patch;
mod predictors;
mod quadratic;
mod reach;
mod read;
mod reduce;
mod regime;
mod run;
mod scale;
mod sensitivity;
mod slice;
#[cfg(test)]
mod tests;
mod transfer;

pub(crate) use circuit::circuit_graph;
pub(crate) use predictors::{zero_by_construction, zeros};
use resolvent_field::Labelled;

use crate::Figure;

/// Returns the figures of a result; `labels` are the texts of its tokens. Some analyses have no figures.
pub fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    match result.fact("analysis") {
        "run" => run::figures(result, labels),
        "sensitivity" => sensitivity::figures(result, labels),
        "patch" => patch::figures(result, labels),
        "attribute" => attribute::figures(result, labels),
        "average" => average::figures(result),
        "reach" => reach::figures(result),
        "circuit" => circuit::figures(result),
        "edges" | "paths" => edges::figures(result, labels),
        "features" => features::figures(result, labels),
        "flow" => flow::figures(result, labels),
        "green" => green::figures(result, labels),
        "growth" => growth::figures(result),
        "quadratic" => quadratic::figures(result),
        "regime" => regime::figures(result, labels),
        "slice" => slice::figures(result, labels),
        "lens" => lens::figures(result, labels),
        "reduce" => reduce::figures(result),
        "locate" => locate::figures(result, labels),
        "invert" => invert::figures(result, labels),
        "transfer" => transfer::figures(result, labels),
        "scale" => scale::figures(result, labels),
        _ => Vec::new(),
    }
}
