//! Edges and nodes of circuits: their names, and tables of the strongest.

use std::cmp::Ordering;

use resolvent_field::{Array, Labelled};

use crate::axis::number::minus;
use crate::{Cell, Table};

/// Predictions of edges, the exact effects and the controls, in the order of columns.
pub(crate) const COLUMNS: [(&str, &str); 9] = [
    ("first_order", "first order"),
    ("integrated", "integrated"),
    ("integrated_activations", "by activations"),
    ("relp", "relp"),
    ("exact", "exact"),
    ("score", "mean score"),
    ("random", "random"),
    ("random_exact", "random, exact"),
    ("other_prompts", "other prompts"),
];

/// The edges of a result of `edges`, with the names of their ends.
pub(crate) struct Edges<'a> {
    writers: Vec<&'a str>,
    readers: Vec<&'a str>,
    ends: &'a Array,
    /// The values of each edge: exact effects if there are any, or else first order, or else scores.
    pub(crate) weights: &'a Array,
}

impl<'a> Edges<'a> {
    /// Reads the edges of a result; `None` if it has none.
    pub(crate) fn of(result: &'a Labelled) -> Option<Self> {
        let weights = ["exact", "first_order", "score"].into_iter().find_map(|name| result.array(name))?;
        let (writers, readers) = (result.list("writers")?, result.list("readers")?);
        Some(Self { writers, readers, ends: result.array("edges")?, weights })
    }

    /// Returns the names of the writer and the reader of an edge.
    pub(crate) fn names(&self, edge: usize) -> (&'a str, &'a str) {
        let at = |end: usize| self.ends.data.get(2 * edge + end).map_or(usize::MAX, |&x| x as usize);
        (self.writers.get(at(0)).copied().unwrap_or("?"), self.readers.get(at(1)).copied().unwrap_or("?"))
    }

    /// Returns the node that writes.
    pub(crate) fn writer(&self, edge: usize) -> Node<'a> {
        Node { name: self.names(edge).0, heads: 1 }
    }

    /// Returns the node that reads, and which of its inputs: `q`, `k` or `v` of a head, else nothing.
    pub(crate) fn reader(&self, edge: usize) -> (Node<'a>, &'a str) {
        let name = self.names(edge).1;
        let (name, port) = name.split_once('<').unwrap_or((name, ""));
        let port = port.trim_end_matches('>');
        let heads = if port == "k" || port == "v" { self.shared() } else { 1 };
        (Node { name, heads }, port)
    }

    /// Returns how many heads share the keys and values of one key and value head.
    pub(crate) fn shared(&self) -> usize {
        let count = |port: &str| {
            let ends = |name: &&&str| head(name.split('<').next().unwrap_or(name)).is_some_and(|(block, _)| block == 0);
            self.readers.iter().filter(ends).filter(|name| name.ends_with(port)).count().max(1)
        };
        (count("<q>") / count("<v>")).max(1)
    }

    /// Returns the nodes at the ends of some edges, in their order.
    pub(crate) fn nodes(&self, edges: &[usize]) -> Vec<Node<'a>> {
        let mut nodes: Vec<Node<'a>> =
            edges.iter().flat_map(|&edge| [self.writer(edge), self.reader(edge).0]).collect();
        nodes.sort();
        nodes.dedup();
        nodes
    }

    /// Returns the `count` edges with the largest weights, in descending order. Weights of zero are left out.
    pub(crate) fn strongest(&self, count: usize) -> Vec<usize> {
        strongest(&self.weights.data, count)
    }
}

/// A node of a graph, ordered from the embedding to the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node<'a> {
    /// Its name as a writer or without the port of a reader, such as `a3.h5`.
    pub(crate) name: &'a str,
    /// How many heads share it: more than one for a head of keys and values in a grouped-query model.
    pub(crate) heads: usize,
}

impl Node<'_> {
    /// Returns its name in a graph: `a3.kv1` for keys and values that several heads share, which are no head's own.
    pub(crate) fn id(self) -> String {
        match (self.heads, head(self.name)) {
            (2.., Some((block, head))) => format!("a{block}.kv{head}"),
            _ => self.name.to_owned(),
        }
    }

    /// Returns the name that is drawn: with the heads that share it.
    pub(crate) fn title(self) -> String {
        match (self.heads, self.head()) {
            (2.., Some(head)) => {
                let [first, last] = [head * self.heads, (head + 1) * self.heads - 1];
                format!("{} (h{first} to h{last})", self.id())
            }
            _ => self.id(),
        }
    }

    /// Returns what it is.
    pub(crate) fn kind(self) -> &'static str {
        match (self.name, self.head(), self.block()) {
            ("input", ..) => "embedding",
            (_, Some(_), _) if self.heads > 1 => "key_value_head",
            (_, Some(_), _) => "head",
            (_, None, Some(_)) => "mlp",
            _ => "logits",
        }
    }

    /// Returns its block, if it is in one.
    pub(crate) fn block(self) -> Option<usize> {
        let mlp = || self.name.strip_prefix('m')?.parse().ok();
        head(self.name).map(|(block, _)| block).or_else(mlp)
    }

    /// Returns its number among the heads of the block, if it is one.
    pub(crate) fn head(self) -> Option<usize> {
        head(self.name).map(|(_, head)| head)
    }

    /// Returns the name of the column in which it is drawn: heads of a block share one.
    pub(crate) fn column(self) -> String {
        self.name.split('.').next().unwrap_or(self.name).to_owned()
    }

    /// The embedding, then the heads and the MLP of each block, then the logits.
    fn depth(self) -> (usize, usize, usize) {
        match (self.kind(), self.block(), self.head()) {
            ("embedding", ..) => (0, 0, 0),
            // Shared keys and values come before the heads that read them.
            (_, Some(block), Some(head)) => {
                (block.saturating_add(1), 0, 2 * head.saturating_mul(self.heads) + usize::from(self.heads == 1))
            }
            (_, Some(block), None) => (block.saturating_add(1), 1, 0),
            _ => (usize::MAX, 0, 0),
        }
    }
}

impl PartialOrd for Node<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Node<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.depth().cmp(&other.depth()).then_with(|| self.name.cmp(other.name))
    }
}

/// Splits the name of a head, such as `a3.h5`, into block and head.
pub(crate) fn head(name: &str) -> Option<(usize, usize)> {
    let (block, head) = name.strip_prefix('a')?.split_once(".h")?;
    Some((block.parse().ok()?, head.parse().ok()?))
}

/// Returns the indices of the `count` largest values, in descending order of size. Zeros and NaN are left out.
pub(crate) fn strongest(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).filter(|&i| values[i].abs() > 0.0).collect();
    order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()));
    order.truncate(count);
    order
}

/// Returns a table of the `count` edges with the largest effects, with all predictions; `None` if the result has no
/// edges.
pub fn strongest_edges(title: &str, result: &Labelled, count: usize) -> Option<Table> {
    let edges = Edges::of(result)?;
    // Of a circuit, the array `random` is not by edge: it is the faithfulness of random circuits.
    let by_edge = |name: &str| result.array(name).filter(|array| array.axes == edges.weights.axes);
    let columns: Vec<(&Array, &str)> =
        COLUMNS.iter().filter_map(|(name, title)| Some((by_edge(name)?, *title))).collect();
    let names: Vec<&str> = ["edge"].into_iter().chain(columns.iter().map(|(_, title)| *title)).collect();
    let row = |table: Table, edge: usize| {
        let (writer, reader) = edges.names(edge);
        let numbers = columns.iter().map(|(array, _)| Cell::from(array.data[edge]));
        table.row([Cell::from(format!("{writer}->{reader}"))].into_iter().chain(numbers))
    };
    Some(edges.strongest(count).into_iter().fold(Table::new(title, &names), row))
}

/// Returns a table of the `count` writers with the largest direct contributions, summed over tokens, and of the parts
/// beside them; `None` if the result has none.
pub fn strongest_writers(title: &str, result: &Labelled, count: usize) -> Option<Table> {
    let names = result.list("writers")?;
    let sums = |name: &str| -> Option<Vec<f32>> {
        let array = result.array(name)?;
        let tokens = array.axes.last()?.1.max(1);
        Some(array.data.chunks(tokens).map(|row| row.iter().filter(|x| x.is_finite()).sum()).collect())
    };
    let (direct, total, biases) = (sums("direct")?, sums("first_order")?, sums("direct_biases")?);
    // Random outputs of several tokens do not add up in one direction.
    let roots = |name: &str| -> Option<Vec<f32>> {
        let array = result.array(name)?;
        let tokens = array.axes.last()?.1.max(1);
        let root = |row: &[f32]| row.iter().filter(|x| x.is_finite()).map(|x| x * x).sum::<f32>().sqrt();
        Some(array.data.chunks(tokens).map(root).collect())
    };
    let columns: Vec<(&str, Vec<f32>)> = [
        ("direct", Some(direct.clone())),
        ("random", roots("random_direct")),
        ("other prompts", roots("other_prompts_direct")),
        ("through all paths", Some(total)),
        ("random", roots("random_first_order")),
        ("other prompts", roots("other_prompts_first_order")),
    ]
    .into_iter()
    .filter_map(|(title, column)| Some((title, column?)))
    .collect();
    let titles: Vec<&str> = ["writer"].into_iter().chain(columns.iter().map(|(title, _)| *title)).collect();
    let table = Table::new(title, &titles);
    let row = |table: Table, i: usize| {
        let name = names.get(i).copied().unwrap_or("?");
        let number = |column: &[f32]| column.get(i).copied().unwrap_or(f32::NAN);
        table.row([Cell::from(name)].into_iter().chain(columns.iter().map(|(_, column)| number(column).into())))
    };
    let top = strongest(&direct, count);
    let shown: f32 = top.iter().map(|&i| direct[i]).sum();
    let rest = direct.iter().sum::<f32>() - shown;
    let constant = result.array("constant").map_or(f32::NAN, |a| a.data[0]);
    let edits = sums("direct_edits").map(|edits| ("edits of the stream", edits.iter().sum()));
    let parts = [("other writers", rest), ("biases of attention", biases.iter().sum())].into_iter().chain(edits);
    let parts = parts.chain([("constant of the head", constant)]);
    let part = |table: Table, (name, x): (&str, f32)| table.row([Cell::from(name), x.into()]);
    Some(parts.fold(top.into_iter().fold(table, row), part))
}

/// Returns a table of the `count` neurons with the largest direct contributions; `None` if the result has none.
pub fn strongest_neurons(title: &str, result: &Labelled, count: usize) -> Option<Table> {
    let array = result.array("neurons")?;
    let inner = array.axes.last()?.1.max(1);
    let row = |table: Table, i: usize| {
        table.row([Cell::from(format!("m{}", i / inner)), Cell::from(i % inner), array.data[i].into()])
    };
    Some(strongest(&array.data, count).into_iter().fold(Table::new(title, &["MLP", "neuron", "direct"]), row))
}

/// Returns a table of the first `count` neurons at single tokens that a result lists; `None` if it lists none.
pub fn listed_neurons(title: &str, result: &Labelled, count: usize) -> Option<Table> {
    let (places, effects) = (result.array("neuron_places")?, result.array("neuron_effects")?);
    let row = |table: Table, (place, effect): (&[f32], &f32)| {
        let [block, token, neuron] = [place[0], place[1], place[2]].map(|x| x as usize);
        table.row([Cell::from(format!("m{block}")), Cell::from(neuron), Cell::from(token), Cell::from(*effect)])
    };
    let rows = places.data.chunks_exact(3).zip(&effects.data).take(count);
    Some(rows.fold(Table::new(title, &["MLP", "neuron", "token", "through all paths"]), row))
}

/// Returns a table of the circuits of a result: sizes, faithfulness with its interval, completeness, and random
/// circuits; thresholds of scores, and the deviation over resampled outputs, where there are any; then the areas.
/// `None` if the result has no circuits.
pub fn circuit_sizes(title: &str, result: &Labelled) -> Option<Table> {
    let of = |name: &str| result.array(name).map(|array| &array.data[..]);
    let (sizes, edges) = (of("size")?, result.array("edges")?.axes[0].1);
    let names = ["faithfulness.mean", "faithfulness.low", "faithfulness.high", "completeness.mean", "random.mean"];
    let columns = ["edges", "share", "faithfulness", "low", "high", "without them", "random"];
    // Of sizes, and of resampled outputs.
    let (threshold, deviation) = (of("threshold"), of("deviation.mean"));
    let mut columns: Vec<&str> = columns.to_vec();
    columns.extend(deviation.map(|_| "over resamples"));
    if threshold.is_some() {
        columns.insert(0, "score at least");
    }
    // Shares of an effect, of which a thousandth is enough.
    let rounded = |x: f32| match x.is_nan() {
        true => Cell::from("–"),
        // Without the sign of a zero.
        false => Cell::from(minus(&format!("{:.3}", (f64::from(x) * 1e3).round() / 1e3 + 0.0))),
    };
    let row = |table: Table, (n, &size): (usize, &f32)| {
        let numbers = names.iter().map(|name| rounded(of(name).map_or(f32::NAN, |data| data[n])));
        let share = format!("{:.1} %", 100.0 * size / edges as f32);
        let least = threshold.map(|threshold| Cell::from(threshold[n]));
        let apart = deviation.map(|deviation| rounded(deviation[n]));
        table.row(least.into_iter().chain([Cell::from(size), Cell::from(share)]).chain(numbers).chain(apart))
    };
    let table = sizes.iter().enumerate().fold(Table::new(title, &columns), row);
    let area = |table: Table, (name, title): (&str, &str)| {
        let numbers = ["mean", "low", "high"].map(|end| of(&format!("{name}.{end}")).map_or(f32::NAN, |data| data[0]));
        let before = threshold.map(|_| Cell::from(""));
        table.row(before.into_iter().chain([Cell::from(""), Cell::from(title)]).chain(numbers.map(rounded)))
    };
    Some([("area", "area"), ("distance", "distance")].into_iter().fold(table, area))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn edges() -> Labelled {
        Labelled::default()
            .note("analysis", "edges")
            .note("writers", "input,a0.h0,m0")
            .note("readers", "a0.h0<q>,a0.h0<k>,a0.h0<v>,m0,logits")
            .with("edges", &[("edge", 4), ("end", 2)], vec![0.0, 2.0, 1.0, 3.0, 1.0, 4.0, 2.0, 4.0])
            .with("first_order", &[("edge", 4)], vec![0.5, -2.25, 0.0, 1.0])
            .with("exact", &[("edge", 4)], vec![0.25, -1.5, 0.0, 2.0])
    }

    #[test]
    fn nodes_are_in_the_order_of_the_model() {
        let ordered = ["input", "a0.h0", "a0.h11", "m0", "a1.h2", "m1", "a2.h0", "m9", "logits"]
            .map(|name| Node { name, heads: 1 });
        assert!(ordered.is_sorted());
        assert_eq!(ordered.map(|n| n.kind())[..4], ["embedding", "head", "head", "mlp"]);
        assert_eq!((ordered[2].block(), ordered[2].head(), ordered[7].block()), (Some(0), Some(11), Some(9)));
        assert_eq!((ordered[8].kind(), ordered[8].block(), ordered[8].head()), ("logits", None, None));
    }

    /// In grouped-query models, the head that owns keys and values is no query head of the same number.
    #[test]
    fn shared_keys_and_values_are_nodes_of_their_own() {
        let result = Labelled::default()
            .note("analysis", "edges")
            .note("writers", "input,a0.h0,a0.h1,a0.h2,a0.h3")
            .note("readers", "a0.h0<q>,a0.h1<q>,a0.h2<q>,a0.h3<q>,a0.h0<k>,a0.h1<k>,a0.h0<v>,a0.h1<v>,logits")
            .with("edges", &[("edge", 4), ("end", 2)], vec![0.0, 1.0, 0.0, 7.0, 0.0, 5.0, 2.0, 8.0])
            .with("first_order", &[("edge", 4)], vec![0.5, -2.0, 0.25, 1.0]);
        let edges = Edges::of(&result).expect("edges");
        let nodes: Vec<String> = edges.nodes(&[0, 1, 2, 3]).into_iter().map(Node::id).collect();
        assert_eq!(nodes, ["input", "a0.h1", "a0.kv1", "logits"]);
        let (reader, port) = edges.reader(1);
        assert_eq!((reader.kind(), reader.title().as_str(), port), ("key_value_head", "a0.kv1 (h2 to h3)", "v"));
    }

    #[test]
    fn the_strongest_edges_are_on_top_by_their_exact_effects() {
        let result = edges();
        let text = strongest_edges("top", &result, 2).expect("edges").text();
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["edge", "first", "order", "exact"]);
        assert_eq!(rows[1], ["m0->logits", "1.000", "2.000"], "{text}");
        assert_eq!(rows[2], ["a0.h0->m0", "−2.250", "−1.500"], "{text}");
        let all = strongest_edges("top", &result, 9).expect("edges");
        assert_eq!(all.rows.len(), 3, "edges without an effect are left out");
        assert!(strongest_edges("top", &Labelled::default(), 9).is_none());
        // An array of a column's name that is not by edge is no column.
        let of_circuit = edges().with("random", &[("prompt", 1), ("size", 2)], vec![0.5, 1.0]);
        let text = strongest_edges("top", &of_circuit, 9).expect("edges").text();
        assert!(!text.contains("random"), "{text}");
    }

    #[test]
    fn writers_come_with_the_parts_beside_them() {
        let result = Labelled::default()
            .note("writers", "input,a0.h0,m0")
            .with("direct", &[("writer", 3), ("token", 2)], vec![0.0, 0.5, 0.0, -2.0, 0.0, 1.0])
            .with("first_order", &[("writer", 3), ("token", 2)], vec![1.0, 0.5, 0.0, -2.0, 0.0, 1.0])
            .with("direct_biases", &[("block", 1), ("token", 2)], vec![0.0, 0.25])
            .with("constant", &[("value", 1)], vec![0.125])
            .with("neurons", &[("block", 1), ("neuron", 3)], vec![0.0, -0.5, 1.5]);
        let text = strongest_writers("J", &result, 2).expect("writers").text();
        let firsts: Vec<&str> = text.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(firsts, ["a0.h0", "m0", "other", "biases", "constant"], "{text}");
        let neurons = strongest_neurons("n", &result, 5).expect("neurons").text();
        assert!(neurons.lines().nth(2).is_some_and(|line| line.starts_with("m0") && line.contains('2')), "{neurons}");
    }

    /// Thresholds and the deviation over resamples have columns where a result has them.
    #[test]
    fn circuits_have_columns_of_their_options() {
        let size = [("size", 2)];
        let shares = edges()
            .with("size", &size, vec![1.0, 4.0])
            .with("faithfulness.mean", &size, vec![0.5, 1.0])
            .with("completeness.mean", &size, vec![0.25, 0.0])
            .with("area.mean", &[("value", 1)], vec![0.75]);
        let cells = |result: &Labelled| -> Vec<String> {
            let text = circuit_sizes("", result).expect("circuits").text();
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        let plain = cells(&shares);
        assert_eq!(plain[0], "edges share faithfulness low high without them random");
        assert_eq!(plain[1], "1 25.0 % 0.500 – – 0.250 –");
        assert_eq!(plain[3], "area 0.750 – –");
        let more = shares.with("threshold", &size, vec![2.0, 0.5]).with("deviation.mean", &size, vec![0.125, 0.0]);
        let more = cells(&more);
        assert_eq!(more[0], "score at least edges share faithfulness low high without them random over resamples");
        assert_eq!(more[1], "2.000 1 25.0 % 0.500 – – 0.250 – 0.125");
        assert_eq!(more[3], "area 0.750 – –");
    }
}
