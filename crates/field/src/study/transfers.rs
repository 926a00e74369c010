//! Transfer of displacements in a task: how much of the clean answer the places of each level carry into the corrupted
//! prompt.

use resolvent_model::Run;

use crate::error::Result;
use crate::labelled::Labelled;
use crate::place::shape;
use crate::transfer::{TransferOptions, transfer};

use super::left_out::{LeftOut, Record};
use super::tasks::{Columns, Task};

/// Computes transfer fractions for the pairs of a task.
///
/// Arrays over prompts and levels `[N, L+1]`: the fraction `at_changed` (the first token that differs), `at_last` (the
/// last token) and `best` (the best single token of the level). Each has controls `random_...` and `shuffled_...`; the
/// latter are NaN if no other prompt has the same length. Maps of the first prompt: `map` and `map_random [L+1, T]`.
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    let runs = task.runs(task.size(6, 24), &[], record)?;
    let (mut columns, mut example) = (Columns::new(|_| "level"), None);
    for prompt in 0..runs.len() {
        let (run, donor) = (&runs.corrupted[prompt], &runs.clean[prompt]);
        let (levels, tokens, _) = shape(run);
        let same = |other: &&Run| other.tokens().len() == tokens && other.tokens() != donor.tokens();
        let others: Vec<Run> = runs.clean.iter().filter(same).take(task.size(2, 4)).cloned().collect();
        let options =
            TransferOptions { random: task.size(2, 8), seed: task.options.seed, ..TransferOptions::default() };
        let name = &runs.names[prompt];
        if runs.changed[prompt] + 1 == tokens {
            // The last token alone differs, so it carries the whole answer at every level by construction.
            let reason = "the prompts differ at the last token only, which carries the answer by construction";
            record.leave_out(LeftOut::new(name, reason));
            continue;
        }
        let result = transfer(run, donor, &runs.observables[prompt], &others, &options);
        let Some(result) = record.attempt(name, result)? else { continue };
        record.check(name, &result.certificates);
        columns.push("prompt", prompt as f64);
        let map = |array: &str| match result.array(array) {
            Some(array) => array.data.clone(),
            None => vec![f32::NAN; levels * tokens],
        };
        for (array, names) in [
            ("fraction", ["at_changed", "at_last", "best"]),
            ("random", ["random_at_changed", "random_at_last", "random_best"]),
            ("shuffled", ["shuffled_at_changed", "shuffled_at_last", "shuffled_best"]),
        ] {
            let map = map(array);
            let column = |pick: &dyn Fn(&[f32]) -> f32| map.chunks(tokens).map(pick).collect::<Vec<f32>>();
            columns.extend(names[0], &column(&|row| row[runs.changed[prompt]]));
            columns.extend(names[1], &column(&|row| row[tokens - 1]));
            columns.extend(names[2], &column(&|row| row.iter().copied().fold(f32::NAN, f32::max)));
        }
        if example.is_none() {
            example = Some((prompt, map("fraction"), map("random")));
        }
    }
    let mut result = columns.needed()?.into(task.labelled("transfers", &runs), "prompt");
    if let Some((prompt, map, random)) = example {
        let (levels, tokens, _) = shape(&runs.corrupted[prompt]);
        let axes = [("level", levels), ("token", tokens)];
        result = result
            .with("map", &axes, map)
            .with("map_random", &axes, random)
            .note("labels", task.labels(&runs.corrupted[prompt]));
    }
    Ok(result)
}
