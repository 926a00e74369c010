//! Pairs of prompts as tokens of two models, and which of these tokens end at the same place of the text.

use resolvent_model::{Model, PromptRow, PromptSet, PromptText, TokenPair};

use super::pairs::{LEAST, alternating};
use crate::error::{Error, Result};

/// A pair of prompts as tokens of two models.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignedPair {
    /// As tokens of the small model.
    pub small: TokenPair,
    /// As tokens of the large model.
    pub large: TokenPair,
    /// The tokens, of the small and of the large model, up to which both have read the same text in both prompts.
    pub tokens: Vec<[usize; 2]>,
}

impl AlignedPair {
    /// Returns a pair of models that share a tokenizer.
    pub fn shared(pair: TokenPair) -> Self {
        let tokens = (0..pair.clean.len()).map(|t| [t, t]).collect();
        Self { small: pair.clone(), large: pair, tokens }
    }

    /// Returns a row as a pair of both models; `None` if fewer than two of their tokens end at the same places.
    fn of(row: &PromptRow, [small, large]: [TokenPair; 2], models: [&Model; 2]) -> Result<Option<Self>> {
        if small.clean == large.clean && small.corrupted == large.corrupted {
            return Ok(Some(Self::shared(small)));
        }
        let texts = [Some(&row.clean), row.corrupted.as_ref()];
        let [Some(PromptText::Text(clean)), Some(PromptText::Text(corrupted))] = texts else { return Ok(None) };
        let of = |text: &str| -> Result<Vec<[usize; 2]>> {
            let mut ends = Vec::with_capacity(2);
            for model in models {
                ends.push(
                    model.text_tokenizer()?.map(|tokenizer| tokenizer.ends(text)).transpose()?.unwrap_or_default(),
                );
            }
            Ok(aligned([&ends[0], &ends[1]]))
        };
        let (mut tokens, other) = (of(clean)?, of(corrupted)?);
        tokens.retain(|pair| other.contains(pair));
        Ok((tokens.len() > 1).then_some(Self { small, large, tokens }))
    }
}

/// Returns the pairs of tokens that end at the same byte of one text, given the ends in both tokenizers. Of several
/// tokens that end there, the last one counts: it has read the text so far.
fn aligned([small, large]: [&[Option<usize>]; 2]) -> Vec<[usize; 2]> {
    let last = |ends: &[Option<usize>], end: usize| ends.iter().rposition(|other| *other == Some(end));
    let mut pairs: Vec<[usize; 2]> =
        small.iter().flatten().filter_map(|&end| Some([last(small, end)?, last(large, end)?])).collect();
    pairs.dedup();
    pairs
}

/// Pairs of prompts for maps between two models: the first ones fit the maps.
#[derive(Clone, Debug)]
pub struct OperatorPairs {
    /// The pairs.
    pub pairs: Vec<AlignedPair>,
    /// How many of them fit the maps.
    pub train: usize,
}

/// Returns the pairs of `tasks`, or of all, at most `limit` of each task. The tokens of the two models may differ; they
/// are aligned where both end at the same place of the text.
///
/// The pairs of the tasks `fit_on` fit the maps, and those of other tasks are predicted. Without `fit_on`, one half
/// fits the maps, and tasks alternate.
///
/// # Errors
/// A task that is not in the set or in both lists, a model without a tokenizer, or fewer than four pairs.
pub fn operator_pairs(
    set: &PromptSet,
    [fit_on, tasks]: [&[String]; 2],
    limit: usize,
    models: [&Model; 2],
) -> Result<OperatorPairs> {
    if let Some(both) = fit_on.iter().find(|name| tasks.contains(name)) {
        return Err(Error::Input(format!(
            "the maps are fitted on task `{both}`, so it cannot be predicted; name others"
        )));
    }
    let join = |row: &PromptRow, pairs| AlignedPair::of(row, pairs, models);
    let advice = format!(
        "have two or more tokens that end at the same places of the text in both; at least {LEAST} are needed: give \
         other --prompts"
    );
    let of = |tasks: &[String]| alternating(&set.named(tasks)?, limit, models, (&join, &advice));
    if fit_on.is_empty() {
        let pairs = of(tasks)?;
        let train = pairs.len() / 2;
        return Ok(OperatorPairs { pairs, train });
    }
    let others = || set.tasks.keys().filter(|name| !fit_on.contains(name)).cloned().collect();
    let predicted: Vec<String> = if tasks.is_empty() { others() } else { tasks.to_vec() };
    if predicted.is_empty() {
        return Err(Error::Input("the maps are fitted on all tasks, so none is left to predict".to_owned()));
    }
    let (mut pairs, held_out) = (of(fit_on)?, of(&predicted)?);
    let train = pairs.len();
    pairs.extend(held_out);
    Ok(OperatorPairs { pairs, train })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_aligned_at_shared_ends() {
        let of = |ends: &[usize]| ends.iter().map(|&end| Some(end)).collect::<Vec<_>>();
        let (a, mut b) = (of(&[3, 7, 9, 12]), of(&[3, 5, 9, 9, 12]));
        assert_eq!(aligned([&a, &b]), [[0, 0], [2, 3], [3, 4]]);
        assert_eq!(aligned([&b, &a]), [[0, 0], [3, 2], [4, 3]]);
        b.insert(0, None);
        assert_eq!(aligned([&a, &b]), [[0, 1], [2, 4], [3, 5]], "an added token has no end");
        assert_eq!(aligned([&a, &[]]), [[0usize; 2]; 0]);
    }
}
