//! The pairs of prompts and the tokens on which two models are compared.

use resolvent_model::{Model, PromptRow, PromptSet, Task, TokenPair};

use crate::error::{Error, Result};

/// Largest number of tokens in the shared slice, unless the caller lists them.
const SLICE: usize = 8;

/// Least number of pairs of prompts: two to fit the map, and two to predict.
pub(super) const LEAST: usize = 4;

/// Returns the answers of pairs: every n-th, so that at most eight tokens are spread over all of them.
pub fn answers(pairs: &[TokenPair]) -> Vec<u32> {
    let mut tokens: Vec<u32> = pairs.iter().flat_map(|pair| pair.observable.entries()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let step = tokens.len().div_ceil(SLICE).max(1);
    tokens.into_iter().step_by(step).collect()
}

/// Returns the pairs of some tasks, or of all, that have the same tokens in two models; at most `limit` of each task.
///
/// Tasks alternate, so that each task has pairs both for the fit of the map and to predict.
///
/// # Errors
/// A task that is not in the set, a model without a tokenizer, or fewer than four pairs.
pub fn pairs_of_both(set: &PromptSet, tasks: &[String], limit: usize, models: [&Model; 2]) -> Result<Vec<TokenPair>> {
    let same = |_: &PromptRow, [a, b]: [TokenPair; 2]| Ok((a == b).then_some(a));
    let advice = format!(
        "are the same tokens in both; at least {LEAST} are needed: compare models that share a tokenizer, or give \
         --prompts that both read alike"
    );
    alternating(&set.named(tasks)?, limit, models, (&same, &advice))
}

/// Joins the pairs of both models, or returns `None` if the row cannot be compared.
type Join<'a, T> = &'a dyn Fn(&PromptRow, [TokenPair; 2]) -> Result<Option<T>>;

/// Returns what `join` makes of the rows of tasks, which alternate; at most `limit` of each task. `advice` follows how
/// many rows there are, if these are too few.
pub(super) fn alternating<T: Clone>(
    tasks: &[(&str, &Task)],
    limit: usize,
    [small, large]: [&Model; 2],
    (join, advice): (Join<'_, T>, &str),
) -> Result<Vec<T>> {
    let (mut by_task, mut fits) = (Vec::new(), Fits::default());
    for (_, task) in tasks {
        let mut pairs = Vec::new();
        for row in &task.prompts {
            let (a, b) = (fitting(row, small)?, fitting(row, large)?);
            fits.all += 1;
            fits.small += usize::from(a.is_some());
            fits.large += usize::from(b.is_some());
            if let (Some(a), Some(b)) = (a, b)
                && let Some(joined) = join(row, [a, b])?
            {
                fits.both += 1;
                pairs.push(joined);
            }
        }
        pairs.truncate(limit);
        by_task.push(pairs);
    }
    let used = by_task.iter().map(Vec::len).sum();
    if used < LEAST {
        return Err(Error::Input(fits.too_few(used, limit, [small.name(), large.name()], advice)));
    }
    let most = by_task.iter().map(Vec::len).max().unwrap_or(0);
    let nth_of_each = |i: usize| by_task.iter().filter_map(move |pairs| pairs.get(i).cloned());
    Ok((0..most).flat_map(nth_of_each).collect())
}

/// Returns a row as a pair of a model, or `None` if it does not fit the model.
fn fitting(row: &PromptRow, model: &Model) -> Result<Option<TokenPair>> {
    let none =
        || Error::Input(format!("{} has no tokenizer, and these prompts are text; use a model with one", model.name()));
    model.text_tokenizer()?.ok_or_else(none)?;
    Ok(row.pair(model).ok())
}

/// Numbers of pairs of prompts: all, and those that fit the small model, the large one, or both so that they can be
/// compared.
#[derive(Default)]
struct Fits {
    all: usize,
    small: usize,
    large: usize,
    both: usize,
}

impl Fits {
    /// Explains why there are only `used` pairs.
    fn too_few(&self, used: usize, limit: usize, [small, large]: [&str; 2], advice: &str) -> String {
        let Self { all, small: in_small, large: in_large, both } = self;
        if *both >= LEAST {
            return format!("--limit {limit} leaves {used} pairs of prompts; at least {LEAST} are needed: raise it");
        }
        format!("of {all} pairs of prompts {in_small} fit {small} and {in_large} fit {large}, and {both} {advice}")
    }
}
