//! The answers of a model: J of both prompts of each pair, and the pairs that a study uses.

use resolvent_model::{Observable, Quantity, TokenPair};

use crate::certificate::{Certificate, same, worse};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::stats::median;

use super::left_out::{LeftOut, Record};
use super::tasks::{Columns, Runs, Task};

/// Share of the task's median |J(clean) - J(corrupted)| below which a pair is not used. Effects are divided by this
/// difference, so a small one turns small effects into outliers.
const LEAST_RANGE: f64 = 0.1;

/// Reads J of both prompts of each pair.
///
/// Arrays over the pairs that have values `[N]`: `pair`, its index in the task; `clean` and `corrupted`, the values of
/// J; `usable`, 1 if the other steps use the pair. A pair is usable if its difference is not tiny and, if
/// `expects_answers`, if J is larger for the prompt that its answer belongs to.
pub(super) fn step(task: &Task<'_>, expects_answers: bool, record: &mut Record) -> Result<Labelled> {
    let runs = task.runs(task.pairs.len(), &[], record)?;
    let ranges: Vec<f64> = (0..runs.len()).map(|i| runs.range(i)).collect();
    let middle = median(&ranges);
    let mut columns = Columns::new(|_| "");
    for (i, case) in runs.cases().into_iter().enumerate() {
        let reason = unusable(runs.values[i], middle, expects_answers && answers(case.observable));
        let same = |pair: &TokenPair| {
            (&pair.clean[..], &pair.corrupted[..]) == (case.clean.tokens(), case.corrupted.tokens())
                && pair.observable == *case.observable
        };
        let [clean, corrupted] = runs.values[i];
        columns.push("pair", task.pairs.iter().position(same).map_or(f64::NAN, |pair| pair as f64));
        columns.push("clean", clean);
        columns.push("corrupted", corrupted);
        columns.push("usable", if reason.is_none() { 1.0 } else { 0.0 });
        if let Some(reason) = reason {
            record.leave_out(LeftOut::new(&runs.names[i], reason));
        }
    }
    let result = columns.needed()?.into(task.labelled("answers", &runs), "pair");
    record.check("the first and the last pair", &[alone(task, &runs)?]);
    Ok(result)
}

/// Returns why a pair is not used, if so: the model prefers the wrong answer, if `answers`, or J differs by less than a
/// share of the task's median.
fn unusable([clean, corrupted]: [f64; 2], middle: f64, answers: bool) -> Option<String> {
    let range = (clean - corrupted).abs();
    match () {
        () if answers && clean < corrupted => Some(format!(
            "J is {clean:.3} for the clean prompt and {corrupted:.3} for the corrupted one: the model prefers the answer \
             where it is wrong"
        )),
        () if range < LEAST_RANGE * middle => Some(format!(
            "J differs by {range:.3} between the prompts, less than a tenth of the task's median of {middle:.3}"
        )),
        () => None,
    }
}

/// Compares J of the first and the last pair, which ran in batches, with that of their prompts alone.
fn alone(task: &Task<'_>, runs: &Runs) -> Result<Certificate> {
    let mut worst = 0.0;
    for i in [0, runs.len() - 1] {
        for (run, value) in [&runs.clean[i], &runs.corrupted[i]].into_iter().zip(runs.values[i]) {
            let again = task.model.run(run.tokens(), &[])?.value(&runs.observables[i])?;
            worst = worse(worst, (value - again).abs() / value.abs().max(1.0));
        }
    }
    Ok(Certificate::new("alone", worst, same(task.model)))
}

/// Returns whether J is made of logits or probabilities, which the right answer raises. An entropy or a projection has
/// no right sign.
fn answers(observable: &Observable) -> bool {
    let is_answer = |quantity: &Quantity| {
        matches!(quantity, Quantity::Logit(_) | Quantity::LogProb(_) | Quantity::Prob(_) | Quantity::Continuation(_))
    };
    observable.terms().iter().all(|term| is_answer(&term.quantity))
}

/// Returns the pairs that a result of this step calls usable.
pub(super) fn usable(result: &Labelled, pairs: &[TokenPair]) -> Vec<TokenPair> {
    let of = |name: &str| result.array(name).map_or(&[][..], |array| &array.data);
    let chosen = of("pair").iter().zip(of("usable")).filter(|(_, usable)| **usable == 1.0);
    chosen.filter_map(|(pair, _)| pairs.get(*pair as usize).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_have_a_right_sign() {
        assert!(answers(&Observable::logit_diff(1, 2, 3)));
        assert!(answers(&Observable::log_prob(1, 3)));
        assert!(!answers(&Observable::entropy(3)));
    }

    #[test]
    fn wrong_answers_and_tiny_differences_are_not_used() {
        let reason = |values, answers| unusable(values, 2.0, answers);
        assert_eq!(reason([1.0, -1.0], true), None);
        assert!(reason([-1.0, 1.0], true).is_some_and(|r| r.contains("prefers the answer where it is wrong")));
        assert_eq!(reason([-1.0, 1.0], false), None, "an entropy, or a null, has no right sign");
        assert_eq!(reason([0.4, 0.1], true), None);
        assert!(reason([0.2, 0.1], true).is_some_and(|r| r.contains("0.100 between the prompts, less than a tenth")));
    }

    #[test]
    fn usable_pairs_are_those_that_the_step_marked() {
        let pair = |id| TokenPair { clean: vec![id], corrupted: vec![0], observable: Observable::logit_diff(1, 2, 0) };
        let pairs = [pair(1), pair(2), pair(3)];
        let result = Labelled::default().with("pair", &[("pair", 2)], vec![0.0, 2.0]).with(
            "usable",
            &[("pair", 2)],
            vec![0.0, 1.0],
        );
        assert_eq!(usable(&result, &pairs), [pair(3)]);
        assert!(usable(&Labelled::default(), &pairs).is_empty());
    }
}
