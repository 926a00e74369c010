//! Superposition in a task: displacements added at two places at once.

use resolvent_model::{Edit, Site};

use crate::case::Case;
use crate::certificate::norm;
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::place::{Place, shape};
use crate::stats::below;
use crate::superposition::superposition;

use super::left_out::Record;
use super::tasks::{Columns, Runs, Task};

/// Measures superposition errors for the pairs of a task.
///
/// Arrays over pairs of places `[N]`: `prompt`, `joint`, `sum` and `error`. `joint` and `sum` are responses of J
/// divided by |J(clean) - J(corrupted)|.
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    let runs = task.runs(task.size(4, 16), &[], record)?;
    let (mut columns, mut state) = (Columns::new(|_| ""), task.options.seed);
    for (prompt, case) in runs.cases().iter().enumerate() {
        let name = &runs.names[prompt];
        let found = pair(case, task.size(24, 64), &mut state);
        let Some(result) = record.attempt(name, found)? else { continue };
        record.check(name, &result.certificates);
        let scale = runs.range(prompt);
        let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
        for ((joint, sum), error) in of("joint").iter().zip(of("sum")).zip(of("error")) {
            columns.push("prompt", prompt as f64);
            columns.push("joint", f64::from(*joint) / scale);
            columns.push("sum", f64::from(*sum) / scale);
            columns.push("error", f64::from(*error));
        }
    }
    Ok(columns.needed()?.into(task.labelled("superposed", &runs), "pair"))
}

/// Computes the responses to `count` random pairs of displacements, for one pair of prompts.
fn pair(case: &Case<'_>, count: usize, state: &mut u64) -> Result<Labelled> {
    let (run, (_, tokens, d)) = (case.corrupted, shape(case.corrupted));
    let (here, there) = (run.field()?, case.clean.field()?);
    let displacement = |(l, t): Place| -> Vec<f32> {
        let at = (l * tokens + t) * d..(l * tokens + t + 1) * d;
        there[at.clone()].iter().zip(&here[at]).map(|(a, b)| a - b).collect()
    };
    // Places that differ between the prompts, below the last level: a displacement there would restore J completely.
    let last = run.model().sizes().layers;
    let places = Runs::places(run, 1, 1).into_iter().filter(|&(l, _)| l < last);
    let sources: Vec<Edit> = places
        .map(|place| (place, displacement(place)))
        .filter(|(_, s)| norm(s) > 0.0)
        .map(|((l, t), s)| Edit::add(Site::level(l, run.model().sizes()), t, s))
        .collect();
    if sources.len() < 2 {
        let places = if sources.is_empty() { "no place" } else { "one place" };
        return Err(Error::Input(format!("the prompts differ at {places} below level {last}, and a pair takes two")));
    }
    let pairs: Vec<(usize, usize)> = (0..count)
        .map(|_| {
            let a = below(state, sources.len());
            (a, (a + 1 + below(state, sources.len() - 1)) % sources.len())
        })
        .collect();
    superposition(run, case.observable, &sources, &pairs)
}
