//! Circuits in a task: how much of an answer the edges with the largest first-order scores carry in other prompts.

use crate::circuit::{CircuitOptions, EdgeScore, circuit};
use crate::edges::EdgePredictor;
use crate::error::Result;
use crate::labelled::Labelled;

use super::left_out::{self, Record};
use super::tasks::Task;

/// Share of all edges in the circuit that the statement judges.
pub(super) const SHARE: f64 = 0.02;

/// Shares of all edges whose circuits a full study measures.
const SHARES: [f64; 7] = [0.002, 0.005, 0.01, SHARE, 0.05, 0.1, 0.2];

/// Ranks the edges by first order on the first half of a task's pairs, and measures the circuits of the first ones on
/// the other half, with corrupted outputs on all other edges. Arrays and metadata are those of [`circuit`].
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    let most = task.pairs.len();
    let cases = task.runs(task.size(most.min(6), most), &[], record)?.prompts();
    let options = CircuitOptions {
        score: EdgeScore::Predicted(EdgePredictor::FirstOrder),
        shares: if task.options.quick { vec![SHARE] } else { SHARES.to_vec() },
        random: 1,
        seed: task.options.seed,
        ranked_on: cases.len() / 2,
        ..CircuitOptions::default()
    };
    let result = circuit(task.model, &cases, &options, &mut |_, _| {})?;
    left_out::read(&result).into_iter().for_each(|one| record.leave_out(one));
    Ok(result.note("seed", task.options.seed.to_string()))
}
