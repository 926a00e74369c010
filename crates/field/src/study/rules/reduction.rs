//! The rule of reduced descriptions.

use crate::reduce::{compared_rank, dimensions};
use crate::stats::{self, Interval};
use crate::study::samples::{Results, array, rows, samples, single};
use crate::study::statement::{Better, Rule, Statement};

/// Position of the bases by role on the axis `basis`.
const BY_ROLE: usize = 1;

/// Squared errors of a prompt: balanced directions by role, the other compared errors, and the squared effect.
struct Reduced {
    errors: [f64; 5],
    effect: f64,
}

pub(super) fn reduced(results: &Results<'_>) -> Statement {
    // By role: balanced, POD, random, shuffled; then balanced with one basis.
    let cells = [(BY_ROLE, "balanced"), (BY_ROLE, "pod"), (BY_ROLE, "random"), (BY_ROLE, "shuffled"), (0, "balanced")];
    let prompts = samples(results, |result| {
        let ranks = result.array("ranks").map_or(&[][..], |ranks| &ranks.data);
        let methods = result.list("methods").unwrap_or_default();
        let rank = compared_rank(ranks);
        let cell = |(basis, method): (usize, &str)| {
            let method = methods.iter().position(|m| *m == method)?;
            Some((basis * methods.len() + method) * ranks.len() + rank?)
        };
        let at = cells.map(cell);
        let of = |row: &Vec<f64>| at.map(|at| at.and_then(|at| row.get(at).copied()).unwrap_or(f64::NAN));
        let squares = rows(result, "squared_error").into_iter().zip(array(result, "squared_effect"));
        squares.map(|(row, effect)| Reduced { errors: of(&row), effect }).collect()
    });
    let sum = |draw: &[&Reduced], cell: usize| draw.iter().map(|one| one.errors[cell]).sum::<f64>();
    let error = |cell: usize| {
        prompts.figure(4, move |draw| (sum(draw, cell) / draw.iter().map(|one| one.effect).sum::<f64>()).sqrt())
    };
    let over = |cell: usize| prompts.figure(4, move |draw| (sum(draw, 0) / sum(draw, cell)).sqrt()).interval.high;
    let figure = error(0);
    // One number a task, which has no interval over prompts.
    let mut floor = samples(results, |result| array(result, "floor")).figure(4, |draw| stats::mean(&single(draw)));
    floor.interval = Interval { estimate: floor.interval.estimate, ..Interval::NONE };
    let beside = vec![
        error(4).named("with one basis for all tokens"),
        error(1).named("with principal components (POD)"),
        error(2).named("with random directions"),
        error(3).named("with balanced directions of shuffled pairs"),
        floor.named("with all directions"),
    ];
    let enough = results.iter().filter_map(|(task, r)| Some(format!("{task} {}", dimensions(r).get(BY_ROLE)?)));
    let remark = format!("directions within 0.05 of all: {}", enough.collect::<Vec<_>>().join(", "));
    let high = figure.interval.high;
    Rule {
        name: "reduced descriptions",
        claim: "A few directions of one level describe the response.",
        measure: "relative error of actual effects of held-out patches, through 16 balanced directions for each role of \
                  token",
        rule: "holds if the interval lies below 0.2, and the intervals of its quotients with the errors of random \
               directions and of shuffled pairs' directions lie below 0.5 and 1; partly if the interval lies below 0.5",
        better: Better::Lower,
    }
    .statement(figure, (beside, remark), [high < 0.2 && over(2) < 0.5 && over(3) < 1.0, high < 0.5])
}
