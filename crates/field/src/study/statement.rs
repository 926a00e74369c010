//! The statements of a study: the claim of the theory, the measured figure, and a verdict.
//!
//! A verdict follows from numbers by a rule, and the statement contains the rule. Intervals are 95 % bootstraps over
//! prompts, or over tasks if each task gives one number.

use crate::labelled::Labelled;
use crate::reduce::{compared_rank, dimensions};
use crate::stats::{self, Interval, Pairs, bootstrap};

use super::Done;

/// The verdict on a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The figures satisfy the rule.
    Holds,
    /// The figures satisfy only the weaker condition of the rule.
    Partly,
    /// The figures satisfy neither condition.
    Fails,
    /// The study has no figures for the statement.
    Unknown,
}

impl Verdict {
    /// Returns the verdict in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Partly => "holds partly",
            Self::Fails => "fails",
            Self::Unknown => "not measured",
        }
    }

    fn of(holds: bool, partly: bool) -> Self {
        match (holds, partly) {
            (true, _) => Self::Holds,
            (false, true) => Self::Partly,
            _ => Self::Fails,
        }
    }
}

/// One statement with its measured figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// Short name.
    pub name: &'static str,
    /// The claim of the theory.
    pub claim: &'static str,
    /// Definition of the figure.
    pub measure: &'static str,
    /// The figure with its interval; NaN if it could not be measured.
    pub figure: Interval,
    /// Further figures, in words.
    pub detail: String,
    /// The rule of the verdict.
    pub rule: &'static str,
    /// The verdict.
    pub verdict: Verdict,
}

/// Evaluates the statements of the paper, and those that this program adds, on the results of a study.
pub fn statements(done: &[Done]) -> Vec<Statement> {
    let of = |analysis: &str| -> Vec<&Labelled> {
        // A step that was left out has no arrays.
        let mine = |d: &&Done| d.name.split('.').next() == Some(analysis) && !d.result.arrays.is_empty();
        done.iter().filter(mine).map(|d| &d.result).collect()
    };
    let mut all = vec![
        bounded(&of("regimes")),
        predicted(&of("patching")),
        anisotropic(&of("propagation")),
        reduced(&of("reduction")),
        transferred(&of("transfers")),
        inverted(&of("inverse")),
    ];
    if let Some(scaling) = of("scaling").first() {
        all.push(scaled(scaling));
    }
    all
}

/// Returns an array as f64, or an empty one if the result lacks it.
fn array(result: &Labelled, name: &str) -> Vec<f64> {
    result.array(name).map_or_else(Vec::new, |a| a.data.iter().map(|&x| f64::from(x)).collect())
}

/// Groups the values of a result by prompt. Intervals resample these groups.
fn by_prompt(result: &Labelled, values: &[f64]) -> Vec<Vec<f64>> {
    let prompts = array(result, "prompt");
    let mut groups: Vec<(f64, Vec<f64>)> = Vec::new();
    for (prompt, value) in prompts.into_iter().zip(values) {
        match groups.iter_mut().find(|(p, _)| *p == prompt) {
            Some((_, group)) => group.push(*value),
            None => groups.push((prompt, vec![*value])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Concatenates groups of values.
fn pooled(draw: &[&Vec<f64>]) -> Vec<f64> {
    draw.iter().flat_map(|group| group.iter().copied()).collect()
}

/// Returns column `index` of an array `[N, width]`.
fn column(values: &[f64], width: usize, index: usize) -> Vec<f64> {
    values.iter().skip(index).step_by(width.max(1)).copied().collect()
}

fn bounded(results: &[&Labelled]) -> Statement {
    let (mut radii, mut small, mut finite) = (Vec::new(), Vec::new(), (0, 0));
    for result in results {
        let (radius, amplitudes) = (array(result, "radius"), array(result, "amplitudes"));
        finite.0 += radius.iter().filter(|r| r.is_finite()).count();
        finite.1 += radius.len();
        radii.extend(by_prompt(result, &radius));
        if let Some(i) = amplitudes.iter().position(|a| (a - 0.01).abs() < 1e-6) {
            let errors = column(&array(result, "error"), amplitudes.len(), i);
            // An error that rounding hides is NaN, and does not count.
            small.extend(errors.into_iter().filter(|e| !e.is_nan()));
        }
    }
    let middle =
        |draw: &[&Vec<f64>]| stats::median(&pooled(draw).into_iter().filter(|r| r.is_finite()).collect::<Vec<f64>>());
    let figure = bootstrap(&radii, 1, middle);
    let (error, share) = (stats::median(&small), finite.0 as f64 / finite.1.max(1) as f64);
    let all = stats::sorted(
        &pooled(&radii.iter().collect::<Vec<_>>()).into_iter().filter(|r| r.is_finite()).collect::<Vec<f64>>(),
    );
    Statement {
        name: "linear regime",
        claim: "The response to a localised source is linear up to a bounded amplitude.",
        measure: "median linear radius, in units of |h[l,t]|: where the first-order error reaches 20 %",
        detail: format!(
            "a source of 1 % of |h| has a median error of {:.1} %; {:.0} % of {} sources have a finite radius, nine in ten \
             of them between {:.2} and {:.2}",
            100.0 * error,
            100.0 * share,
            finite.1,
            stats::quantile(&all, 0.05),
            stats::quantile(&all, 0.95),
        ),
        rule: "holds if the median error at 1 % of |h| is below 5 % and nine in ten radii are finite; partly if the error is \
               below 20 %",
        verdict: verdict(figure, error < 0.05 && share >= 0.9, error < 0.2),
        figure,
    }
}

/// Returns the verdict for a figure, or `Unknown` if the figure is NaN.
fn verdict(figure: Interval, holds: bool, partly: bool) -> Verdict {
    if figure.estimate.is_nan() { Verdict::Unknown } else { Verdict::of(holds, partly) }
}

fn predicted(results: &[&Labelled]) -> Statement {
    let kinds: Vec<String> = results
        .first()
        .and_then(|r| r.metadata.get("kinds"))
        .map_or_else(Vec::new, |k| k.split(',').map(str::to_owned).collect());
    let mut by_kind = vec![Vec::<Pairs>::new(); kinds.len()];
    for result in results {
        let [predicted, actual, kind, prompt] =
            ["predicted", "actual", "kind", "prompt"].map(|name| array(result, name));
        let last = prompt.iter().fold(0.0f64, |m, p| m.max(*p)) as usize;
        for (k, pairs) in by_kind.iter_mut().enumerate() {
            for p in 0..=last {
                let whole = Pairs { predicted: predicted.clone(), actual: actual.clone() };
                let mine = whole.filter(|i| kind[i] as usize == k && prompt[i] as usize == p);
                if !mine.is_empty() {
                    pairs.push(mine);
                }
            }
        }
    }
    let interval = |pairs: &[Pairs]| {
        bootstrap(pairs, 2, |draw| {
            let mut all = Pairs::default();
            draw.iter().for_each(|p| all.extend(p));
            all.agreement().pearson
        })
    };
    let each: Vec<Interval> = by_kind.iter().map(|pairs| interval(pairs)).collect();
    let figure = each.first().copied().unwrap_or(NOTHING);
    let names = kinds.iter().zip(&each).map(|(k, i)| format!("{k} {:.2}", i.estimate));
    Statement {
        name: "sensitivities predict patches",
        claim: "First-order sensitivities predict the effects of activation patches.",
        measure: "Pearson correlation of predicted and actual effects of patching h[l,t]",
        detail: format!("by kind of site: {}", names.collect::<Vec<_>>().join(", ")),
        rule: "holds if the interval lies above 0.9; partly if the correlation is above 0.5",
        verdict: verdict(figure, figure.low > 0.9, figure.estimate > 0.5),
        figure,
    }
}

const NOTHING: Interval = Interval { estimate: f64::NAN, low: f64::NAN, high: f64::NAN };

fn anisotropic(results: &[&Labelled]) -> Statement {
    let (mut ranks, mut stays, mut captured, mut d) = (Vec::new(), Vec::new(), Vec::new(), 0.0);
    for result in results {
        ranks.extend(by_prompt(result, &array(result, "stable_rank")));
        captured.extend(array(result, "captured"));
        d = result.metadata.get("d").and_then(|d| d.parse().ok()).unwrap_or(d);
        let (sources, by_level) = (array(result, "level").len(), array(result, "stays"));
        let width = by_level.len() / sources.max(1);
        stays.extend(column(&by_level, width, width.saturating_sub(1)));
    }
    let figure = bootstrap(&ranks, 3, |draw| stats::median(&pooled(draw)));
    Statement {
        name: "structured propagation",
        claim: "Responses propagate anisotropically: a few directions carry most of what a place sends to the end.",
        measure: "stable rank of the operator from a place to all of level L: |G|_F^2 / s1^2",
        detail: format!(
            "of {d:.0} directions; eight singular values carry {:.0} % of the energy (median), and {:.0} % of the energy of a \
             displacement is still at its own token at level L",
            100.0 * stats::median(&captured),
            100.0 * stats::median(&stays),
        ),
        rule: "holds if the interval lies below d / 10; partly if the median is below d / 3",
        verdict: verdict(figure, figure.high < d / 10.0, figure.estimate < d / 3.0),
        figure,
    }
}

/// Position of the bases by role on the axis `basis`.
const BY_ROLE: usize = 1;

fn reduced(results: &[&Labelled]) -> Statement {
    let cell = |result: &Labelled, basis: usize, method: &str| {
        let ranks = result.array("ranks").map_or(&[][..], |ranks| &ranks.data);
        let methods: Vec<&str> = result.metadata.get("methods").map_or_else(Vec::new, |m| m.split(',').collect());
        let at = compared_rank(ranks).zip(methods.iter().position(|m| *m == method));
        let index = at.map(|(rank, method)| (basis * methods.len() + method) * ranks.len() + rank);
        index.and_then(|index| array(result, "error").get(index).copied()).unwrap_or(f64::NAN)
    };
    let of = |basis, method| results.iter().map(|r| cell(r, basis, method)).collect::<Vec<f64>>();
    let figure =
        bootstrap(&of(BY_ROLE, "balanced"), 4, |draw| stats::mean(&draw.iter().map(|x| **x).collect::<Vec<f64>>()));
    let [pod, random, shuffled] = ["pod", "random", "shuffled"].map(|method| stats::mean(&of(BY_ROLE, method)));
    let floor: Vec<f64> = results.iter().flat_map(|r| array(r, "floor")).collect();
    let enough: Vec<String> = results.iter().filter_map(|r| dimensions(r).into_iter().nth(BY_ROLE)).collect();
    Statement {
        name: "reduced descriptions",
        claim: "A few directions of one level describe the response.",
        measure: "relative error of actual effects of held-out patches, through 16 balanced directions for each role of \
                  token",
        detail: format!(
            "with one basis for all tokens {:.2}, with principal components (POD) {pod:.2}, with random directions \
             {random:.2}, with balanced directions of shuffled pairs {shuffled:.2}, with all directions {:.2}; directions \
             within 0.05 of all, for each task: {}",
            stats::mean(&of(0, "balanced")),
            stats::mean(&floor),
            enough.join(", ")
        ),
        rule: "holds if the error is below 0.2 and random directions are twice as bad; partly if it is below 0.5",
        verdict: verdict(figure, figure.estimate < 0.2 && random >= 2.0 * figure.estimate, figure.estimate < 0.5),
        figure,
    }
}

fn transferred(results: &[&Labelled]) -> Statement {
    // For each prompt, the mean over the inner levels.
    let inner = |result: &Labelled, name: &str| -> Vec<f64> {
        let prompts = array(result, "prompt").len().max(1);
        let values = array(result, name);
        let width = values.len() / prompts;
        let rows = values.chunks(width.max(1));
        rows.map(|row| stats::mean(row.get(1..width.saturating_sub(1)).unwrap_or_default())).collect()
    };
    let of =
        |name: &str| -> Vec<f64> { results.iter().flat_map(|r| inner(r, name)).filter(|x| x.is_finite()).collect() };
    let average = |draw: &[&f64]| stats::mean(&draw.iter().map(|x| **x).collect::<Vec<f64>>());
    let figure = bootstrap(&of("best"), 5, average);
    let (random, shuffled) = (bootstrap(&of("random_best"), 5, average), bootstrap(&of("shuffled_best"), 5, average));
    let control = [random.high, shuffled.high].into_iter().filter(|x| x.is_finite()).fold(0.0, f64::max);
    Statement {
        name: "answers are carried over",
        claim: "Displacements between prompts partly transfer answers.",
        measure: "fraction of the answer that the best single h[l,t] carries over, mean over the inner levels",
        detail: format!(
            "controls of the same length: random directions {:.2} ({:.2} to {:.2}), displacements to other prompts {:.2} \
             ({:.2} to {:.2})",
            random.estimate, random.low, random.high, shuffled.estimate, shuffled.low, shuffled.high
        ),
        rule: "holds if the interval lies above both controls' and above 0.2; partly if above both controls'",
        verdict: verdict(figure, figure.low > control && figure.low > 0.2, figure.low > control),
        figure,
    }
}

fn inverted(results: &[&Labelled]) -> Statement {
    // Column 1 is the goal of a quarter of the difference.
    let quarter = |result: &&Labelled| column(&array(result, "achieved"), 4, 1);
    let all: Vec<f64> = results.iter().flat_map(quarter).collect();
    let figure = bootstrap(&all, 6, |draw| stats::median(&draw.iter().map(|x| **x).collect::<Vec<f64>>()));
    let of = |name: &str| stats::median(&results.iter().flat_map(|r| array(r, name)).collect::<Vec<f64>>());
    let names = results.first().and_then(|r| r.metadata.get("baselines")).cloned().unwrap_or_default();
    let count = names.split(',').count();
    let ratio = |b: usize| {
        stats::median(&results.iter().flat_map(|r| column(&array(r, "energy_ratio"), count, b)).collect::<Vec<f64>>())
    };
    let ratios = names.split(',').enumerate().map(|(b, name)| format!("{name} {:.1}", ratio(b)));
    Statement {
        name: "patches can be chosen",
        claim: "The adjoint finds sources of least energy that change an observable as asked.",
        measure: "achieved change over the goal, a quarter of the way to the other prompt's answer",
        detail: format!(
            "the whole way after Newton steps: {:.2}, with two places only {:.2}; energy of baselines over the least: {}",
            of("refined"),
            of("greedy"),
            ratios.collect::<Vec<_>>().join(", ")
        ),
        rule: "holds if the median is within 20 % of the goal; partly within 50 %",
        verdict: verdict(figure, (figure.estimate - 1.0).abs() <= 0.2, (figure.estimate - 1.0).abs() <= 0.5),
        figure,
    }
}

fn scaled(result: &Labelled) -> Statement {
    // Values of the last small model, which is the largest. Quantity 0 with predictor 0 is the affine map of the
    // effects.
    let last = |name: &str, quantity: usize, predictor: usize| {
        let values = array(result, name);
        values.len().checked_sub(12).map_or(f64::NAN, |first| values[first + 4 * quantity + predictor])
    };
    let figure = Interval {
        estimate: last("correlation", 0, 0),
        low: last("correlation_low", 0, 0),
        high: last("correlation_high", 0, 0),
    };
    let (mean, random) = (last("correlation", 0, 2), last("correlation", 0, 3));
    Statement {
        name: "small predicts large",
        claim: "Responses of a small model predict those of a large one.",
        measure: "held-out correlation of patch effects, affine map by relative depth, largest of the small models",
        detail: format!(
            "the level's mean alone {mean:.2}, a random small model {random:.2}; sensitivities {:.2}, token slices {:.2}",
            last("correlation", 1, 0),
            last("correlation", 2, 0),
        ),
        rule: "holds if the interval lies above 0.8 and above both controls; partly if it lies above both controls",
        verdict: verdict(figure, figure.low > 0.8 && figure.low > mean.max(random), figure.low > mean.max(random)),
        figure,
    }
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
