//! Patch effects of a task and their first-order predictions, at every kind of site.

use resolvent_model::Mode;

use crate::certificate::adjoint;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::patch::{Effects, effects};
use crate::site_kind::SiteKind;
use crate::stats::{self, Interval, Pairs};

use super::left_out::Record;
use super::tasks::{Columns, Runs, Task};

/// The name of a statistic, and the function that computes it alone: intervals compute it a thousand times.
type Statistic = (&'static str, fn(&Pairs) -> f64);

/// Statistics, in the order of the axis of `agreement`.
const STATISTICS: [Statistic; 5] = [
    ("pearson", Pairs::pearson),
    ("spearman", Pairs::spearman),
    ("sign", Pairs::sign_agreement),
    ("slope", Pairs::slope),
    ("error", Pairs::relative_error),
];

/// Returns the names of the statistics, for the metadata.
pub(super) fn statistics() -> String {
    STATISTICS.map(|(name, _)| name).join(",")
}

/// Returns each statistic of the predictions with its 95 % interval over prompts: `[5, 3]`.
pub(super) fn agreement(of_prompts: &[Pairs], seed: u64) -> Vec<f32> {
    let of = |(_, statistic): Statistic| {
        let joined = |draw: &[&Pairs]| statistic(&Pairs::joined(draw.iter().copied()));
        let Interval { estimate, low, high } = stats::interval(of_prompts, seed, joined);
        [estimate as f32, low as f32, high as f32]
    };
    STATISTICS.map(of).concat()
}

/// The kinds of sites of a whole study.
const KINDS: [SiteKind; 8] = [
    SiteKind::Resid,
    SiteKind::Mid,
    SiteKind::AttnOut,
    SiteKind::MlpOut,
    SiteKind::Q,
    SiteKind::K,
    SiteKind::V,
    SiteKind::Z,
];

/// Computes patch effects and their first-order predictions for the pairs of a task.
///
/// Arrays over all patches `[N]`: `kind` (index into the metadata's `kinds`), `prompt`, `layer`, `token`, `predicted`,
/// `actual` and `floor`, the noise floor of both; the last three are divided by |J(clean) - J(corrupted)| of the pair.
/// Table: `agreement [K, 5, 3]` (kind, statistic, estimate and 95 % interval over prompts). Maps of the first pair:
/// `example_effect` and `example_first_order [L+1, T]`.
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    let kinds: &[SiteKind] = match task.options.quick {
        true => &[SiteKind::Resid, SiteKind::AttnOut, SiteKind::MlpOut, SiteKind::Z],
        false => &KINDS,
    };
    let runs = task.runs(task.size(6, task.options.prompts), kinds, record)?;
    let cases = runs.cases();
    let (mut columns, mut table, mut example) = (Columns::new(|_| ""), Vec::new(), None);
    for (k, &kind) in kinds.iter().enumerate() {
        let all = each_effect(&runs, kind, record)?;
        let mut of_prompts = Vec::with_capacity(all.len());
        for (prompt, effects) in &all {
            let case = &cases[*prompt];
            let scale = runs.range(*prompt);
            let normed = |x: &[f32]| -> Vec<f32> { x.iter().map(|&x| (f64::from(x) / scale) as f32).collect() };
            let (predicted, actual) = (normed(&effects.first_order), normed(&effects.effect));
            let axes = kind.axes(task.model.sizes(), case.clean.tokens().len());
            let (rows, tokens) = (actual.len() / axes[0].1, axes[axes.len() - 1].1);
            for i in 0..actual.len() {
                columns.push("kind", k as f64);
                columns.push("prompt", *prompt as f64);
                columns.push("layer", (i / rows) as f64);
                columns.push("token", (i % tokens) as f64);
            }
            columns.extend("predicted", &predicted);
            columns.extend("actual", &actual);
            columns.extend("floor", &vec![(effects.floor / scale) as f32; actual.len()]);
            of_prompts.push(Pairs::above(&predicted, &actual, effects.floor / scale));
        }
        table.extend(agreement(&of_prompts, task.options.seed));
        if kind == SiteKind::Resid {
            example = all.into_iter().next();
        }
    }
    let names: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
    let axes = [("kind", kinds.len()), ("statistic", STATISTICS.len()), ("bound", 3)];
    let mut result = columns
        .needed()?
        .into(task.labelled("patching", &runs), "patch")
        .with("agreement", &axes, table)
        .note("kinds", names.join(","))
        .note("statistics", statistics());
    if let Some((prompt, example)) = example {
        let axes = SiteKind::Resid.axes(task.model.sizes(), runs.clean[prompt].tokens().len());
        result = result
            .with("example_effect", &axes, example.effect)
            .with("example_first_order", &axes, example.first_order)
            .note("labels", task.labels(&runs.corrupted[prompt]));
    }
    record.check("first pair", &[adjoint(&runs.corrupted[0].linearize(Mode::Exact), 1)?]);
    Ok(result)
}

/// Returns the patches of a step's result that count, each with its index: the predicted and the actual effect. A
/// patch whose two values are both exactly 0 does not count, because no effect is possible there. Values below the
/// noise floor are 0.
pub fn counted_patches(result: &Labelled) -> Vec<(usize, [f64; 2])> {
    let [predicted, actual, floor] = ["predicted", "actual", "floor"].map(|name| result.array(name));
    let (Some(predicted), Some(actual), Some(floor)) = (predicted, actual, floor) else { return Vec::new() };
    let each = predicted.data.iter().zip(&actual.data).zip(&floor.data).enumerate();
    let counted = each.filter_map(|(i, ((&predicted, &actual), &floor))| {
        let (predicted, actual) = stats::above(predicted, actual, f64::from(floor))?;
        Some((i, [predicted, actual]))
    });
    counted.collect()
}

/// Returns the effects of the pairs, each with its index in `runs`. All pairs are swept together. If that fails, each
/// pair is swept alone, and pairs that fail are recorded.
fn each_effect(runs: &Runs, kind: SiteKind, record: &mut Record) -> Result<Vec<(usize, Effects)>> {
    let cases = runs.cases();
    if let Ok(all) = effects(&cases, kind) {
        return Ok(all.into_iter().enumerate().collect());
    }
    let mut all = Vec::new();
    for (prompt, case) in cases.into_iter().enumerate() {
        let what = format!("{} at {kind}", runs.names[prompt]);
        let one = record.attempt(&what, effects(&[case], kind))?;
        all.extend(one.into_iter().flatten().map(|effects| (prompt, effects)));
    }
    Ok(all)
}
