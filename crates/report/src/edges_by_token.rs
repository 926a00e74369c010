//! Edges at each token: a table of the strongest, and their graph by layer and position.

use std::collections::BTreeMap;

use resolvent_field::{Array, Labelled};

use crate::circuits::{COLUMNS, Edges, Node, head, strongest};
use crate::tokens::{row_of, token_of};
use crate::{Cell, Graph, GraphEdge, GraphNode, Table};

/// Ending of the arrays of each edge and token.
const ENDING: &str = "_by_token";

/// The edges of a result of `edges --by-token`, with their values at each token.
pub(crate) struct EdgesByToken<'a> {
    result: &'a Labelled,
    edges: Edges<'a>,
    /// Exact effects if there are any, or else first order. `[E, T]`
    values: &'a Array,
    tokens: usize,
    labels: &'a [String],
}

/// A node at a token, with the name that is drawn.
type Place<'a> = (Node<'a>, usize);

impl<'a> EdgesByToken<'a> {
    /// Reads the edges of a result; `None` if it has none by token. `labels` are the texts of the tokens, or, in means
    /// over prompts, the positions from the end.
    pub(crate) fn of(result: &'a Labelled, labels: &'a [String]) -> Option<Self> {
        let values = ["exact", "first_order"].into_iter().find_map(|name| result.array(&format!("{name}{ENDING}")))?;
        let [("edge", _), ("token", tokens)] = values.axes[..] else { return None };
        Some(Self { result, edges: Edges::of(result)?, values, tokens: tokens.max(1), labels })
    }

    /// Returns whether the values are exact effects.
    pub(crate) fn is_exact(&self) -> bool {
        self.values.name.starts_with("exact")
    }

    /// Returns the `count` strongest edges with their tokens, in descending order.
    fn strongest(&self, count: usize) -> Vec<(usize, usize)> {
        strongest(&self.values.data, count).into_iter().map(|i| (i / self.tokens, i % self.tokens)).collect()
    }

    /// Returns the graph of the `count` strongest edges: columns are layers, and rows are tokens. Dashed lines join
    /// what a head reads as keys and values to what it writes at later tokens.
    pub(crate) fn graph(&self, count: usize) -> Graph {
        let top = self.strongest(count);
        let mut places: Vec<Place<'a>> = Vec::new();
        for &(edge, at) in &top {
            places.extend([(self.edges.writer(edge), at), (self.edges.reader(edge).0, at)]);
        }
        places.sort();
        places.dedup();
        let mut columns: Vec<String> = places.iter().map(|(node, _)| node.column()).collect();
        columns.dedup();
        let mut rows: Vec<usize> = places.iter().map(|(_, at)| *at).collect();
        rows.sort_unstable();
        rows.dedup();
        let index = |place: Place<'_>| places.binary_search(&place).unwrap_or_default();
        let node = |&(node, at): &Place<'_>| GraphNode {
            name: node.title(),
            column: columns.iter().position(|one| *one == node.column()).unwrap_or_default(),
            row: rows.binary_search(&at).unwrap_or_default(),
        };
        let of_edge = |&(edge, at): &(usize, usize)| {
            let ((writer, reader), (to, port)) = (self.edges.names(edge), self.edges.reader(edge));
            GraphEdge {
                from: index((self.edges.writer(edge), at)),
                to: index((to, at)),
                port: port.to_owned(),
                weight: self.values.data[edge * self.tokens + at].into(),
                label: format!("{writer}->{reader} at {}", token_of(self.result, self.labels, at)),
            }
        };
        let by = if self.is_exact() { "exact effect" } else { "first-order effect" };
        Graph {
            title: format!("Strongest {} edges at a token by {by}", top.len()),
            nodes: places.iter().map(node).collect(),
            edges: top.iter().map(of_edge).collect(),
            links: self.links(&top).into_iter().map(|[from, to]| (index(from), index(to))).collect(),
            rows: rows.iter().map(|&at| row_of(self.result, self.labels, at)).collect(),
            columns,
            notes: vec![
                "Dashed: what a head reads as keys and values at one token, it writes at later ones.".to_owned(),
            ],
            ..Graph::default()
        }
    }

    /// Returns the pairs of nodes that attention joins: one that reads keys or values, and the same head where it
    /// writes.
    fn links(&self, top: &[(usize, usize)]) -> Vec<[Place<'a>; 2]> {
        let shared = self.edges.shared();
        let mut writes: BTreeMap<(usize, usize), Vec<Place<'a>>> = BTreeMap::new();
        for &(edge, at) in top {
            let writer = self.edges.writer(edge);
            if let Some((block, head)) = head(writer.name) {
                writes.entry((block, head / shared)).or_default().push((writer, at));
            }
        }
        let mut links = Vec::new();
        for &(edge, at) in top {
            let (reader, port) = self.edges.reader(edge);
            let Some(of_head) = head(reader.name).filter(|_| port == "k" || port == "v") else { continue };
            let later = writes.get(&of_head).into_iter().flatten().filter(|(_, to)| *to > at);
            links.extend(later.map(|&to| [(reader, at), to]));
        }
        links.sort();
        links.dedup();
        links
    }
}

/// Returns a table of the `count` edges that have the largest effects at a token, with all predictions there; `None` if
/// the result has none by token. `labels` are the texts of the tokens.
pub fn strongest_edges_by_token(title: &str, result: &Labelled, labels: &[String], count: usize) -> Option<Table> {
    let found = EdgesByToken::of(result, labels)?;
    let by_token =
        |name: &str| result.array(&format!("{name}{ENDING}")).filter(|array| array.axes == found.values.axes);
    let columns: Vec<(&Array, &str)> =
        COLUMNS.iter().filter_map(|(name, title)| Some((by_token(name)?, *title))).collect();
    let names: Vec<&str> = ["edge", "token"].into_iter().chain(columns.iter().map(|(_, title)| *title)).collect();
    let row = |table: Table, (edge, at): (usize, usize)| {
        let (writer, reader) = found.edges.names(edge);
        let numbers = columns.iter().map(|(array, _)| Cell::from(array.data[edge * found.tokens + at]));
        let first = [Cell::from(format!("{writer}->{reader}")), Cell::from(token_of(result, labels, at))];
        table.row(first.into_iter().chain(numbers))
    };
    Some(found.strongest(count).into_iter().fold(Table::new(title, &names), row))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Head a0.h1 reads values at token 0 and writes at token 2.
    fn result() -> Labelled {
        let ends = vec![0.0, 3.0, 2.0, 4.0, 2.0, 5.0, 1.0, 5.0];
        let by_token = vec![0.5, 0.0, 0.0, 0.0, 0.0, -2.0, 0.0, 0.25, 1.0, 0.125, 0.0, 0.0];
        Labelled::default()
            .note("analysis", "edges")
            .note("writers", "input,a0.h0,a0.h1,m0")
            .note("readers", "a0.h0<q>,a0.h1<q>,a0.h0<v>,a0.h1<v>,m0,logits")
            .with("edges", &[("edge", 4), ("end", 2)], ends)
            .with("first_order", &[("edge", 4)], vec![0.5, -2.0, 1.25, 0.125])
            .with("first_order_by_token", &[("edge", 4), ("token", 3)], by_token.clone())
            .with("random_by_token", &[("edge", 4), ("token", 3)], by_token)
    }

    fn labels() -> Vec<String> {
        ["The", " cat", " sat"].map(str::to_owned).to_vec()
    }

    #[test]
    fn rows_are_tokens_and_columns_are_layers() {
        let (result, labels) = (result(), labels());
        let graph = EdgesByToken::of(&result, &labels).expect("by token").graph(4);
        let names: Vec<(&str, usize, usize)> =
            graph.nodes.iter().map(|node| (node.name.as_str(), node.column, node.row)).collect();
        let want = [
            ("input", 0, 0),
            ("a0.h1", 1, 0),
            ("a0.h1", 1, 1),
            ("a0.h1", 1, 2),
            ("m0", 2, 2),
            ("logits", 3, 1),
            ("logits", 3, 2),
        ];
        assert_eq!(names, want);
        assert_eq!(graph.columns, ["input", "a0", "m0", "logits"]);
        assert_eq!(graph.rows, ["0 The", "1 ·cat", "2 ·sat"]);
        let first = &graph.edges[0];
        assert_eq!((first.from, first.to, first.weight), (3, 4, -2.0));
        assert_eq!(first.label, "a0.h1->m0 at 2 \" sat\"");
        // From where the head reads values to where it writes; not to the token itself, nor back.
        assert_eq!(graph.links, [(1, 2), (1, 3)]);
        assert!(EdgesByToken::of(&Labelled::default(), &labels).is_none());
    }

    /// Two heads share the keys and values of the first key and value head.
    #[test]
    fn heads_that_share_values_are_joined_to_them() {
        let result = Labelled::default()
            .note("writers", "input,a0.h0,a0.h1,m0")
            .note("readers", "a0.h0<q>,a0.h1<q>,a0.h0<k>,a0.h0<v>,m0,logits")
            .with("edges", &[("edge", 2), ("end", 2)], vec![0.0, 3.0, 2.0, 5.0])
            .with("first_order", &[("edge", 2)], vec![1.0, 2.0])
            .with("first_order_by_token", &[("edge", 2), ("token", 2)], vec![1.0, 0.0, 0.0, 2.0]);
        let labels = labels();
        let graph = EdgesByToken::of(&result, &labels).expect("by token").graph(9);
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(
            (&names[..], &graph.links[..]),
            (&["input", "a0.kv0 (h0 to h1)", "a0.h1", "logits"][..], &[(1, 2)][..])
        );
    }

    #[test]
    fn the_table_names_edge_and_token() {
        let text = strongest_edges_by_token("top", &result(), &labels(), 2).expect("edges").text();
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["edge", "token", "first", "order", "random"]);
        assert_eq!(rows[1], ["a0.h1->m0", "2", "\"", "sat\"", "−2", "−2"], "{text}");
        assert_eq!(rows.len(), 3);
        let many = result().note("prompts", "7");
        let from_end = ["-3", "-2", "-1"].map(str::to_owned);
        let text = strongest_edges_by_token("top", &many, &from_end, 1).expect("edges").text();
        assert!(text.lines().nth(2).is_some_and(|line| line.contains(" -1 ")), "{text}");
        assert!(strongest_edges_by_token("top", &crate::circuits::tests::edges(), &labels(), 1).is_none());
    }
}
