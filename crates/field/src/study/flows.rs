//! The flow of an effect in a task: by which tokens of each level the difference of two prompts reaches J, and whether
//! the identities of the model hold for the derivatives that compute it.

use crate::error::{Error, Result};
use crate::flow::{FlowOptions, flow_between};
use crate::identities::identities;
use crate::labelled::Labelled;
use crate::place::shape;

use super::left_out::{LeftOut, Record};
use super::tasks::{Columns, Task};

/// Computes the flow of the whole difference between the prompts of each pair, averaged over its amplitude.
///
/// Arrays over pairs `[N]`: `prompt`; `change`, J of the clean prompt minus that of the corrupted one; `summed`, the
/// sum of the flow over the tokens of a level, which is the change but for the error of the average over amplitudes. By
/// level `[N, L+1]`: `tokens`, the effective number of tokens that carry the flow, `(sum |F|)^2 / sum F^2`;
/// `at_changed` and `at_last`, the share of `sum |F|` at the tokens that differ and at the last token. The map of the
/// first pair: `map [L+1, T]`.
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    if task.model.sizes().layers < 2 {
        return Err(Error::Input("the model has no level between the first and the last".to_owned()));
    }
    let runs = task.runs(task.size(3, 8), &[], record)?;
    let (mut columns, mut example) = (Columns::new(|_| "level"), None);
    let options = FlowOptions { steps: task.size(4, 8) };
    for (prompt, case) in runs.cases().into_iter().enumerate() {
        let (name, (levels, tokens, _)) = (&runs.names[prompt], shape(case.corrupted));
        if runs.changed[prompt] + 1 == tokens {
            let reason = "the prompts differ at the last token only, through which all flows by construction";
            record.leave_out(LeftOut::new(name, reason));
            continue;
        }
        let flow = flow_between(&[case], options).map(|mut results| results.remove(0));
        let Some(flow) = record.attempt(name, flow)? else { continue };
        record.check(name, &flow.certificates);
        if let Some(symmetric) = record.attempt(name, identities(case.corrupted, case.observable))? {
            record.check(name, &symmetric.certificates);
        }
        let of = |array: &str| flow.array(array).map_or_else(Vec::new, |array| array.data.clone());
        let (map, differs) = (of("secant"), |t: usize| case.clean.tokens()[t] != case.corrupted.tokens()[t]);
        let rows: Vec<Carried> = map.chunks(tokens).map(|row| Carried::new(row, differs)).collect();
        columns.push("prompt", prompt as f64);
        for (column, values) in [("change", of("change")), ("summed", of("secant_effect"))] {
            columns.extend(column, &values);
        }
        let by_level = |of: fn(&Carried) -> f64| rows.iter().map(|row| of(row) as f32).collect::<Vec<f32>>();
        columns.extend("tokens", &by_level(|row| row.tokens));
        columns.extend("at_changed", &by_level(|row| row.at_changed));
        columns.extend("at_last", &by_level(|row| row.at_last));
        example = example.or(Some((prompt, [("level", levels), ("token", tokens)], map)));
    }
    let mut result = columns.needed()?.into(task.labelled("flows", &runs), "prompt");
    if let Some((prompt, axes, map)) = example {
        result = result.with("map", &axes, map).note("labels", task.labels(&runs.corrupted[prompt]));
    }
    Ok(result.note("steps", options.steps.to_string()))
}

/// The tokens of one level that carry a flow.
struct Carried {
    tokens: f64,
    at_changed: f64,
    at_last: f64,
}

impl Carried {
    /// Describes the flow through the tokens of a level. `differs` says which tokens differ between the prompts.
    fn new(row: &[f32], differs: impl Fn(usize) -> bool) -> Self {
        let size = |t: usize| f64::from(row[t]).abs();
        let sum = |of: &dyn Fn(usize) -> bool| (0..row.len()).filter(|t| of(*t)).map(size).sum::<f64>();
        let (all, squares) = (sum(&|_| true), (0..row.len()).map(|t| size(t).powi(2)).sum::<f64>());
        Self {
            tokens: all.powi(2) / squares,
            at_changed: sum(&differs) / all,
            at_last: sum(&|t| t + 1 == row.len()) / all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_carry_a_flow() {
        // Opposite signs do not cancel in shares.
        let carried = Carried::new(&[0.0, 3.0, -1.0, 0.0, 1.0], |t| t == 1 || t == 2);
        assert_eq!((carried.tokens, carried.at_changed, carried.at_last), (25.0 / 11.0, 0.8, 0.2));
        assert_eq!(Carried::new(&[2.0, 2.0, 2.0], |_| false).tokens, 3.0);
    }
}
