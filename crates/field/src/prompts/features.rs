//! Features of a dictionary over many prompts.

use resolvent_model::{Model, PromptCase, Run};

use super::{CaseRuns, Prompts, clean_alone, others, over_prompts};
use crate::certificate::narrow;
use crate::dictionary::Dictionary;
use crate::error::Result;
use crate::features::{FeatureOptions, Moving, changed_factors};
use crate::labelled::Labelled;
use crate::slice::OnProgress;

/// Attributes the effects of many prompts to the features of a dictionary; see [`crate::features`]. Features of the
/// corrupted prompt become those of the clean one. If no row has a corrupted prompt, features become zero; else rows
/// without one are left out.
///
/// All prompts have the same features: those with the largest mean first-order effects. With
/// [`FeatureOptions::controls`], the array `other_prompts [P, K]` is the root mean square of their first-order effects
/// if each moves as in the last tokens of another prompt, as far in all as it does in this one.
///
/// # Errors
/// A dictionary that does not fit the model, no prompt that can be analysed, or a device error.
pub fn features_of_prompts(
    model: &Model,
    cases: &[PromptCase],
    dictionary: &Dictionary,
    options: FeatureOptions,
    progress: OnProgress<'_>,
) -> Result<Labelled> {
    let sites = dictionary.sites(model.sizes())?.concat();
    let (pairs, all) = (cases.iter().any(|case| case.corrupted.is_some()), 2 * cases.len() as u64);
    let of = |runs: &CaseRuns<'_>, result: &dyn Fn(&[u32], &Moving<'_>) -> Result<Labelled>| {
        let (run, target) = match pairs {
            true => (runs.patched()?.corrupted, Some(&runs.clean)),
            false => (&runs.clean, None),
        };
        result(runs.clean.tokens(), &Moving::of(run, target, dictionary, runs.observable()?)?)
    };
    let effects = |_: &[u32], moving: &Moving<'_>| {
        let mut effects = vec![0.0f32; dictionary.features()];
        moving.effects().for_each(|(feature, effect)| effects[feature as usize] = effect as f32);
        Ok(Labelled::default().with("effects", &[("feature", effects.len())], effects))
    };
    let first = over_prompts(
        model,
        cases,
        &sites,
        &mut |runs| Ok(runs.iter().map(|runs| of(runs, &effects)).collect()),
        &mut |done, _| progress(done, all),
    )?;
    first.some()?;
    let top = strongest(&first, options.top);
    let set = match (options.controls, pairs) {
        (0, _) => Vec::new(),
        (_, true) => others::pairs(cases),
        (_, false) => clean_alone(cases),
    };
    let moved = |tokens: &[u32], moving: &Moving<'_>| {
        let result = moving.result(&top, options.exact)?;
        if options.controls == 0 {
            return Ok(result);
        }
        let runs = others::other_runs(model, &set, (tokens, options.controls), &sites)?;
        let changes = |runs: &[Run]| match runs {
            [clean, corrupted] => changed_factors(corrupted, Some(clean), dictionary),
            runs => changed_factors(&runs[0], None, dictionary),
        };
        let changes = runs.chunks(if pairs { 2 } else { 1 }).map(changes).collect::<Result<Vec<_>>>()?;
        Ok(result.with("other_prompts", &[("feature", top.len())], narrow(&moving.other_prompts(&changes, &top))))
    };
    let found = over_prompts(
        model,
        cases,
        &sites,
        &mut |runs| Ok(runs.iter().map(|runs| of(runs, &moved)).collect()),
        &mut |done, _| progress(cases.len() as u64 + done, all),
    )?;
    found.stack()
}

/// Returns the `count` features with the largest mean effects, in descending order. Features without an effect are left
/// out.
fn strongest(prompts: &Prompts, count: usize) -> Vec<u32> {
    let mut mean: Vec<f64> = Vec::new();
    for effects in prompts.results.iter().filter_map(|result| result.array("effects")) {
        mean.resize(effects.data.len(), 0.0);
        let share = 1.0 / prompts.results.len() as f64;
        mean.iter_mut().zip(&effects.data).for_each(|(mean, effect)| *mean += share * f64::from(*effect));
    }
    let mut order: Vec<u32> = (0..mean.len() as u32).filter(|&feature| mean[feature as usize] != 0.0).collect();
    order.sort_by(|&a, &b| mean[b as usize].abs().total_cmp(&mean[a as usize].abs()).then(a.cmp(&b)));
    order.truncate(count);
    order
}
