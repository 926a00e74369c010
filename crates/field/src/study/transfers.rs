//! Transfer of displacements in a task: how much of the clean answer each level's places carry into the corrupted prompt.

use resolvent_model::Run;

use crate::certificate::merge;
use crate::error::Result;
use crate::labelled::Labelled;
use crate::place::shape;
use crate::transfer::{TransferOptions, transfer};

use super::tasks::{Columns, Task};

/// Arrays over prompts `[N, L+1]`: the fraction `at_changed` (the first token that differs), `at_last` (the last token),
/// `best` (the best single token of the level), each with the controls `random_...` and `shuffled_...` (NaN without other
/// prompts of that length); and of the first prompt `map`, `map_random [L+1, T]`.
pub(super) fn step(task: &Task<'_>) -> Result<Labelled> {
    let runs = task.runs(task.size(6, 24), &[])?;
    let (mut columns, mut worst, mut maps) = (Columns::new(|_| "level"), Vec::new(), Vec::new());
    for prompt in 0..runs.len() {
        let (run, donor) = (&runs.corrupted[prompt], &runs.clean[prompt]);
        let (levels, tokens, _) = shape(run);
        let same = |other: &&Run| other.tokens().len() == tokens && other.tokens() != donor.tokens();
        let others: Vec<Run> = runs.clean.iter().filter(same).take(task.size(2, 4)).cloned().collect();
        let options =
            TransferOptions { random: task.size(2, 8), seed: task.options.seed, ..TransferOptions::default() };
        let result = transfer(run, donor, &runs.observables[prompt], &others, &options)?;
        columns.push("prompt", prompt as f64);
        for (array, names) in [
            ("fraction", ["at_changed", "at_last", "best"]),
            ("random", ["random_at_changed", "random_at_last", "random_best"]),
            ("shuffled", ["shuffled_at_changed", "shuffled_at_last", "shuffled_best"]),
        ] {
            let map = result.array(array).map(|a| a.data.clone());
            let map = map.unwrap_or_else(|| vec![f32::NAN; levels * tokens]);
            let column = |pick: &dyn Fn(&[f32]) -> f32| map.chunks(tokens).map(pick).collect::<Vec<f32>>();
            columns.extend(names[0], &column(&|row| row[runs.changed[prompt]]));
            columns.extend(names[1], &column(&|row| row[tokens - 1]));
            columns.extend(names[2], &column(&|row| row.iter().copied().fold(f32::NAN, f32::max)));
            if prompt == 0 {
                maps.push(map);
            }
        }
        merge(&mut worst, &result.certificates);
    }
    let (levels, tokens, _) = shape(&runs.corrupted[0]);
    let axes = [("level", levels), ("token", tokens)];
    let mut result = columns
        .into(task.labelled("transfers", &runs), "prompt")
        .with("map", &axes, maps.swap_remove(0))
        .with("map_random", &axes, maps.pop().unwrap_or_default())
        .note("labels", task.labels(&runs.corrupted[0]));
    for certificate in worst {
        result = result.certify(certificate)?;
    }
    Ok(result)
}
