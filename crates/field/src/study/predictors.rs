//! Comparison of predictors of patch effects at several kinds of site: where first order fails, and which predictors
//! correct it.

use resolvent_engine::counted;
use resolvent_model::Mode;

use crate::case::Case;
use crate::certificate::adjoint;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::patch::{Effects, effects};
use crate::predictor::{Predictor, PredictorOptions};
use crate::predictors::{Panel, predict_all};
use crate::site_kind::SiteKind;
use crate::stats::{Pairs, mean};

use super::left_out::Record;
use super::patching::{agreement, statistics};
use super::tasks::{Columns, Runs, Task};

/// Compares the predictors on the pairs of a task.
///
/// Arrays over all patches: `kind`, `prompt`, `layer`, `token` and `actual [N]` as in the step `patching`, `reliability
/// [N]` and `predicted [N, P]`. Tables: `agreement [K, P, 5, 3]` (kind, predictor, statistic, estimate and 95 %
/// interval over prompts), `cost [K, P]` (mean cost for a pair, in forward passes), `cost_actual [K]` (the same for the
/// actual patches) and `flagged [K]`.
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    let kinds: &[SiteKind] = match task.options.quick {
        true => &[SiteKind::Resid, SiteKind::AttnOut, SiteKind::MlpOut],
        false => &[SiteKind::Resid, SiteKind::AttnOut, SiteKind::MlpOut, SiteKind::Q, SiteKind::K, SiteKind::Z],
    };
    let options = PredictorOptions::default();
    let runs = task.runs(task.size(2, 8), kinds, record)?;
    let cases = runs.cases();
    let mut columns = Columns::new(|_| "predictor");
    let [mut table, mut cost, mut cost_actual, mut flagged] = [(); 4].map(|()| Vec::new());
    for (k, &kind) in kinds.iter().enumerate() {
        // By predictor, then by prompt.
        let mut pairs = vec![Vec::new(); Predictor::ALL.len()];
        let mut costs = vec![Vec::new(); Predictor::ALL.len()];
        let (mut actual_costs, mut shares) = (Vec::new(), Vec::new());
        for (prompt, compared) in each_compared(&runs, (kind, options), record)? {
            let (what, case) = (format!("{} at {kind}", runs.names[prompt]), &cases[prompt]);
            let Compared { panel, actual, floor, cost_actual } = compared;
            let scale = runs.range(prompt);
            record.check(&what, &panel.certificates);
            actual_costs.push(cost_actual);
            shares.push(panel.flagged);
            let normed = |x: &[f32]| -> Vec<f32> { x.iter().map(|&x| (f64::from(x) / scale) as f32).collect() };
            let actual = normed(&actual);
            let predicted: Vec<Vec<f32>> = panel.predicted.iter().map(|p| normed(&p.effect)).collect();
            let axes = kind.axes(task.model.sizes(), case.clean.tokens().len());
            let (rows, tokens) = (actual.len() / axes[0].1, axes[axes.len() - 1].1);
            for i in 0..actual.len() {
                columns.push("kind", k as f64);
                columns.push("prompt", prompt as f64);
                columns.push("layer", (i / rows) as f64);
                columns.push("token", (i % tokens) as f64);
                columns.extend("predicted", &predicted.iter().map(|p| p[i]).collect::<Vec<_>>());
            }
            columns.extend("actual", &actual);
            columns.extend("reliability", panel.reliability.as_deref().unwrap_or(&[]));
            for (p, predicted) in predicted.iter().enumerate() {
                pairs[p].push(Pairs::above(predicted, &actual, floor / scale));
                costs[p].push(panel.predicted[p].cost);
            }
        }
        for (predictor, of_prompts) in Predictor::ALL.iter().zip(&pairs) {
            // A predictor that is zero by construction predicts nothing. So nothing is compared, and its statistics are
            // undefined.
            let of_prompts = if predictor.zero_at(kind).is_some() { &[][..] } else { of_prompts };
            table.extend(agreement(of_prompts, task.options.seed));
        }
        cost.extend(costs.iter().map(|c| mean(c) as f32));
        cost_actual.push(mean(&actual_costs) as f32);
        flagged.push(mean(&shares) as f32);
    }
    let (k, p) = (("kind", kinds.len()), ("predictor", Predictor::ALL.len()));
    let result = columns
        .needed()?
        .into(task.labelled("predictors", &runs), "patch")
        .with("agreement", &[k, p, ("statistic", 5), ("bound", 3)], table)
        .with("cost", &[k, p], cost)
        .with("cost_actual", &[k], cost_actual)
        .with("flagged", &[k], flagged)
        .note("kinds", kinds.iter().map(|k| k.name()).collect::<Vec<_>>().join(","))
        .note("predictors", Predictor::ALL.map(Predictor::name).join(","))
        .note("statistics", statistics())
        .note("steps", options.steps.to_string())
        .note("flag", options.flag.to_string());
    record.check("first pair", &[adjoint(&runs.corrupted[0].linearize(Mode::Exact), 1)?]);
    Ok(result)
}

/// Predictions for one pair, and its effects.
struct Compared {
    panel: Panel,
    actual: Vec<f32>,
    /// The noise floor of an effect.
    floor: f64,
    /// Cost of the effects, in forward passes.
    cost_actual: f64,
}

/// Computes the predictions and effects of pairs. Costs are those of all of them, over forward passes of all.
fn compared(cases: &[Case<'_>], kind: SiteKind, options: PredictorOptions) -> Result<Vec<Compared>> {
    let panels = predict_all(cases, kind, &Predictor::ALL, options)?;
    let passes: f64 = panels.iter().map(|panel| panel.pass).sum();
    let (actual, work) = counted(|| effects(cases, kind));
    let cost = work.flops / passes;
    let each = panels.into_iter().zip(actual?).map(|(panel, effects)| {
        let Effects { effect: actual, floor, .. } = effects;
        let cost_actual = cost - panel.predicted[0].cost;
        Compared { panel, actual, floor, cost_actual }
    });
    Ok(each.collect())
}

/// Compares the predictors on each pair: all at once or, if that fails, one by one. Pairs that fail are recorded.
/// Returns each with its index.
fn each_compared(
    runs: &Runs,
    (kind, options): (SiteKind, PredictorOptions),
    record: &mut Record,
) -> Result<Vec<(usize, Compared)>> {
    let cases = runs.cases();
    if let Ok(all) = compared(&cases, kind, options) {
        return Ok(all.into_iter().enumerate().collect());
    }
    let mut all = Vec::new();
    for (prompt, case) in cases.iter().enumerate() {
        let what = format!("{} at {kind}", runs.names[prompt]);
        let one = record.attempt(&what, compared(&[*case], kind, options))?;
        all.extend(one.into_iter().flatten().map(|compared| (prompt, compared)));
    }
    Ok(all)
}
