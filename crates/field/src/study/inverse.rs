//! The inverse problem in a task: sources that move J towards its value for the other prompt, and their energy.

use crate::case::Case;
use crate::certificate::{Certificate, merge};
use crate::error::{Error, Result};
use crate::invert::{Goal, InvertOptions, Method, invert};
use crate::labelled::Labelled;
use crate::place::Place;

use super::left_out::Record;
use super::tasks::{Columns, Task};

/// Goals, as shares of J(clean) - J(corrupted), in the order of the axis `goal`.
pub(super) const SHARES: [f64; 4] = [0.1, 0.25, 0.5, 1.0];

/// Solves the inverse problem for the pairs of a task. The sources are at all tokens of the middle level.
///
/// Arrays over prompts:
///
/// - `achieved [N, 4]`: the achieved change over the goal, for each goal, with sources of least energy;
/// - `refined [N]`: the same for the whole difference, after steps of Newton's method;
/// - `greedy [N]`: the same as `refined`, with two places only;
/// - `energy_ratio [N, B]`: the energy that each baseline needs over the least energy, for the second goal. Each energy
///   is divided by the square of the change that the sources achieve in a forward pass, since energies grow with that
///   square. To first order no ratio is below 1; for finite sources one may be.
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    let runs = task.runs(task.size(4, 8), &[], record)?;
    let (mut columns, mut names) = (Columns::new(inner), String::new());
    for (prompt, case) in runs.cases().iter().enumerate() {
        let name = &runs.names[prompt];
        let mut certificates = Vec::new();
        let [clean, corrupted] = runs.values[prompt];
        let pair = (prompt, clean - corrupted);
        let solved = solved(case, pair, (task.size(4, 8), &mut names), &mut certificates);
        if let Some(solved) = record.attempt(name, solved)? {
            columns.append(solved);
            record.check(name, &certificates);
        }
    }
    Ok(columns
        .needed()?
        .into(task.labelled("inverse", &runs), "prompt")
        .note("baselines", names)
        .note("shares", SHARES.map(|s| s.to_string()).join(",")))
}

/// Returns the name of the second axis of a column.
fn inner(name: &str) -> &'static str {
    if name == "energy_ratio" { "baseline" } else { "goal" }
}

/// Smallest usable difference of J between the prompts. Shares of a smaller difference are lost in the rounding of J.
const LEAST: f64 = 1e-2;

/// Solves the problem for one pair, given its index and J(clean) - J(corrupted). Returns the columns of the pair, and
/// writes the names of the baselines and the checks of all solutions.
fn solved(
    case: &Case<'_>,
    (prompt, step): (usize, f64),
    (refine, names): (usize, &mut String),
    certificates: &mut Vec<Certificate>,
) -> Result<Columns> {
    let run = case.corrupted;
    let (level, tokens) = (run.model().sizes().layers / 2, run.tokens().len());
    if step.abs() < LEAST {
        return Err(Error::Input(format!(
            "J differs by {:.1e} between the prompts, less than {LEAST}: shares of that are lost in rounding",
            step.abs()
        )));
    }
    let sites: Vec<Place> = (0..tokens).map(|t| (level, t)).collect();
    let mut solve = |share: f64, options: InvertOptions| -> Result<Labelled> {
        let goal = Goal::Observable { observable: case.observable.clone(), change: share * step };
        let result = invert(run, &[goal], &sites, &options)?;
        merge(certificates, &result.certificates);
        Ok(result)
    };
    let achieved = |result: &Labelled, share: f64| {
        f64::from(result.array("achieved").map_or(f32::NAN, |a| a.data[0])) / (share * step)
    };
    let mut columns = Columns::new(inner);
    columns.push("prompt", prompt as f64);
    for share in SHARES {
        let result = solve(share, InvertOptions::default())?;
        columns.push("achieved", achieved(&result, share));
        if share == SHARES[1] {
            let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
            let needed = |energy: &f32, achieved: &f32| f64::from(*energy) / f64::from(*achieved).powi(2);
            let least = needed(&of("energy")[0], &of("achieved")[0]);
            let baselines = of("baseline_energy").iter().zip(of("baseline_achieved"));
            let ratios: Vec<f32> = baselines.map(|(e, a)| (needed(e, a) / least) as f32).collect();
            columns.extend("energy_ratio", &ratios);
            names.clone_from(&result.metadata["baselines"]);
        }
    }
    let newton = InvertOptions { refine, ..InvertOptions::default() };
    columns.push("refined", achieved(&solve(1.0, newton)?, 1.0));
    let greedy = InvertOptions { method: Method::Greedy(2), refine, ..InvertOptions::default() };
    columns.push("greedy", achieved(&solve(1.0, greedy)?, 1.0));
    Ok(columns)
}
