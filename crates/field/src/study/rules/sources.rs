//! The rules of transferred answers and of chosen sources.

use crate::stats::{self, Interval};
use crate::study::figure::Figure;
use crate::study::samples::{Results, array, list, rows, samples, single};
use crate::study::statement::{Better, Rule, Statement};

pub(super) fn transferred(results: &Results<'_>) -> Statement {
    // For each prompt, the mean over the inner levels.
    let inner = |row: Vec<f64>| stats::mean(row.get(1..row.len().saturating_sub(1)).unwrap_or_default());
    let of = |name: &str| {
        let each = samples(results, |result| rows(result, name).into_iter().map(inner).collect());
        each.figure(5, |draw| stats::mean(&single(draw)))
    };
    let (figure, [random, shuffled]) = (of("best"), ["random_best", "shuffled_best"].map(of));
    let ends = [random.interval.high, shuffled.interval.high];
    let control = ends.into_iter().filter(|x| x.is_finite()).fold(0.0, f64::max);
    let beside = vec![
        random.named("control: random directions of the same length"),
        shuffled.named("control: displacements to other prompts, of the same length"),
    ];
    let low = figure.interval.low;
    Rule {
        name: "answers are carried over",
        claim: "Displacements between prompts partly transfer answers.",
        measure: "fraction of the answer that the best single h[l,t] carries over, mean over the inner levels",
        rule: "holds if the interval lies above both controls' and above 0.2; partly if above both controls'",
        better: Better::Higher,
    }
    .statement(figure, (beside, String::new()), [low > control && low > 0.2, low > control])
}

pub(super) fn inverted(results: &Results<'_>) -> Statement {
    // Column 1 is the goal of a quarter of the difference.
    let column = |name: &'static str, at: usize| {
        samples(results, move |result| {
            rows(result, name).iter().map(|row| row.get(at).copied().unwrap_or(f64::NAN)).collect()
        })
    };
    let median = |draw: &[&f64]| stats::median(&single(draw));
    let figure = column("achieved", 1).figure(6, median);
    let names = list(results, "baselines");
    let ratios: Vec<Figure> = (0..names.len()).map(|b| column("energy_ratio", b).figure(6, median)).collect();
    let least = !ratios.is_empty() && ratios.iter().all(|ratio| ratio.interval.low > 1.0);
    let each = |name: &'static str| samples(results, move |result| array(result, name)).figure(6, median);
    let mut beside =
        vec![each("refined").named("the whole way after Newton steps"), each("greedy").named("with two places only")];
    beside.extend(names.iter().zip(ratios).map(|(name, ratio)| {
        ratio.named(format!("energy over the least for the same change: {}", name.replace('_', " ")))
    }));
    let Interval { low, high, .. } = figure.interval;
    Rule {
        name: "patches can be chosen",
        claim: "The adjoint finds sources of least energy that change an observable as asked.",
        measure: "achieved change over the goal, a quarter of the way to the other prompt's answer",
        rule: "holds if the interval lies within 0.8 and 1.2 and the intervals of the baselines' energies lie above the \
               least energy; partly if it lies within 0.5 and 1.5",
        better: Better::Near(1.0),
    }
    .statement(figure, (beside, String::new()), [low > 0.8 && high < 1.2 && least, low > 0.5 && high < 1.5])
}
