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
/// Arrays over the pairs that have values `[N]`: `pair`, its index in the task; `clean` and `corrupted`, the values of J;
/// `usable`, 1 if the other steps use the pair. A pair is usable if its difference is not tiny and, if `expects_answers`,
/// if J is larger for the prompt that its answer belongs to.
pub(super) fn step(task: &Task<'_>, expects_answers: bool, record: &mut Record) -> Result<Labelled> {
    let runs = task.runs(task.pairs.len(), &[], record)?;
    let mut values = Vec::with_capacity(runs.len());
    for case in runs.cases() {
        let both = [case.clean.value(case.observable)?, case.corrupted.value(case.observable)?];
        let same = |pair: &TokenPair| {
            (&pair.clean[..], &pair.corrupted[..]) == (case.clean.tokens(), case.corrupted.tokens())
                && pair.observable == *case.observable
        };
        values.push((task.pairs.iter().position(same), both));
    }
    let ranges: Vec<f64> = values.iter().map(|(_, [clean, corrupted])| (clean - corrupted).abs()).collect();
    let least = LEAST_RANGE * median(&ranges);
    let mut columns = Columns::new(|_| "");
    for (i, (pair, [clean, corrupted])) in values.into_iter().enumerate() {
        let reason = match () {
            () if expects_answers && answers(&runs.observables[i]) && clean < corrupted => Some(format!(
                "J is {clean:.3} for the clean prompt and {corrupted:.3} for the corrupted one: the model prefers the \
                 answer where it is wrong"
            )),
            () if ranges[i] < least => Some(format!(
                "J differs by {:.3} between the prompts, less than a tenth of the task's median of {:.3}",
                ranges[i],
                least / LEAST_RANGE
            )),
            () => None,
        };
        columns.push("pair", pair.map_or(f64::NAN, |pair| pair as f64));
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

/// Compares J of the first and the last pair, which ran in batches, with that of their prompts alone.
fn alone(task: &Task<'_>, runs: &Runs) -> Result<Certificate> {
    let mut worst = 0.0;
    for case in [0, runs.len() - 1].map(|i| runs.cases()[i]) {
        for run in [case.clean, case.corrupted] {
            let value = run.value(case.observable)?;
            let again = task.model.run(run.tokens(), &[])?.value(case.observable)?;
            worst = worse(worst, (value - again).abs() / value.abs().max(1.0));
        }
    }
    Ok(Certificate::new("alone", worst, same(task.model)))
}

/// Returns whether J is made of logits or probabilities, which the right answer raises. An entropy or a projection has no
/// right sign.
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
