//! `edges`: a graph of the strongest edges, also by token; each prediction against the exact effects.

use resolvent_field::{EdgePredictor, Labelled};

use super::read::{drawn_edges, number, observable};
use crate::circuits::{Edges, Node};
use crate::edges_by_token::EdgesByToken;
use crate::figure::{GraphEdge, GraphNode};
use crate::{Axis, Figure, Graph, Point, Scatter};

pub(super) fn figures(result: &Labelled, labels: &[String]) -> Vec<Figure> {
    let Some(edges) = Edges::of(result) else { return Vec::new() };
    let ends = match (number(result, "corrupted_value"), number(result, "clean_value")) {
        (Some(from), Some(to)) => format!("{}: corrupted {from:.4}, clean {to:.4}", observable(result)),
        _ => observable(result),
    };
    let drawn = drawn_edges(result);
    let by_token = EdgesByToken::of(result, labels);
    let by_token = by_token.map(|edges| Graph { subtitle: ends.clone(), ..edges.graph(drawn) });
    let graph = Graph { subtitle: ends, ..strongest(&edges, drawn) };
    let scatters = EdgePredictor::ALL.into_iter().filter_map(|predictor| scatter(result, &edges, predictor.name()));
    [graph].into_iter().chain(by_token).map(Figure::from).chain(scatters).collect()
}

/// Returns the graph of the `count` strongest edges.
fn strongest(edges: &Edges<'_>, count: usize) -> Graph {
    let top = edges.strongest(count);
    let by = if edges.weights.name == "exact" { "exact effect" } else { "first-order effect" };
    Graph { title: format!("Strongest {} edges by {by}", top.len()), ..graph(edges, &top) }
}

/// Returns the graph of some edges and their nodes. Heads of a block share a column, and so does each MLP.
pub(super) fn graph(edges: &Edges<'_>, top: &[usize]) -> Graph {
    let nodes = edges.nodes(top);
    let mut columns: Vec<String> = nodes.iter().map(|node| node.column()).collect();
    columns.dedup();
    let at = |node: Node<'_>| nodes.iter().position(|one| *one == node).unwrap_or_default();
    let column = |node: &Node<'_>| columns.iter().position(|one| *one == node.column()).unwrap_or_default();
    let of_edge = |&edge: &usize| {
        let (writer, reader) = edges.names(edge);
        let (to, port) = edges.reader(edge);
        GraphEdge {
            from: at(edges.writer(edge)),
            to: at(to),
            port: port.to_owned(),
            weight: edges.weights.data[edge].into(),
            label: format!("{writer}->{reader}"),
        }
    };
    Graph {
        nodes: nodes.iter().map(|node| GraphNode { name: node.title(), column: column(node), row: 0 }).collect(),
        edges: top.iter().map(of_edge).collect(),
        columns,
        ..Graph::default()
    }
}

/// Returns the exact effects of all edges over a prediction; `None` without either.
fn scatter(result: &Labelled, edges: &Edges<'_>, name: &str) -> Option<Figure> {
    let (predicted, exact) = (result.array(name)?, result.array("exact")?);
    let shown = name.replace('_', " ");
    let mut scatter =
        Scatter::new(format!("Edges: {shown} and exact effects"), Axis::linear(shown), Axis::linear("exact effect"));
    let both = predicted.data.iter().zip(&exact.data).enumerate().filter(|(_, (p, e))| **p != 0.0 || **e != 0.0);
    scatter.points = both
        .map(|(i, (&p, &e))| {
            let (writer, reader) = edges.names(i);
            Point { x: p.into(), y: e.into(), group: 0, label: format!("{writer}->{reader}") }
        })
        .collect();
    let mut scatter = scatter.prediction();
    if let Some(correlations) = result.correlations(&format!("agreement.{name}")) {
        scatter.subtitle = correlations;
    }
    Some(scatter.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> Labelled {
        Labelled::default()
            .note("analysis", "edges")
            .note("writers", "input,a0.h0,m0,a1.h0,m1")
            .note("readers", "a0.h0<q>,a0.h0<v>,m0,a1.h0<q>,a1.h0<v>,m1,logits")
            .with("edges", &[("edge", 4), ("end", 2)], vec![0.0, 1.0, 1.0, 4.0, 1.0, 3.0, 3.0, 6.0])
            .with("first_order", &[("edge", 4)], vec![0.5, -2.0, 0.25, 1.0])
    }

    #[test]
    fn the_graph_has_the_nodes_in_their_order() {
        let result = result();
        let [Figure::Graph(graph)] = &figures(&result, &[])[..] else { panic!("a graph alone") };
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["input", "a0.h0", "a1.h0", "logits"]);
        assert_eq!(graph.columns, ["input", "a0", "a1", "logits"]);
        let first = &graph.edges[0];
        assert_eq!((first.from, first.to, first.port.as_str(), first.weight), (1, 2, "v", -2.0));
    }

    /// As many edges are drawn as the caller asks for, up to a number that can be read.
    #[test]
    fn the_caller_says_how_many_edges_are_drawn() {
        let count = 300;
        let ends = (0..count).flat_map(|n| [(n % 5) as f32, 6.0]).collect();
        let many = Labelled::default()
            .note("analysis", "edges")
            .note("writers", "input,a0.h0,m0,a1.h0,m1")
            .note("readers", "a0.h0<q>,a0.h0<v>,m0,a1.h0<q>,a1.h0<v>,m1,logits")
            .with("edges", &[("edge", count), ("end", 2)], ends)
            .with("first_order", &[("edge", count)], (1..=count).map(|n| n as f32).collect());
        for (asked, want) in [("", 40), ("20", 20), ("100", 100), ("1000", 200), ("0", 1)] {
            let asked = if asked.is_empty() { many.clone() } else { many.clone().note("drawn_edges", asked) };
            let [Figure::Graph(graph)] = &figures(&asked, &[])[..] else { panic!("a graph alone") };
            assert_eq!(graph.edges.len(), want);
            assert!(graph.title.starts_with(&format!("Strongest {want} edges")), "{}", graph.title);
        }
    }

    #[test]
    fn with_exact_effects_each_prediction_has_a_plot() {
        let exact = result().with("exact", &[("edge", 4)], vec![0.4, -1.0, 0.0, 1.0]);
        let found = figures(&exact, &[]);
        let [Figure::Graph(graph), Figure::Scatter(scatter)] = &found[..] else { panic!("{found:?}") };
        assert!(graph.title.contains("exact") && graph.edges.len() == 3);
        assert_eq!(scatter.points.len(), 4);
    }

    #[test]
    fn scores_by_token_have_a_graph_of_their_own() {
        let by_token = vec![0.5, 0.0, 0.0, -2.0, 0.25, 0.0, 0.0, 1.0];
        let result = result().with("first_order_by_token", &[("edge", 4), ("token", 2)], by_token);
        let labels = ["The", " cat"].map(str::to_owned);
        let found = figures(&result, &labels);
        let [Figure::Graph(summed), Figure::Graph(graph)] = &found[..] else { panic!("{found:?}") };
        assert!(summed.rows.is_empty() && graph.rows == ["0 The", "1 ·cat"] && graph.edges.len() == 4);
        assert!(graph.title.contains("at a token by first-order effect") && graph.subtitle == summed.subtitle);
    }
}
