//! The rule of flows.

use crate::stats;
use crate::study::samples::{Results, array, rows, samples, single};
use crate::study::statement::{Better, Rule, Statement};

pub(super) fn flows(results: &Results<'_>) -> Statement {
    // The mean over the levels between the first and the last, whose tokens are those of the source and of J.
    let inner = |name: &'static str, seed: u64| {
        let each = samples(results, |result| {
            rows(result, name).iter().map(|row| stats::mean(row.get(1..row.len() - 1).unwrap_or(&[]))).collect()
        });
        each.figure(seed, |draw| stats::mean(&single(draw)))
    };
    let arrival = samples(results, |result| rows(result, "at_last").iter().map(|row| arrival(row)).collect());
    let missed = samples(results, |result| {
        let both = array(result, "summed").into_iter().zip(array(result, "change"));
        both.map(|(summed, change)| (summed / change - 1.0).abs()).collect()
    });
    let figure = inner("tokens", 9);
    let high = figure.interval.high;
    let beside = vec![
        inner("at_changed", 9).named("share at the tokens that differ"),
        inner("at_last", 9).named("share at the last token"),
        arrival.figure(9, |draw| stats::mean(&single(draw))).named("depth at which half has reached the last token"),
        missed.figure(9, |draw| stats::median(&single(draw))).named("median error of the sum over tokens"),
    ];
    Rule {
        name: "few tokens carry effects",
        claim: "The effect of a change of the prompt flows through few tokens of each level.",
        measure: "effective number of tokens that carry the flow of a prompt difference, (sum |F|)^2 / sum F^2, mean over the inner \
                  levels",
        rule: "holds if the interval lies below 2; partly if it lies below 3",
        better: Better::Lower,
    }
    .statement(figure, (beside, String::new()), [high < 2.0, high < 3.0])
}

/// Returns the first level with at least half of the flow at the last token, as a share of the depth.
fn arrival(at_last: &[f64]) -> f64 {
    let level = at_last.iter().position(|share| *share >= 0.5);
    level.map_or(f64::NAN, |level| level as f64 / (at_last.len() - 1) as f64)
}
