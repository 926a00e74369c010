//! The rules of the statements: which figures of a study's results decide them.

use crate::labelled::Labelled;
use crate::reduce::{compared_rank, dimensions};
use crate::stats::{self, Interval, Pairs};

use super::Done;
use super::circuits::SHARE;
use super::samples::{Figure, Samples, array, by_prompt, pooled, rows, single};
use super::statement::{Better, Rule, Statement};

/// Results of one analysis, each with its task.
type Results<'a> = [(&'a str, &'a Labelled)];

/// Evaluates all statements on the results of a study.
pub(super) fn statements(done: &[Done]) -> Vec<Statement> {
    let of = |analysis: &str| -> Vec<(&str, &Labelled)> {
        // A step that was left out has no arrays.
        let steps = done.iter().filter(|d| !d.result.arrays.is_empty());
        let named = steps.map(|d| (d.name.split_once('.').unwrap_or((&d.name, "")), &d.result));
        named.filter(|((name, _), _)| *name == analysis).map(|((_, task), result)| (task, result)).collect()
    };
    let mut all = vec![
        bounded(&of("regimes")),
        predicted(&of("patching")),
        anisotropic(&of("propagation")),
        reduced(&of("reduction")),
        transferred(&of("transfers")),
        inverted(&of("inverse")),
        circuits(&of("circuits")),
    ];
    if let [(_, scaling), ..] = of("scaling")[..] {
        all.push(scaled(scaling));
    }
    all
}

/// Returns samples of what `of` takes from each result, one element a prompt.
fn samples<T>(results: &Results<'_>, of: impl Fn(&Labelled) -> Vec<T>) -> Samples<T> {
    let mut samples = Samples::new();
    results.iter().for_each(|(task, result)| samples.add(task, of(result)));
    samples
}

/// Returns the values of all results.
fn all(results: &Results<'_>, name: &str) -> Vec<f64> {
    results.iter().flat_map(|(_, result)| array(result, name)).collect()
}

/// Returns a comma-separated list of the first result's metadata.
fn list<'a>(results: &Results<'a>, key: &str) -> Vec<&'a str> {
    results.first().and_then(|(_, result)| result.list(key)).unwrap_or_default()
}

/// Returns the median of the finite values.
fn middle(values: Vec<f64>) -> f64 {
    stats::median(&values.into_iter().filter(|x| x.is_finite()).collect::<Vec<f64>>())
}

fn bounded(results: &Results<'_>) -> Statement {
    let median = |draw: &[&Vec<f64>]| stats::median(&pooled(draw));
    let radii = samples(results, |result| by_prompt(result, &array(result, "radius")));
    let errors = samples(results, |result| {
        let at = array(result, "amplitudes").iter().position(|a| (a - 0.01).abs() < 1e-6);
        // An error that rounding hides is NaN, and does not count.
        let column = rows(result, "error").iter().filter_map(|row| row.get(at?).copied()).collect::<Vec<f64>>();
        by_prompt(result, &column)
    });
    let share = |draw: &[&Vec<f64>]| {
        let radii: Vec<f64> = draw.iter().flat_map(|group| group.iter().copied()).collect();
        radii.iter().filter(|r| r.is_finite()).count() as f64 / radii.len() as f64
    };
    let (error, finite) = (errors.figure(1, median).interval, radii.figure(1, share).interval);
    let found = stats::sorted(&all(results, "radius").into_iter().filter(|r| r.is_finite()).collect::<Vec<f64>>());
    let detail = format!(
        "a source of 1 % of |h| has a median error of {:.1} % ({:.1} to {:.1}); {:.0} % of {} sources have a finite radius, \
         nine in ten of them between {:.2} and {:.2}",
        100.0 * error.estimate,
        100.0 * error.low,
        100.0 * error.high,
        100.0 * finite.estimate,
        all(results, "radius").len(),
        stats::quantile(&found, 0.05),
        stats::quantile(&found, 0.95),
    );
    Rule {
        name: "linear regime",
        claim: "The response to a localised source is linear up to a bounded amplitude.",
        measure: "median linear radius, in units of |h[l,t]|: where the first-order error reaches 20 %",
        rule: "holds if the interval of the error at 1 % of |h| lies below 5 % and that of the share of finite radii above \
               0.9; partly if that of the error lies below 20 %",
        better: Better::Higher,
    }
    .statement(radii.figure(1, median), detail, [error.high < 0.05 && finite.low > 0.9, error.high < 0.2])
}

fn predicted(results: &Results<'_>) -> Statement {
    let of_kind = |kind: usize| {
        samples(results, |result| {
            let [predicted, actual, kinds] = ["predicted", "actual", "kind"].map(|name| array(result, name));
            let each: Vec<(f64, f64, f64)> =
                predicted.into_iter().zip(actual).zip(kinds).map(|((p, a), k)| (p, a, k)).collect();
            let prompts = by_prompt(result, &each).into_iter().map(|prompt| {
                let mine = || prompt.iter().filter(|(_, _, k)| *k as usize == kind);
                Pairs { predicted: mine().map(|(p, ..)| *p).collect(), actual: mine().map(|(_, a, _)| *a).collect() }
            });
            prompts.filter(|pairs| !pairs.is_empty()).collect()
        })
    };
    let joined = |draw: &[&Pairs]| Pairs::joined(draw.iter().copied());
    let resid = of_kind(0);
    let figure = resid.figure(2, |draw| joined(draw).pearson());
    let error = resid.figure(2, |draw| joined(draw).relative_error()).interval;
    let slope = resid.figure(2, |draw| joined(draw).slope()).interval;
    let other = list(results, "kinds").into_iter().enumerate().skip(1);
    let other = other.map(|(kind, name)| {
        let figure = of_kind(kind).figure(2, |draw| joined(draw).pearson());
        format!("{name} {:.2}", figure.interval.estimate)
    });
    let detail = format!(
        "relative error {:.2} ({:.2} to {:.2}), slope of actual over predicted {:.2}; correlation at other sites: {}",
        error.estimate,
        error.low,
        error.high,
        slope.estimate,
        other.collect::<Vec<_>>().join(", ")
    );
    let low = figure.interval.low;
    Rule {
        name: "sensitivities predict patches",
        claim: "First-order sensitivities predict the effects of activation patches.",
        measure: "Pearson correlation of predicted and actual effects of patching h[l,t]",
        rule: "holds if the interval lies above 0.9 and that of the relative error below 0.5; partly if the interval of the \
               correlation lies above 0.5",
        better: Better::Higher,
    }
    .statement(figure, detail, [low > 0.9 && error.high < 0.5, low > 0.5])
}

fn anisotropic(results: &Results<'_>) -> Statement {
    let d = list(results, "d").first().and_then(|d| d.parse::<f64>().ok()).unwrap_or(0.0);
    let ranks = samples(results, |result| by_prompt(result, &array(result, "stable_rank")));
    let figure = ranks.figure(3, |draw| stats::median(&pooled(draw)));
    let mut levels = all(results, "level");
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    let at = |level: f64| {
        let of = |result: &Labelled| array(result, "level").into_iter().zip(array(result, "stable_rank"));
        let mine = results.iter().flat_map(|(_, r)| of(r)).filter(|(l, _)| *l == level).map(|(_, rank)| rank);
        format!("h{level} {:.1}", middle(mine.collect()))
    };
    let stays = results.iter().flat_map(|(_, r)| rows(r, "stays")).filter_map(|row| row.last().copied());
    let detail = format!(
        "of {d:.0} directions; by level of the source: {}; eight singular values carry {:.0} % of the energy (median), and \
         {:.0} % of the energy of a displacement is still at its own token at level L",
        levels.iter().map(|&level| at(level)).collect::<Vec<_>>().join(", "),
        100.0 * middle(all(results, "captured")),
        100.0 * middle(stays.collect()),
    );
    let high = figure.interval.high;
    Rule {
        name: "structured propagation",
        claim: "Responses propagate anisotropically: a few directions carry most of what a place sends to the end.",
        measure: "stable rank of the operator from a place to all of level L: |G|_F^2 / s1^2",
        rule: "holds if the interval lies below d / 10; partly if it lies below d / 3",
        better: Better::Lower,
    }
    .statement(figure, detail, [high < d / 10.0, high < d / 3.0])
}

/// Position of the bases by role on the axis `basis`.
const BY_ROLE: usize = 1;

/// Squared errors of a prompt: balanced directions by role, the other compared errors, and the squared effect.
struct Reduced {
    errors: [f64; 5],
    effect: f64,
}

fn reduced(results: &Results<'_>) -> Statement {
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
    let (figure, [pod, random, shuffled, one]) = (error(0), [1, 2, 3, 4].map(|cell| error(cell).interval.estimate));
    let enough = results.iter().filter_map(|(task, r)| Some(format!("{task} {}", dimensions(r).get(BY_ROLE)?)));
    let detail = format!(
        "with one basis for all tokens {one:.2}, with principal components (POD) {pod:.2}, with random directions \
         {random:.2}, with balanced directions of shuffled pairs {shuffled:.2}, with all directions {:.2}; directions \
         within 0.05 of all: {}",
        stats::mean(&all(results, "floor")),
        enough.collect::<Vec<_>>().join(", ")
    );
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
    .statement(figure, detail, [high < 0.2 && over(2) < 0.5 && over(3) < 1.0, high < 0.5])
}

fn transferred(results: &Results<'_>) -> Statement {
    // For each prompt, the mean over the inner levels.
    let inner = |row: Vec<f64>| stats::mean(row.get(1..row.len().saturating_sub(1)).unwrap_or_default());
    let of = |name: &str| {
        let each = samples(results, |result| rows(result, name).into_iter().map(inner).collect());
        each.figure(5, |draw| stats::mean(&single(draw)))
    };
    let (figure, [random, shuffled]) = (of("best"), ["random_best", "shuffled_best"].map(|name| of(name).interval));
    let control = [random.high, shuffled.high].into_iter().filter(|x| x.is_finite()).fold(0.0, f64::max);
    let detail = format!(
        "controls of the same length: random directions {:.2} ({:.2} to {:.2}), displacements to other prompts {:.2} \
         ({:.2} to {:.2})",
        random.estimate, random.low, random.high, shuffled.estimate, shuffled.low, shuffled.high
    );
    let low = figure.interval.low;
    Rule {
        name: "answers are carried over",
        claim: "Displacements between prompts partly transfer answers.",
        measure: "fraction of the answer that the best single h[l,t] carries over, mean over the inner levels",
        rule: "holds if the interval lies above both controls' and above 0.2; partly if above both controls'",
        better: Better::Higher,
    }
    .statement(figure, detail, [low > control && low > 0.2, low > control])
}

fn inverted(results: &Results<'_>) -> Statement {
    // Column 1 is the goal of a quarter of the difference.
    let column = |name: &'static str, at: usize| {
        samples(results, move |result| {
            rows(result, name).iter().map(|row| row.get(at).copied().unwrap_or(f64::NAN)).collect()
        })
    };
    let median = |draw: &[&f64]| stats::median(&single(draw));
    let figure = column("achieved", 1).figure(6, median);
    let names = list(results, "baselines");
    let ratios: Vec<Interval> =
        (0..names.len()).map(|b| column("energy_ratio", b).figure(6, median).interval).collect();
    let each = names
        .iter()
        .zip(&ratios)
        .map(|(name, r)| format!("{} {:.1} ({:.1} to {:.1})", name.replace('_', " "), r.estimate, r.low, r.high));
    let detail = format!(
        "the whole way after Newton steps: {:.2}, with two places only {:.2}; energy of baselines over the least, for the \
         same achieved change: {}",
        middle(all(results, "refined")),
        middle(all(results, "greedy")),
        each.collect::<Vec<_>>().join(", ")
    );
    let Interval { low, high, .. } = figure.interval;
    let least = !ratios.is_empty() && ratios.iter().all(|ratio| ratio.low > 1.0);
    Rule {
        name: "patches can be chosen",
        claim: "The adjoint finds sources of least energy that change an observable as asked.",
        measure: "achieved change over the goal, a quarter of the way to the other prompt's answer",
        rule: "holds if the interval lies within 0.8 and 1.2 and the intervals of the baselines' energies lie above the \
               least energy; partly if it lies within 0.5 and 1.5",
        better: Better::Near(1.0),
    }
    .statement(figure, detail, [low > 0.8 && high < 1.2 && least, low > 0.5 && high < 1.5])
}

/// What remains of the answer of a prompt: in the circuit, in all edges but the circuit, and in a random circuit of its
/// size.
struct Remains([f64; 3]);

fn circuits(results: &Results<'_>) -> Statement {
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
    let (figure, [without, random]) = (mean(0), [1, 2].map(|part| mean(part).interval));
    let counts = results.iter().filter_map(|(task, r)| Some((task, r.array("edges")?.axes[0].1)));
    let counts: Vec<String> =
        counts.take(1).map(|(_, edges)| format!("{:.0} of {edges}", (SHARE * edges as f64).round())).collect();
    let detail = format!(
        "{} edges; without them {:.2} ({:.2} to {:.2}) remains, and of random circuits of their number {:.2} ({:.2} to {:.2})",
        counts.first().map_or("no", String::as_str),
        without.estimate,
        without.low,
        without.high,
        random.estimate,
        random.low,
        random.high
    );
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
        detail,
        [
            low > 0.8 && high < 1.2 && without.high < 0.5 && random.high < 0.5,
            low > 0.5 && high < 1.5 && low > random.high,
        ],
    )
}

fn scaled(result: &Labelled) -> Statement {
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
    let detail = format!(
        "share of variance explained {:.2}; the level's mean alone {:.2} ({:.2} to {:.2}), a random small model, mean of \
         several seeds, {:.2} ({:.2} to {:.2}); sensitivities {:.2}, token slices {:.2}",
        last("explained", 0, 0),
        mean.estimate,
        mean.low,
        mean.high,
        random.estimate,
        random.low,
        random.high,
        of(1, 0).estimate,
        of(2, 0).estimate,
    );
    let prompts = result.count("held_out").unwrap_or(0);
    let above = low > mean.high && low > random.high;
    Rule {
        name: "small predicts large",
        claim: "Responses of a small model predict those of a large one.",
        measure: "held-out correlation of patch effects, affine map by relative depth, largest of the small models",
        rule: "holds if the interval lies above 0.8 and above both controls'; partly if it lies above both controls'",
        better: Better::Higher,
    }
    .statement(Figure { interval: of(0, 0), prompts, by_task: Vec::new() }, detail, [low > 0.8 && above, above])
}
