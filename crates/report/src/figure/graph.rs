//! Graphs: nodes in columns, and weighted edges between them.

use super::parts::{self, Sign};
use crate::axis::number::value;
use crate::colour::Paint;
use crate::scene::{Anchor, Mark, Scene, Step, clean, font};

/// Nodes in columns from left to right, and edges that go to the right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The title.
    pub title: String,
    /// A line below the title.
    pub subtitle: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Names of the rows, from top to bottom. Without any, the nodes of a column lie around its middle.
    pub rows: Vec<String>,
    /// The nodes.
    pub nodes: Vec<GraphNode>,
    /// The edges.
    pub edges: Vec<GraphEdge>,
    /// Pairs of nodes of one column that a dashed line joins.
    pub links: Vec<(usize, usize)>,
    /// Sentences below the graph.
    pub notes: Vec<String>,
}

/// A node of a [`Graph`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphNode {
    /// Its name, which is drawn.
    pub name: String,
    /// Index of its column. Nodes of a column are drawn in the given order.
    pub column: usize,
    /// Index of its row, if the graph has rows.
    pub row: usize,
}

/// An edge of a [`Graph`]. Its width shows the size of its weight, and its colour the sign.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GraphEdge {
    /// Index of the node at which it starts.
    pub from: usize,
    /// Index of the node at which it ends.
    pub to: usize,
    /// Name of the entry of the node at which it ends, such as `q`; empty if the node has one entry only.
    pub port: String,
    /// Weight. Edges without a finite weight are not drawn.
    pub weight: f64,
    /// Text that is shown while the pointer is over the edge.
    pub label: String,
}

const HEIGHT: f64 = 24.0;
const GAP: f64 = 12.0;
/// Space between rows.
const ROWS: f64 = 20.0;
/// Most and least width of an edge.
const WIDTHS: [f64; 2] = [7.0, 1.0];

/// Where a node is drawn.
struct Placed {
    x: f64,
    y: f64,
    width: f64,
    /// Names of its entries, from top to bottom.
    ports: Vec<String>,
}

impl Graph {
    /// Returns the position of each node, the top and height of each row, and the size of the drawing below `top`.
    fn placed(&self, top: f64) -> (Vec<Placed>, Vec<(f64, f64)>, [f64; 2]) {
        let ports = |n: usize| {
            let mut ports: Vec<String> =
                self.edges.iter().filter(|e| e.to == n && !e.port.is_empty()).map(|e| e.port.clone()).collect();
            ports.sort_by_key(|port| ["q", "k", "v"].iter().position(|known| known == port).unwrap_or(3));
            ports.dedup();
            ports
        };
        let widest = |c: usize| {
            let of = self.nodes.iter().filter(|node| node.column == c);
            let texts = of.map(|node| font::width(&node.name, 11.0, false)).chain([16.0]);
            texts.fold(font::width(self.columns.get(c).map_or("", String::as_str), 11.0, false), f64::max).ceil() + 26.0
        };
        let columns = self.nodes.iter().map(|node| node.column + 1).max().unwrap_or(0).max(self.columns.len());
        // Space for the edges between columns.
        let gap = if columns > 16 { 26.0 } else { 44.0 };
        let (mut lefts, mut x) = (Vec::new(), self.margin());
        for c in 0..columns {
            lefts.push((x, widest(c)));
            x += widest(c) + gap;
        }
        let height = |n: usize| HEIGHT.max(14.0 * ports(n).len() as f64 + 4.0);
        let total = |row: usize, c: usize| -> f64 {
            let of = (0..self.nodes.len()).filter(|&n| self.nodes[n].column == c && self.row(n) == row);
            of.map(|n| height(n) + GAP).sum::<f64>() - GAP
        };
        // The top and the height of each row. Edges bow into the space above it.
        let (mut bands, mut y) = (Vec::new(), top);
        for row in 0..self.rows.len().max(1) {
            let tallest = (0..columns).map(|c| total(row, c)).fold(HEIGHT, f64::max);
            bands.push((y + self.room(row), tallest));
            y += self.room(row) + tallest + ROWS;
        }
        let mut next: Vec<Vec<f64>> = Vec::new();
        for (row, (top, tallest)) in bands.iter().enumerate() {
            next.push((0..columns).map(|c| top + (tallest - total(row, c)) / 2.0).collect());
        }
        let mut place = |(n, node): (usize, &GraphNode)| {
            let (x, width) = lefts.get(node.column).copied().unwrap_or_default();
            let next = &mut next[self.row(n)][node.column];
            let (y, height) = (*next, height(n));
            *next += height + GAP;
            Placed { x, y: y + height / 2.0, width, ports: ports(n) }
        };
        let placed = self.nodes.iter().enumerate().map(&mut place).collect();
        (placed, bands, [(x - gap).max(240.0), y - ROWS - top])
    }

    /// Returns the row of a node: the only one in a graph without rows.
    fn row(&self, node: usize) -> usize {
        self.nodes.get(node).map_or(0, |node| node.row).min(self.rows.len().saturating_sub(1))
    }

    /// Returns the width of the names of rows, with the space beside them.
    fn margin(&self) -> f64 {
        self.rows.iter().map(|name| font::width(&clean(name), 11.0, false) + 14.0).fold(0.0, f64::max).ceil()
    }

    /// Returns the space above a row that its edges need. A curve reaches three quarters of its bow.
    fn room(&self, row: usize) -> f64 {
        let of_row = self.edges.iter().filter(|edge| self.row(edge.from) == row);
        0.75 * of_row.map(|edge| bow(self.skipped(edge))).fold(0.0, f64::max)
    }

    /// Returns how many columns an edge skips.
    fn skipped(&self, edge: &GraphEdge) -> usize {
        let column = |n: usize| self.nodes.get(n).map_or(0, |node| node.column);
        column(edge.to).saturating_sub(column(edge.from) + 1)
    }

    /// Draws the graph.
    pub(crate) fn scene(&self) -> Scene {
        let [width, _] = self.placed(0.0).2;
        let mut scene = Scene::new(width, 0.0);
        let drawn: Vec<&GraphEdge> =
            self.edges.iter().filter(|e| e.weight.is_finite() && e.from.max(e.to) < self.nodes.len()).collect();
        let (nodes, edges) = (self.nodes.len(), drawn.len());
        scene.description = format!("Graph: {}. {nodes} nodes, {edges} edges. {}", self.title, self.subtitle);
        let top = parts::heading(&mut scene, &self.title, &self.subtitle);
        let top = parts::legend(&mut scene, top, &["raises J", "lowers J"], &[Sign::Bar]);
        let (placed, bands, [_, height]) = self.placed(top + 22.0);
        for (name, (top, tall)) in self.rows.iter().zip(&bands) {
            let mark = Mark::text("row", self.margin() - 10.0, top + tall / 2.0 + 4.0, clean(name)).size(11.0);
            scene.add(mark.anchor(Anchor::End).fill(Paint::Muted));
        }
        for (c, name) in self.columns.iter().enumerate() {
            if let Some(node) = self.nodes.iter().position(|node| node.column == c) {
                let at = &placed[node];
                let mark = Mark::text("column", at.x + at.width / 2.0, top + 12.0, clean(name)).size(11.0);
                scene.add(mark.anchor(Anchor::Middle).fill(Paint::Muted));
            }
        }
        for (from, to) in self.links.iter().filter_map(|&(a, b)| Some((placed.get(a)?, placed.get(b)?))) {
            let x = from.x + from.width / 2.0;
            let mark = Mark::path("link", vec![Step::Move(x, from.y), Step::Line(x, to.y)]);
            scene.add(mark.stroke(Paint::Muted, 1.0).dash(Some([3.0, 3.0])));
        }
        let most = drawn.iter().map(|e| e.weight.abs()).fold(f64::MIN_POSITIVE, f64::max);
        // The strongest edges lie on top.
        let mut order = drawn;
        order.sort_by(|a, b| a.weight.abs().total_cmp(&b.weight.abs()));
        for edge in order {
            let wide = WIDTHS[1] + (WIDTHS[0] - WIDTHS[1]) * edge.weight.abs() / most;
            let paint = Paint::Series(usize::from(edge.weight < 0.0));
            let (from, to) = (&placed[edge.from], &placed[edge.to]);
            let end = (to.x, to.port(&edge.port));
            let start = (from.x + from.width, from.y);
            let mark = Mark::path("edge", curve(start, end, bow(self.skipped(edge)))).stroke(paint, wide).opacity(0.6);
            scene.add(mark.hover(format!("{}: {}", clean(&edge.label), value(edge.weight))));
        }
        for (node, at) in self.nodes.iter().zip(&placed) {
            let height = HEIGHT.max(14.0 * at.ports.len() as f64 + 4.0);
            let mark = Mark::rect("node", [at.x, at.y - height / 2.0, at.width, height]).fill(Paint::Surface);
            scene.add(mark.stroke(Paint::Axis, 1.0));
            let middle = at.x + at.width / 2.0 + if at.ports.is_empty() { 0.0 } else { 5.0 };
            let mark = Mark::text("name", middle, at.y + 4.0, clean(&node.name)).size(11.0);
            scene.add(mark.anchor(Anchor::Middle));
            for port in &at.ports {
                let mark = Mark::text("port", at.x + 4.0, at.port(port) + 3.5, clean(port)).size(10.0);
                scene.add(mark.fill(Paint::Muted));
            }
        }
        scene.height = parts::notes(&mut scene, top + 22.0 + height + 10.0, &self.notes) + 2.0;
        scene
    }
}

impl Placed {
    /// Returns the height at which edges into an entry end.
    fn port(&self, name: &str) -> f64 {
        let count = self.ports.len();
        let at = self.ports.iter().position(|port| port == name);
        at.map_or(self.y, |i| self.y + 14.0 * (i as f64 - (count as f64 - 1.0) / 2.0))
    }
}

/// Returns how far an edge bows upwards that skips so many columns, so that it does not cross the nodes there.
fn bow(skipped: usize) -> f64 {
    if skipped == 0 { 0.0 } else { 22.0 + 9.0 * skipped as f64 }
}

/// Returns a smooth path from the right side of a node to the left side of another.
fn curve(from: (f64, f64), to: (f64, f64), bow: f64) -> Vec<Step> {
    const STEPS: usize = 24;
    let reach = (0.5 * (to.0 - from.0)).clamp(12.0, 90.0);
    let corners = [from, (from.0 + reach, from.1 - bow), (to.0 - reach, to.1 - bow), to];
    let at = |i: usize| {
        let t = i as f64 / STEPS as f64;
        let weights = [(1.0 - t).powi(3), 3.0 * t * (1.0 - t).powi(2), 3.0 * t * t * (1.0 - t), t.powi(3)];
        let sum = |of: fn((f64, f64)) -> f64| corners.iter().zip(weights).map(|(&c, w)| w * of(c)).sum::<f64>();
        (sum(|c| c.0), sum(|c| c.1))
    };
    let points = (0..=STEPS).map(at);
    points.enumerate().map(|(i, (x, y))| if i == 0 { Step::Move(x, y) } else { Step::Line(x, y) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        let node = |name: &str, column| GraphNode { name: name.to_owned(), column, row: 0 };
        let edge = |from, to, port: &str, weight| GraphEdge {
            from,
            to,
            port: port.to_owned(),
            weight,
            label: format!("edge {from} {to}"),
        };
        Graph {
            title: "edges".to_owned(),
            columns: vec!["input".to_owned(), "a0".to_owned(), "logits".to_owned()],
            nodes: vec![node("input", 0), node("a0.h0", 1), node("a0.h1", 1), node("logits", 2)],
            edges: vec![
                edge(0, 1, "v", 2.0),
                edge(0, 1, "q", -1.0),
                edge(1, 3, "", 0.5),
                edge(0, 2, "k", f64::NAN),
                edge(0, 9, "", 1.0),
            ],
            ..Graph::default()
        }
    }

    #[test]
    fn edges_have_widths_by_size_and_colours_by_sign() {
        let scene = graph().scene();
        let edges: Vec<&Mark> = scene.marks.iter().filter(|mark| mark.class == "edge").collect();
        assert_eq!(edges.len(), 3, "edges without a weight or a node are not drawn");
        let widths: Vec<f64> = edges.iter().filter_map(|mark| mark.stroke.map(|s| s.width)).collect();
        assert_eq!(widths, [2.5, 4.0, 7.0]);
        let paints: Vec<Paint> = edges.iter().filter_map(|mark| mark.stroke.map(|s| s.paint)).collect();
        assert_eq!(paints, [Paint::Series(0), Paint::Series(1), Paint::Series(0)]);
        assert!(edges[2].hover.as_ref().is_some_and(|text| text.starts_with("edge 0 1: 2")));
        assert!(scene.description.contains("4 nodes, 3 edges"));
    }

    #[test]
    fn nodes_of_a_column_do_not_overlap_and_entries_are_in_order() {
        let (placed, _, [width, height]) = graph().placed(0.0);
        assert!(placed[2].y - placed[1].y >= HEIGHT + GAP && placed[1].x == placed[2].x);
        assert!(placed[3].x + placed[3].width <= width && height >= 2.0 * HEIGHT + GAP);
        assert!(placed[1].port("q") < placed[1].port("v"));
        assert_eq!(placed[1].ports, ["q", "v"]);
    }

    /// Nodes lie in the bands of their rows, below their names and the bows of their edges; links lie below the nodes.
    #[test]
    fn rows_are_bands_of_nodes() {
        let mut graph = graph();
        graph.rows = vec!["0 The".to_owned(), "1 cat".to_owned()];
        graph.nodes[2].row = 1;
        graph.nodes[3].row = 1;
        graph.edges = vec![GraphEdge { from: 0, to: 1, weight: 1.0, ..GraphEdge::default() }];
        graph.links = vec![(1, 2), (1, 9)];
        let (placed, bands, [_, height]) = graph.placed(10.0);
        let [(first, tall), (second, _)] = bands[..] else { panic!("two rows: {bands:?}") };
        assert!(second >= first + tall + ROWS && first == 10.0 && height >= second - first);
        let row = |n: usize| usize::from(placed[n].y > second);
        assert_eq!([0, 1, 2, 3].map(row), [0, 0, 1, 1]);
        assert!(placed[0].x >= graph.margin() && graph.margin() > 14.0);
        graph.edges.push(GraphEdge { from: 2, to: 3, weight: 1.0, ..GraphEdge::default() });
        assert_eq!(graph.placed(10.0).1, bands, "no column is skipped");
        graph.nodes[0].row = 1;
        graph.edges.push(GraphEdge { from: 0, to: 3, weight: 1.0, ..GraphEdge::default() });
        assert!(graph.placed(10.0).1[1].0 > second, "an edge bows over the nodes of its row");
        let scene = graph.scene();
        let classes: Vec<&str> = scene.marks.iter().map(|mark| mark.class).collect();
        let count = |class: &str| classes.iter().filter(|one| **one == class).count();
        assert_eq!((count("row"), count("link"), count("edge")), (2, 1, 3));
        let at = |class: &str| classes.iter().position(|one| *one == class);
        assert!(at("link") < at("node"));
    }
}
