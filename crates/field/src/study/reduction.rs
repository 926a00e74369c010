//! Reduced descriptions in a task: effects of held-out patches through few directions of the middle level.

use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::reduce::{ReduceOptions, reduce};

use super::left_out::{self, Record};
use super::tasks::Task;

/// Reduces the effects of patches of a task. The directions come from the first half of its pairs; the errors are those
/// of the actual effects in the other half. Arrays and metadata are those of [`reduce`].
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    if task.model.sizes().layers < 2 {
        return Err(Error::Input("the model has one block, so no level lies below its middle one".to_owned()));
    }
    let most = task.pairs.len();
    let cases = task.runs(task.size(most.min(16), most), &[], record)?.prompts();
    let seed = task.options.seed;
    let mut result = reduce(task.model, &cases, &ReduceOptions { seed, ..ReduceOptions::default() }, &mut |_, _| {})?;
    left_out::read(&result).into_iter().for_each(|one| record.leave_out(one));
    // The tokens of one prompt of many are not useful provenance.
    result.metadata.remove("tokens");
    Ok(result.note("seed", seed.to_string()))
}
