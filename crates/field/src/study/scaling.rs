//! Cross-scale transfer in a study: smaller models' responses as predictions of the large one's, over all tasks.

use resolvent_model::{Model, TokenPair};

use crate::error::Result;
use crate::labelled::Labelled;
use crate::scale::{PREDICTORS, QUANTITIES, ScaleOptions, scale};

use super::StudyOptions;

/// Tokens of the shared slice.
const SLICE: usize = 8;

/// Arrays `correlation`, `correlation_low`, `correlation_high`, `explained [M, 3, 4]` (small model, quantity, predictor), as
/// [`scale`] has them.
pub(super) fn step(
    small: &[Model],
    large: &Model,
    tasks: &[(String, Vec<TokenPair>)],
    options: &StudyOptions,
) -> Result<Labelled> {
    let most = if options.quick { 4 } else { 12 };
    // Tasks in turn, so that prompts to fit on and prompts to predict have some of each.
    let turn = |i: usize| tasks.iter().filter_map(move |(_, pairs)| pairs.get(i).cloned());
    let prompts: Vec<TokenPair> = (0..most).flat_map(turn).collect();
    let mut tokens: Vec<u32> = prompts.iter().flat_map(|p| [p.target, p.against]).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let step = tokens.len().div_ceil(SLICE).max(1);
    let tokens: Vec<u32> = tokens.into_iter().step_by(step).collect();
    let options = ScaleOptions { train: prompts.len() / 2, tokens, seed: options.seed };

    let names = ["correlation", "correlation_low", "correlation_high", "explained"];
    let mut arrays = [(); 4].map(|()| Vec::new());
    let mut whole: Option<Labelled> = None;
    for model in small {
        let result = scale(model, large, &prompts, &options)?;
        for (array, name) in arrays.iter_mut().zip(names) {
            array.extend(result.array(name).map_or(&[][..], |a| &a.data));
        }
        whole = Some(result);
    }
    let mut result = whole.unwrap_or_default();
    result.arrays.clear();
    result.metadata.remove("tokens");
    let axes = [("small", small.len()), ("quantity", QUANTITIES.len()), ("predictor", PREDICTORS.len())];
    for (array, name) in arrays.into_iter().zip(names) {
        result = result.with(name, &axes, array);
    }
    Ok(result.note("small", small.iter().map(Model::name).collect::<Vec<_>>().join(",")))
}
