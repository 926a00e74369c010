//! `circuit`: faithfulness and completeness over the share of included edges, and a graph of one circuit.

use resolvent_field::Labelled;

use super::edges::graph;
use super::read::{MOST_EDGES, drawn_edges, prompts};
use crate::axis::number::minus;
use crate::circuits::Edges;
use crate::{Axis, Figure, Graph, Lines, Reference, Series};

/// The lines of the plot: an array without its ending, and its name.
const LINES: [(&str, &str); 3] =
    [("faithfulness", "circuit"), ("completeness", "all edges but the circuit"), ("random", "random circuits")];

pub(super) fn figures(result: &Labelled) -> Vec<Figure> {
    let (Some(edges), Some(sizes)) = (Edges::of(result), result.array("size")) else { return Vec::new() };
    let all = edges.weights.data.len() as f64;
    let mut plot = Lines::new(
        "Faithfulness of circuits",
        Axis::log("share of all edges"),
        Axis::linear("share of the effect that remains"),
    );
    plot.subtitle = format!(
        "edges ranked by {}, {}; all others {}; {}",
        result.fact("score"),
        result.fact("selection"),
        result.fact("ablation"),
        prompts(result)
    );
    plot.markers = true;
    plot.references = vec![Reference::Level(1.0, "the clean prompt".to_owned())];
    let values = |name: String| result.array(&name).map(|array| array.data.iter().map(|&x| f64::from(x)));
    for (name, title) in LINES {
        let Some(mean) = values(format!("{name}.mean")) else { continue };
        let points = sizes.data.iter().map(|&size| f64::from(size) / all).zip(mean).collect();
        let band: Vec<(f64, f64)> = match (values(format!("{name}.low")), values(format!("{name}.high"))) {
            (Some(low), Some(high)) => low.zip(high).collect(),
            _ => Vec::new(),
        };
        let band = if band.iter().all(|(low, high)| low.is_finite() && high.is_finite()) { band } else { Vec::new() };
        plot.series.push(Series::new(title, points).with_band(band));
    }
    [Some(plot.into()), circuit_graph(result).map(Figure::from)].into_iter().flatten().collect()
}

/// Returns the graph of a measured circuit, with its faithfulness: of the largest one with at most as many edges as are
/// to be drawn, or else of the smallest. `None` if the result has no circuits with edges.
pub(crate) fn circuit_graph(result: &Labelled) -> Option<Graph> {
    let (edges, rank, sizes) = (Edges::of(result)?, result.array("rank")?, result.array("size")?);
    let most = drawn_edges(result) as f32;
    let with_edges = || (0..sizes.data.len()).filter(|&n| sizes.data[n] > 0.0);
    let n = with_edges().rfind(|&n| sizes.data[n] <= most).or_else(|| with_edges().next())?;
    let size = sizes.data[n] as usize;
    let mut included: Vec<usize> = (0..rank.data.len()).filter(|&edge| rank.data[edge] < sizes.data[n]).collect();
    included.sort_by(|&a, &b| rank.data[a].total_cmp(&rank.data[b]));
    included.truncate(MOST_EDGES);
    let title = match included.len() == size {
        true => format!("Circuit of {size} edge{}, by mean score", if size == 1 { "" } else { "s" }),
        false => format!("The first {} of the {size} edges of a circuit, by mean score", included.len()),
    };
    let of = |name: &str| {
        let value = result.array(name).and_then(|array| array.data.get(n)).filter(|x| x.is_finite());
        value.map(|&x| minus(&format!("{:.3}", x + 0.0)))
    };
    let mut faithfulness = format!("faithfulness {}", of("faithfulness.mean")?);
    if let (Some(low), Some(high)) = (of("faithfulness.low"), of("faithfulness.high")) {
        faithfulness.push_str(&format!(" ({low} to {high})"));
    }
    if let Some(rest) = of("completeness.mean") {
        faithfulness.push_str(&format!(", {rest} without these edges"));
    }
    let subtitle = format!("{faithfulness}; all others {}; {}", result.fact("ablation"), prompts(result));
    Some(Graph { title, subtitle, ..graph(&edges, &included) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plot_has_a_line_for_circuits_complements_and_controls() {
        let size = [("size", 2)];
        let result = Labelled::default()
            .note("writers", "input,a0.h0")
            .note("readers", "a0.h0<q>,a0.h0<v>,m0,logits")
            .with("edges", &[("edge", 4), ("end", 2)], vec![0.0, 1.0, 0.0, 2.0, 1.0, 2.0, 1.0, 3.0])
            .with("score", &[("edge", 4)], vec![0.5, -2.0, 0.25, 1.0])
            .with("rank", &[("edge", 4)], vec![2.0, 0.0, 3.0, 1.0])
            .note("ablation", "zero")
            .note("prompts", "8")
            .with("size", &size, vec![1.0, 4.0])
            .with("faithfulness.mean", &size, vec![0.5, 1.0])
            .with("faithfulness.low", &size, vec![0.4, 1.0])
            .with("faithfulness.high", &size, vec![0.6, 1.0])
            .with("completeness.mean", &size, vec![0.5, 0.0]);
        let found = figures(&result);
        let [Figure::Lines(lines), Figure::Graph(graph)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(lines.series.len(), 2, "there are no controls");
        assert_eq!(lines.series[0].points, [(0.25, 0.5), (1.0, 1.0)]);
        assert_eq!((lines.series[0].band.len(), lines.series[1].band.len(), graph.edges.len()), (2, 0, 4));
        // The edges are those of a measured circuit, whose faithfulness stands beside them.
        assert_eq!(graph.title, "Circuit of 4 edges, by mean score");
        let caption = |graph: &Graph| graph.subtitle.clone();
        assert!(
            caption(graph).starts_with("faithfulness 1.000 (1.000 to 1.000), 0.000 without these edges; all others")
        );
        let small = circuit_graph(&result.clone().note("drawn_edges", "3")).expect("a circuit");
        assert_eq!((small.title.as_str(), small.edges.len()), ("Circuit of 1 edge, by mean score", 1));
        assert_eq!((small.edges[0].weight, small.edges[0].label.as_str()), (-2.0, "input->m0"));
        assert!(caption(&small).starts_with("faithfulness 0.500 (0.400 to 0.600)"), "{}", small.subtitle);
        assert!(circuit_graph(&Labelled::default()).is_none());
    }
}
