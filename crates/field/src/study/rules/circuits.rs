//! The rule of circuits.

use crate::stats::{self, Interval};
use crate::study::circuits::SHARE;
use crate::study::samples::{Results, array, rows, samples};
use crate::study::statement::{Better, Rule, Statement};

/// What remains of the answer of a prompt: in the circuit, in all edges but the circuit, and in a random circuit of its
/// size.
struct Remains([f64; 3]);

pub(super) fn circuits(results: &Results<'_>) -> Statement {
    let prompts = samples(results, |result| {
        let edges = result.array("edges").map_or(0, |edges| edges.axes[0].1) as f64;
        let size = array(result, "size").iter().position(|size| *size == (SHARE * edges).round());
        let [circuit, without, random] = ["faithfulness", "completeness", "random"].map(|name| rows(result, name));
        let at = |rows: &[Vec<f64>], i: usize| {
            let row = rows.get(i).zip(size);
            row.and_then(|(row, size)| row.get(size).copied()).unwrap_or(f64::NAN)
        };
        (0..circuit.len()).map(|i| Remains([at(&circuit, i), at(&without, i), at(&random, i)])).collect()
    });
    let mean = |part: usize| {
        prompts.figure(7, move |draw| {
            stats::mean(&draw.iter().map(|one| one.0[part]).filter(|x| x.is_finite()).collect::<Vec<f64>>())
        })
    };
    let (figure, [without, random]) = (mean(0), [1, 2].map(mean));
    let counts = results.iter().filter_map(|(_, result)| Some(result.array("edges")?.axes[0].1)).take(1);
    let remark: Vec<String> =
        counts.map(|edges| format!("{:.0} of {edges} edges", (SHARE * edges as f64).round())).collect();
    let ends = [without.interval.high, random.interval.high];
    let beside = vec![without.named("without these edges"), random.named("random circuits of their number")];
    let Interval { low, high, .. } = figure.interval;
    Rule {
        name: "circuits are small",
        claim: "A small part of the edges carries an answer, and first-order scores find it.",
        measure: "faithfulness on held-out pairs of the 2 % of edges with the largest first-order scores, all others corrupted",
        rule: "holds if the interval lies within 0.8 and 1.2, and the intervals of what remains without these edges and in random \
               circuits of their number lie below 0.5; partly if it lies within 0.5 and 1.5, and above that of random circuits",
        better: Better::Near(1.0),
    }
    .statement(
        figure,
        (beside, remark.concat()),
        [
            low > 0.8 && high < 1.2 && ends.iter().all(|high| *high < 0.5),
            low > 0.5 && high < 1.5 && low > ends[1],
        ],
    )
}
