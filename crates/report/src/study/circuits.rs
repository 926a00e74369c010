//! What remains of answers in circuits, over the share of their edges.

use resolvent_field::Labelled;

use super::data::{Results, array, means, rows};
use crate::circuits::strongest_edges;
use crate::figures::circuit_graph;
use crate::{Axis, Figure, Grid, Lines, Reference, Section};

/// The lines of a plot: an array, and its name.
const LINES: [(&str, &str); 3] =
    [("faithfulness", "circuit"), ("completeness", "all edges but the circuit"), ("random", "random circuits")];

/// Edges in the table of the first task.
const SHOWN: usize = 20;

pub(super) fn section(section: Section, results: &Results<'_>) -> Section {
    let all = results.of("circuits");
    let Some((task, first)) = all.first() else { return section };
    let lines = |(task, result): &(&str, &Labelled)| Figure::from(by_share(task, result));
    let mut section = section.figure(
        Grid::new("What remains of the answer", all.iter().map(lines).collect()),
        "Edges are ranked by first order on half of the pairs, and circuits of the first ones are measured on the others: 1 is \
         the clean prompt's J, 0 the corrupted one's. All other edges carry the corrupted outputs of their writers. Means and 95 % \
         intervals over the measured prompts.",
    );
    if let Some(graph) = circuit_graph(first) {
        section = section.figure(graph, format!("A circuit of {task}: edges with their mean first-order scores."));
    }
    match strongest_edges("", first, SHOWN) {
        Some(table) => section.figure(table, format!("The strongest edges of {task}.")),
        None => section,
    }
}

fn by_share(task: &str, result: &Labelled) -> Lines {
    let edges = result.array("edges").map_or(1, |edges| edges.axes[0].1.max(1)) as f64;
    let sizes = array(result, "size");
    let mut plot = Lines::new(task, Axis::log("share of all edges"), Axis::linear("share of the effect"));
    (plot.width, plot.markers) = (340.0, true);
    plot.references = vec![Reference::Level(1.0, String::new())];
    for (name, title) in LINES {
        let share = |i: usize| sizes.get(i).map_or(f64::NAN, |size| size / edges);
        plot.series.push(means(title, &rows(result, name), share));
    }
    plot
}
