//! `circuit`: faithfulness and completeness over the share of included edges, and a graph of the strongest edges.

use resolvent_field::Labelled;

use super::edges::graph;
use super::read::prompts;
use crate::circuits::Edges;
use crate::{Axis, Figure, Lines, Reference, Series};

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
    vec![plot.into(), graph(&edges).into()]
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
    }
}
