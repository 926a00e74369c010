//! Cross-scale transfer in a study: responses of smaller models as predictions of those of the large model, over all
//! tasks.

use resolvent_model::{Model, TokenPair};

use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::scale::{PREDICTORS, QUANTITIES, ScaleOptions, scale};

use super::StudyOptions;
use super::left_out::Record;
use super::tasks::Task;

/// Number of tokens of the shared slice, at most.
const SLICE: usize = 8;

/// Compares each small model with the large one.
///
/// Arrays: `correlation`, `correlation_low`, `correlation_high` and `explained [M, 3, 4]` (small model, quantity,
/// predictor), as [`scale`] computes them. Small models that cannot be compared are recorded, and have no row.
pub(super) fn step(
    small: &[Model],
    large: &Model,
    tasks: &[(String, Vec<TokenPair>)],
    options: &StudyOptions,
    record: &mut Record,
) -> Result<Labelled> {
    let most = if options.quick { 6 } else { 12 };
    let mut found = Vec::new();
    for model in small {
        let compared = compared(model, large, tasks, (most, options), record);
        if let Some(result) = record.attempt(&format!("model {}", model.name()), compared)? {
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
    for (name, one) in &found {
        record.check(&format!("model {name}"), &one.certificates);
    }
    Ok(result.note("small", found.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",")))
}

/// Compares one small model with the large one, on up to `most` pairs of each task. J of each pair differs in both
/// models.
fn compared(
    model: &Model,
    large: &Model,
    tasks: &[(String, Vec<TokenPair>)],
    (most, options): (usize, &StudyOptions),
    record: &mut Record,
) -> Result<Labelled> {
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
    let round = |i: usize| by_task.iter().filter_map(move |pairs| pairs.get(i).cloned());
    let prompts: Vec<TokenPair> = (0..most).flat_map(round).collect();
    let mut tokens: Vec<u32> = prompts.iter().flat_map(|pair| pair.observable.entries()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let step = tokens.len().div_ceil(SLICE).max(1);
    let tokens: Vec<u32> = tokens.into_iter().step_by(step).collect();
    scale(model, large, &prompts, &ScaleOptions { train: prompts.len() / 2, tokens, seed: options.seed })
}
