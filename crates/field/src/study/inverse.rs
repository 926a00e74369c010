//! The inverse problem in a task: sources that move J towards the other prompt's, and what they cost.

use crate::certificate::merge;
use crate::error::Result;
use crate::invert::{Goal, InvertOptions, Method, invert};
use crate::labelled::Labelled;
use crate::place::Place;

use super::tasks::{Columns, Task};

/// Goals, as shares of J(clean) - J(corrupted), in the order of the axis `goal`.
pub(super) const SHARES: [f64; 4] = [0.1, 0.25, 0.5, 1.0];

/// Arrays over prompts `[N, 4]`: `achieved`, the change that the model really makes over the goal, for sources of least energy
/// at all tokens of the middle level; `refined [N]`, the same for the whole goal after steps of Newton's method; `greedy [N]`,
/// with two places only, after those steps; and `energy_ratio [N, B]`, each baseline's energy over the least, for the second
/// goal.
pub(super) fn step(task: &Task<'_>) -> Result<Labelled> {
    let runs = task.runs(task.size(3, 8), &[])?;
    let (mut columns, mut worst, mut names) =
        (Columns::new(|name| if name == "energy_ratio" { "baseline" } else { "goal" }), Vec::new(), String::new());
    for (prompt, case) in runs.cases().iter().enumerate() {
        let run = case.corrupted;
        let (level, tokens) = (run.model().config().n_layer / 2, run.tokens().len());
        let step = case.clean.value(case.observable)? - case.corrupted.value(case.observable)?;
        if step.abs() < 1e-2 {
            continue;
        }
        let sites: Vec<Place> = (0..tokens).map(|t| (level, t)).collect();
        let mut solve = |share: f64, options: InvertOptions| -> Result<Labelled> {
            let goal = Goal::Observable { observable: case.observable.clone(), change: share * step };
            let result = invert(run, &[goal], &sites, &options)?;
            merge(&mut worst, &result.certificates);
            Ok(result)
        };
        let achieved = |result: &Labelled, share: f64| {
            f64::from(result.array("achieved").map_or(f32::NAN, |a| a.data[0])) / (share * step)
        };
        columns.push("prompt", prompt as f64);
        for share in SHARES {
            let result = solve(share, InvertOptions::default())?;
            columns.push("achieved", achieved(&result, share));
            if share == SHARES[1] {
                let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
                let ratios: Vec<f32> = of("baseline_energy").iter().map(|e| e / of("energy")[0]).collect();
                columns.extend("energy_ratio", &ratios);
                names.clone_from(&result.metadata["baselines"]);
            }
        }
        let refine = task.size(4, 8);
        let newton = InvertOptions { refine, ..InvertOptions::default() };
        columns.push("refined", achieved(&solve(1.0, newton)?, 1.0));
        let greedy = InvertOptions { method: Method::Greedy(2), refine, ..InvertOptions::default() };
        columns.push("greedy", achieved(&solve(1.0, greedy)?, 1.0));
    }
    let mut result = columns
        .into(task.labelled("inverse", &runs), "prompt")
        .note("baselines", names)
        .note("shares", SHARES.map(|s| s.to_string()).join(","));
    for certificate in worst {
        result = result.certify(certificate)?;
    }
    Ok(result)
}
