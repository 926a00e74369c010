//! Superposition in a task: displacements put in at two places at once.

use resolvent_model::{Edit, Site};

use crate::certificate::{merge, norm};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::place::{Place, shape};
use crate::stats::below;
use crate::superposition::superposition;

use super::tasks::{Columns, Runs, Task};

/// Arrays over pairs of places `[N]`: `prompt`, `joint`, `sum` (responses of J over |J(clean) - J(corrupted)|), `error`.
pub(super) fn step(task: &Task<'_>) -> Result<Labelled> {
    let runs = task.runs(task.size(4, 16), &[])?;
    let (mut columns, mut worst, mut state) = (Columns::new(|_| ""), Vec::new(), task.options.seed);
    for (prompt, case) in runs.cases().iter().enumerate() {
        let (run, (_, tokens, d)) = (case.corrupted, shape(case.corrupted));
        let (here, there) = (run.field()?, case.clean.field()?);
        let displacement = |(l, t): Place| -> Vec<f32> {
            let at = (l * tokens + t) * d..(l * tokens + t + 1) * d;
            there[at.clone()].iter().zip(&here[at]).map(|(a, b)| a - b).collect()
        };
        // Places that differ between the prompts and that J can see, those that restore it whole left out.
        let last = run.model().config().n_layer;
        let places = Runs::places(run, 1).into_iter().filter(|&(l, _)| l < last);
        let sources: Vec<Edit> = places
            .map(|place| (place, displacement(place)))
            .filter(|(_, s)| norm(s) > 0.0)
            .map(|((l, t), s)| Edit::add(Site::level(l, run.model().config()), t, s))
            .collect();
        if sources.len() < 2 {
            continue;
        }
        let pairs: Vec<(usize, usize)> = (0..task.size(24, 64))
            .map(|_| {
                let a = below(&mut state, sources.len());
                (a, (a + 1 + below(&mut state, sources.len() - 1)) % sources.len())
            })
            .collect();
        let result = superposition(run, case.observable, &sources, &pairs)?;
        let scale = super::patching::range(case)?;
        let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
        for i in 0..pairs.len() {
            columns.push("prompt", prompt as f64);
            columns.push("joint", f64::from(of("joint")[i]) / scale);
            columns.push("sum", f64::from(of("sum")[i]) / scale);
            columns.push("error", f64::from(of("error")[i]));
        }
        merge(&mut worst, &result.certificates);
    }
    let mut result = columns.into(task.labelled("superposed", &runs), "pair");
    for certificate in worst {
        result = result.certify(certificate)?;
    }
    Ok(result)
}
