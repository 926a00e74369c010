//! The rules of the linear regime and of predicted patches.

use crate::labelled::Labelled;
use crate::stats::{self, Pairs};
use crate::study::figure::{Beside, Figure};
use crate::study::patching::counted_patches;
use crate::study::samples::{Results, array, by_prompt, list, medians, pooled, rows, samples};
use crate::study::statement::{Better, Rule, Statement};

pub(super) fn bounded(results: &Results<'_>) -> Statement {
    let radii = samples(results, |result| by_prompt(result, &array(result, "radius")));
    let quantile = |q: f64| radii.figure(1, move |draw| stats::quantile(&stats::sorted(&pooled(draw)), q));
    // An error that rounding hides is NaN, and does not count.
    let error = medians(results, 1, |result| {
        let at = array(result, "amplitudes").iter().position(|a| (a - 0.01).abs() < 1e-6);
        rows(result, "error").iter().filter_map(|row| row.get(at?).copied()).collect()
    });
    let finite = radii.figure(1, |draw| {
        let radii: Vec<f64> = draw.iter().flat_map(|group| group.iter().copied()).collect();
        radii.iter().filter(|r| r.is_finite()).count() as f64 / radii.len() as f64
    });
    let verdicts = [error.interval.high < 0.05 && finite.interval.low > 0.9, error.interval.high < 0.2];
    let beside = vec![
        error.named("median error of a source of 1 % of |h|"),
        finite.named("share of sources with a finite radius"),
        quantile(0.05).named("radius that 5 % of the sources are below"),
        quantile(0.95).named("radius that 95 % are below"),
    ];
    Rule {
        name: "linear regime",
        claim: "The response to a localised source is linear up to a bounded amplitude.",
        measure: "median linear radius, in units of |h[l,t]|: where the first-order error reaches 20 %",
        rule: "holds if the interval of the error at 1 % of |h| lies below 5 % and that of the share of finite radii above \
               0.9; partly if that of the error lies below 20 %",
        better: Better::Higher,
    }
    .statement(quantile(0.5), (beside, String::new()), verdicts)
}

pub(super) fn predicted(results: &Results<'_>) -> Statement {
    let of = |kind: usize, statistic: fn(&Pairs) -> f64| -> Figure {
        let prompts = samples(results, |result| counted(result, kind));
        prompts.figure(2, |draw| statistic(&Pairs::joined(draw.iter().copied())))
    };
    let (figure, error) = (of(0, Pairs::pearson), of(0, Pairs::relative_error));
    let (low, error_high) = (figure.interval.low, error.interval.high);
    let mut beside = vec![error.named("relative error"), of(0, Pairs::slope).named("slope of actual over predicted")];
    let others = list(results, "kinds").into_iter().enumerate().skip(1);
    beside.extend(
        others.map(|(kind, name)| -> Beside { of(kind, Pairs::pearson).named(format!("correlation at {name}")) }),
    );
    Rule {
        name: "sensitivities predict patches",
        claim: "First-order sensitivities predict the effects of activation patches.",
        measure: "Pearson correlation of predicted and actual effects of patching h[l,t]",
        rule: "holds if the interval lies above 0.9 and that of the relative error below 0.5; partly if the interval of the \
               correlation lies above 0.5",
        better: Better::Higher,
    }
    .statement(figure, (beside, String::new()), [low > 0.9 && error_high < 0.5, low > 0.5])
}

/// Returns the patches of one kind that count, by prompt. Prompts without any are left out.
fn counted(result: &Labelled, kind: usize) -> Vec<Pairs> {
    let kinds = array(result, "kind");
    let mut counted = vec![None; kinds.len()];
    for (i, pair) in counted_patches(result).into_iter().filter(|(i, _)| kinds[*i] as usize == kind) {
        counted[i] = Some(pair);
    }
    let prompts = by_prompt(result, &counted).into_iter().map(|prompt| {
        let (predicted, actual) = prompt.into_iter().flatten().map(|[predicted, actual]| (predicted, actual)).unzip();
        Pairs { predicted, actual }
    });
    prompts.filter(|pairs| !pairs.is_empty()).collect()
}
