//! The linear regime of a task: errors and radii of sources at many places, along several directions.

use crate::certificate::{Certificate, merge, norm};
use crate::direction::{Context, Direction};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::regime::{RegimeOptions, regime};

use super::tasks::{Columns, Runs, Task};

/// Directions, in the order of the array `direction`.
pub(super) const DIRECTIONS: [&str; 3] = ["displacement", "sensitivity", "random"];

/// Arrays over the sources `[N]`: `direction`, `prompt`, `level`, `token`, `radius`, `first_order`, `second`, `size` (the
/// displacement's length over |h|; NaN for other directions), and `error`, `field_error [N, A]`; and `amplitudes [A]`. All in
/// units of |h\[l, t\]|.
pub(super) fn step(task: &Task<'_>) -> Result<Labelled> {
    let runs = task.runs(task.size(1, 4), &[])?;
    let options = RegimeOptions { field: true, ..RegimeOptions::default() };
    let (mut columns, mut worst) = (Columns::new(|_| "amplitude"), Vec::<Certificate>::new());
    for prompt in 0..runs.len() {
        let (run, other, observable) = (&runs.clean[prompt], &runs.corrupted[prompt], &runs.observables[prompt]);
        // Depth is sampled: about nine levels of a deep model, five in a quick look.
        let step = run.model().config().n_layer.div_ceil(task.size(4, 8));
        let places = Runs::places(run, step);
        let field = run.field()?;
        let d = run.model().config().n_embd;
        let directions = [Direction::Displacement, Direction::Sensitivity, Direction::Random(task.options.seed)];
        for (index, direction) in directions.iter().enumerate() {
            let context = Context { observable: Some(observable), other: Some(other), unit: false };
            let vectors = direction.resolve_all(run, &places, context)?;
            let mut sites = Vec::new();
            let mut sizes = Vec::new();
            for (&(level, token), mut v) in places.iter().zip(vectors) {
                let size = norm(&v);
                // Places that the displacement or J leave alone have no direction.
                if size == 0.0 {
                    continue;
                }
                let h = norm(&field[(level * run.tokens().len() + token) * d..][..d]);
                sizes.push(if index == 0 { size / h } else { f64::NAN });
                v.iter_mut().for_each(|x| *x = (f64::from(*x) / size) as f32);
                sites.push(((level, token), v));
            }
            let result = regime(run, observable, &sites, &options)?;
            let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
            for (n, ((level, token), _)) in sites.iter().enumerate() {
                columns.push("direction", index as f64);
                columns.push("prompt", prompt as f64);
                columns.push("level", *level as f64);
                columns.push("token", *token as f64);
                columns.push("size", sizes[n]);
                for name in ["radius", "first_order", "second"] {
                    columns.push(name, f64::from(of(name)[n]));
                }
                for name in ["error", "field_error"] {
                    let width = options.amplitudes.len();
                    columns.extend(name, &of(name)[n * width..(n + 1) * width]);
                }
            }
            merge(&mut worst, &result.certificates);
        }
    }
    let result = columns.into(task.labelled("regimes", &runs), "source");
    let mut result = result
        .with("amplitudes", &[("amplitude", options.amplitudes.len())], options.amplitudes.clone())
        .note("directions", DIRECTIONS.join(","))
        .note("labels", task.labels(&runs.clean[0]));
    for certificate in worst {
        result = result.certify(certificate)?;
    }
    Ok(result)
}
