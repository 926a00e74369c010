//! Orders of edges by their scores, and the circuits of their first edges.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use resolvent_model::{Architecture, Edge, Reader, Writer};

use crate::error::{Error, Result};
use crate::stats::choose;

/// How edges are chosen by their scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selection {
    /// The edges with the largest sizes.
    #[default]
    Top,
    /// From the logits downwards: of all edges into nodes that are in the circuit, the one with the largest size comes
    /// next, and its writer joins the circuit. So every edge has a path to the logits.
    Greedy,
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Top => "top",
            Self::Greedy => "greedy",
        })
    }
}

impl FromStr for Selection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "top" => Ok(Self::Top),
            "greedy" => Ok(Self::Greedy),
            _ => Err(Error::Input(format!("invalid selection `{text}`: expected top or greedy"))),
        }
    }
}

impl Selection {
    /// Returns the indices of all edges, in the order in which a growing circuit takes them.
    pub(super) fn order(self, edges: &[Edge], scores: &[f64], model: &Architecture) -> Vec<usize> {
        let mut top: Vec<usize> = (0..edges.len()).collect();
        top.sort_by(|&a, &b| scores[b].abs().total_cmp(&scores[a].abs()));
        match self {
            Self::Top => top,
            Self::Greedy => greedy(edges, &top, model),
        }
    }
}

/// Returns the writers that are the node of a reader: heads that share keys and values are several.
fn nodes(reader: Reader, model: &Architecture) -> Vec<Writer> {
    let sizes = model.sizes();
    let shared = sizes.heads / sizes.kv_heads;
    match reader {
        Reader::Query(l, h) => vec![Writer::Head(l, h)],
        Reader::Key(l, h) | Reader::Value(l, h) => (h * shared..(h + 1) * shared).map(|h| Writer::Head(l, h)).collect(),
        Reader::Mlp(l) => vec![Writer::Mlp(l)],
        Reader::Logits => Vec::new(),
    }
}

/// Returns the edges in greedy order. `top` is their order by size.
fn greedy(edges: &[Edge], top: &[usize], model: &Architecture) -> Vec<usize> {
    let mut place = vec![0; edges.len()];
    top.iter().enumerate().for_each(|(n, &edge)| place[edge] = n);
    let (mut within, mut order) = (BTreeSet::new(), Vec::with_capacity(edges.len()));
    let mut taken = vec![false; edges.len()];
    // Places in `top` of the edges into nodes of the circuit.
    let into = |joined: &dyn Fn(Reader) -> bool| -> Vec<usize> {
        (0..edges.len()).filter(|&e| joined(edges[e].reader)).map(|e| place[e]).collect()
    };
    let mut candidates: BTreeSet<usize> = into(&|reader| reader == Reader::Logits).into_iter().collect();
    while let Some(next) = candidates.pop_first() {
        let edge = top[next];
        taken[edge] = true;
        order.push(edge);
        let writer = edges[edge].writer;
        if within.insert(writer) {
            let more = into(&|reader| nodes(reader, model).contains(&writer));
            candidates.extend(more.into_iter().filter(|&n| !taken[top[n]]));
        }
    }
    order.extend(top.iter().copied().filter(|&edge| !taken[edge]));
    order
}

/// Returns whether each edge is included, for circuits of the first `counts` edges.
pub(super) fn included(order: &[usize], counts: &[usize]) -> Vec<Vec<bool>> {
    let of = |&count: &usize| {
        let mut included = vec![false; order.len()];
        order[..count].iter().for_each(|&edge| included[edge] = true);
        included
    };
    counts.iter().map(of).collect()
}

/// Returns how many of the first edges of an order have scores of each size or larger.
///
/// An order takes the largest score that it may take next. So the first smaller score comes after all edges of the
/// threshold: of a greedy order, after those with a path to the logits of such edges alone.
pub(super) fn above(order: &[usize], scores: &[f64], thresholds: &[f64]) -> Vec<usize> {
    let count = |&threshold: &f64| order.iter().take_while(|&&edge| scores[edge].abs() >= threshold).count();
    thresholds.iter().map(count).collect()
}

/// Returns `repeats` random circuits of each size, one after another.
pub(super) fn random(edges: usize, counts: &[usize], (repeats, seed): (usize, u64)) -> Vec<Vec<bool>> {
    let mut state = seed;
    let mut of = |count: usize| {
        let mut order: Vec<usize> = (0..edges).collect();
        choose(&mut order, count, &mut state);
        included(&order, &[count]).remove(0)
    };
    counts.iter().flat_map(|&count| vec![count; repeats]).map(&mut of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use resolvent_model::tiny;

    #[test]
    fn greedy_circuits_are_connected_to_the_logits() {
        let model: Architecture = tiny().into();
        let edges = Edge::all(&model);
        let scores: Vec<f64> = (0..edges.len()).map(|e| ((e * 7919) % 1009) as f64 - 500.0).collect();
        let top = Selection::Top.order(&edges, &scores, &model);
        assert!(top.windows(2).all(|pair| scores[pair[0]].abs() >= scores[pair[1]].abs()));
        let order = Selection::Greedy.order(&edges, &scores, &model);
        let mut within = BTreeSet::new();
        for (n, &edge) in order.iter().enumerate() {
            let reader = edges[edge].reader;
            let joined = reader == Reader::Logits || nodes(reader, &model).iter().any(|node| within.contains(node));
            assert!(joined, "{} of {}: {}", n, order.len(), edges[edge]);
            within.insert(edges[edge].writer);
        }
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..edges.len()).collect::<Vec<_>>());
        assert_eq!(scores[order[0]].abs(), {
            let into = edges.iter().zip(&scores).filter(|(edge, _)| edge.reader == Reader::Logits);
            into.fold(0.0f64, |most, (_, score)| most.max(score.abs()))
        });
    }

    /// A greedy circuit above a threshold has all edges that edges of this size join to the logits, and no other.
    #[test]
    fn thresholds_choose_by_the_size_of_scores() {
        let model: Architecture = tiny().into();
        let edges = Edge::all(&model);
        let scores: Vec<f64> = (0..edges.len()).map(|e| ((e * 7919) % 1009) as f64 - 500.0).collect();
        let order = |selection: Selection| selection.order(&edges, &scores, &model);
        let sizes: Vec<f64> = scores.iter().map(|x| x.abs()).collect();
        let large = |threshold: f64| sizes.iter().enumerate().filter(move |(_, x)| **x >= threshold).map(|(e, _)| e);
        for threshold in [480.0, 300.0, 100.0, 0.0] {
            let [top, greedy] = [Selection::Top, Selection::Greedy].map(order);
            let n = above(&top, &scores, &[threshold])[0];
            assert_eq!(n, large(threshold).count(), "{threshold}");
            let n = above(&greedy, &scores, &[threshold])[0];
            let mut joined: BTreeSet<usize> = BTreeSet::new();
            while let Some(next) = large(threshold).find(|&e| {
                let reader = edges[e].reader;
                let writes = |node: &Writer| joined.iter().any(|&other| edges[other].writer == *node);
                !joined.contains(&e) && (reader == Reader::Logits || nodes(reader, &model).iter().any(writes))
            }) {
                joined.insert(next);
            }
            assert_eq!(greedy[..n].iter().copied().collect::<BTreeSet<usize>>(), joined, "{threshold}");
        }
        assert_eq!(above(&[1, 0, 2], &[-2.0, 3.0, 0.5], &[4.0, 2.0, 0.5]), [0, 2, 3]);
    }

    #[test]
    fn circuits_have_their_sizes() {
        let order = [3, 1, 0, 2];
        assert_eq!(included(&order, &[0, 2]), [vec![false; 4], vec![false, true, false, true]]);
        let random = random(50, &[7, 50], (3, 5));
        let counts: Vec<usize> =
            random.iter().map(|included| included.iter().filter(|included| **included).count()).collect();
        assert_eq!(counts, [7, 7, 7, 50, 50, 50]);
        assert!(random[0] != random[1]);
    }
}
