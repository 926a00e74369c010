//! The rule of predictions across scales.

use crate::labelled::Labelled;
use crate::stats::{self, Interval};
use crate::study::figure::{Beside, Figure};
use crate::study::samples::{array, rows};
use crate::study::statement::{Better, Rule, Statement};

pub(super) fn scaled(result: &Labelled) -> Statement {
    // Values of the last small model, which is the largest. Quantity 0 with predictor 0 is the affine map of the
    // effects.
    let last = |name: &str, quantity: usize, predictor: usize| {
        let values = array(result, name);
        values.len().checked_sub(12).map_or(f64::NAN, |first| values[first + 4 * quantity + predictor])
    };
    let of = |quantity: usize, predictor: usize| Interval {
        estimate: last("correlation", quantity, predictor),
        low: last("correlation_low", quantity, predictor),
        high: last("correlation_high", quantity, predictor),
    };
    let (mean, random, low) = (of(0, 2), of(0, 3), of(0, 0).low);
    let tasks = result.texts("tasks");
    let by_task = |statistic: usize| -> Vec<(String, f64)> {
        let each = rows(result, "task_agreement").into_iter().rev().take(tasks.len()).collect::<Vec<_>>();
        let values = each.iter().rev().map(|row| row.get(statistic).copied().unwrap_or(f64::NAN));
        tasks.iter().cloned().zip(values).collect()
    };
    let over_tasks = |statistic: usize, name: &str| {
        let by_task = by_task(statistic);
        let estimate = stats::mean(&by_task.iter().map(|(_, x)| *x).filter(|x| x.is_finite()).collect::<Vec<f64>>());
        Beside { name: name.to_owned(), figure: Interval { estimate, ..Interval::NONE }, by_task }
    };
    let pooled = |name: &str, figure: Interval| Beside { name: name.to_owned(), figure, by_task: Vec::new() };
    let beside = vec![
        over_tasks(1, "slope of actual over predicted"),
        over_tasks(2, "relative error"),
        pooled("share of variance explained", Interval { estimate: last("explained", 0, 0), ..Interval::NONE }),
        pooled("control: the level's mean alone", mean),
        pooled("control: small models with random weights", random),
        pooled("correlation of sensitivities", of(1, 0)),
        pooled("of token slices", of(2, 0)),
    ];
    let prompts = result.count("held_out").unwrap_or(0);
    let above = low > mean.high && low > random.high;
    Rule {
        name: "small predicts large",
        claim: "Responses of a small model predict those of a large one.",
        measure: "held-out correlation of patch effects, affine map by relative depth, largest of the small models",
        rule: "holds if the interval lies above 0.8 and above both controls'; partly if it lies above both controls'",
        better: Better::Higher,
    }
    .statement(
        Figure { interval: of(0, 0), prompts, by_task: by_task(0) },
        (beside, "correlations are those of all tasks together".to_owned()),
        [low > 0.8 && above, above],
    )
}
