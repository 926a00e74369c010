//! Cross-scale transfer in a study: responses of smaller models as predictions of those of the large model, over all
//! tasks.

use resolvent_model::{Model, TokenPair};

use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::scale::{PREDICTORS, QUANTITIES, ScaleOptions, scale};
use crate::stats::Pairs;

use super::StudyOptions;
use super::left_out::Record;
use super::tasks::Task;

/// Number of tokens of the shared slice, at most.
const SLICE: usize = 8;

/// Compares each small model with the large one.
///
/// Arrays: `correlation`, `correlation_low`, `correlation_high` and `explained [M, 3, 4]` (small model, quantity,
/// predictor), as [`scale`] computes them; `task_agreement [M, K, 3]` (small model, task, statistic): Pearson's
/// correlation, slope and relative error of the held-out effects of each task by the affine map. Small models that
/// cannot be compared are recorded, and have no row.
pub(super) fn step(
    small: &[Model],
    large: &Model,
    tasks: &[(String, Vec<TokenPair>)],
    options: &StudyOptions,
    record: &mut Record,
) -> Result<Labelled> {
    let most = if options.quick { 6 } else { 12 };
    let (mut found, mut agreement) = (Vec::new(), Vec::new());
    for model in small {
        let compared = compared(model, large, tasks, (most, options), record);
        if let Some((result, of_prompts)) = record.attempt(&format!("model {}", model.name()), compared)? {
            agreement.extend(by_task(&result, &of_prompts, tasks.len()));
            found.push((model.name(), result));
        }
    }
    let Some((_, last)) = found.last() else {
        return Err(Error::Input("no small model can be compared".to_owned()));
    };
    let mut result = last.metadata_alone();
    result.metadata.remove("tokens");
    let axes = [("small", found.len()), ("quantity", QUANTITIES.len()), ("predictor", PREDICTORS.len())];
    for name in ["correlation", "correlation_low", "correlation_high", "explained"] {
        let of = |(_, result): &(&str, Labelled)| result.array(name).map_or_else(Vec::new, |a| a.data.clone());
        result = result.with(name, &axes, found.iter().flat_map(of).collect());
    }
    let axes = [("small", found.len()), ("task", tasks.len()), ("statistic", 3)];
    let names: Vec<&str> = tasks.iter().map(|(name, _)| name.as_str()).collect();
    let mut result = result.with("task_agreement", &axes, agreement).note("task_statistics", "pearson,slope,error");
    result = result.note("tasks", serde_json::json!(names).to_string());
    for (name, one) in &found {
        record.check(&format!("model {name}"), &one.certificates);
    }
    Ok(result.note("small", found.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",")))
}

/// Compares one small model with the large one, on up to `most` pairs of each task. J of each pair differs in both
/// models. Returns the task of each pair too.
fn compared(
    model: &Model,
    large: &Model,
    tasks: &[(String, Vec<TokenPair>)],
    (most, options): (usize, &StudyOptions),
    record: &mut Record,
) -> Result<(Labelled, Vec<usize>)> {
    let mut by_task = Vec::new();
    for (_, pairs) in tasks {
        let mut usable: Option<Vec<TokenPair>> = None;
        for model in [large, model] {
            let task = Task { model, pairs: usable.as_deref().unwrap_or(pairs), options };
            usable = Some(task.usable(most, record)?);
        }
        by_task.push(usable.unwrap_or_default());
    }
    // Interleave the tasks, so that the prompts to fit on and the prompts to predict both contain all of them.
    let round = |i: usize| {
        let nth = move |(task, pairs): (usize, &Vec<TokenPair>)| Some((task, pairs.get(i)?.clone()));
        by_task.iter().enumerate().filter_map(nth)
    };
    let (of_prompts, prompts): (Vec<usize>, Vec<TokenPair>) = (0..most).flat_map(round).unzip();
    let mut tokens: Vec<u32> = prompts.iter().flat_map(|pair| pair.observable.entries()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let step = tokens.len().div_ceil(SLICE).max(1);
    let tokens: Vec<u32> = tokens.into_iter().step_by(step).collect();
    let options = ScaleOptions { train: prompts.len() / 2, tokens, seed: options.seed };
    Ok((scale(model, large, &prompts, &options)?, of_prompts))
}

/// Returns the statistics of the predicted effects of each task: `[K, 3]`. They are NaN for a task without held-out
/// prompts.
fn by_task(result: &Labelled, of_prompts: &[usize], tasks: usize) -> Vec<f32> {
    let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
    let (all, prompts) = (Pairs::new(of("predicted"), of("actual")), of("prompt"));
    let of_task = |task: usize| {
        let pairs = all.filter(|i| of_prompts.get(prompts[i] as usize) == Some(&task));
        [pairs.pearson(), pairs.slope(), pairs.relative_error()].map(|x| x as f32)
    };
    (0..tasks).flat_map(of_task).collect()
}
