//! The linear regime of a task: errors and radii of sources at many places, along several directions.

use resolvent_model::{Mode, Observable, Run};

use crate::certificate::norm;
use crate::direction::{Context, Direction};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::place::{Place, shape};
use crate::regime::{RegimeOptions, regime};

use super::left_out::Record;
use super::tasks::{Columns, Runs, Task};

/// Directions, in the order of the array `direction`.
pub(super) const DIRECTIONS: [&str; 3] = ["displacement", "sensitivity", "random"];

/// Computes linear regimes for the pairs of a task.
///
/// Arrays over the sources: `direction`, `prompt`, `level`, `token`, `radius`, `first_order`, `second` and `size [N]`,
/// and `error` and `field_error [N, A]`. `size` is the length of the displacement over |h|, and NaN for other
/// directions. Amplitudes: `amplitudes [A]`. All are in units of |h\[l, t\]|. Places without a path to J have no
/// source.
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    let runs = task.runs(task.size(3, 8), &[], record)?;
    let options = RegimeOptions { field: true, ..RegimeOptions::default() };
    let mut columns = Columns::new(|_| "amplitude");
    for prompt in 0..runs.len() {
        let run = &runs.clean[prompt];
        // Sample about nine levels of a deep model, or three in a quick study: more prompts count more than more
        // levels.
        let step = run.model().sizes().layers.div_ceil(task.size(2, 8));
        let places = reaching(run, &runs.observables[prompt], Runs::places(run, step))?;
        let directions = [Direction::Displacement, Direction::Sensitivity, Direction::Random(task.options.seed)];
        for (index, direction) in directions.iter().enumerate() {
            let what = format!("{} along the {}", runs.names[prompt], DIRECTIONS[index]);
            let sources = sources(&runs, prompt, direction, &places);
            let Some(sources) = record.attempt(&what, sources)? else { continue };
            let all: Vec<usize> = (0..sources.len()).collect();
            let parts = in_parts(&runs, prompt, &sources, &all, (&options, &what), record)?;
            for (part, result) in parts {
                let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
                for (n, &source) in part.iter().enumerate() {
                    let Source { site: ((level, token), _), size } = &sources[source];
                    columns.push("direction", index as f64);
                    columns.push("prompt", prompt as f64);
                    columns.push("level", *level as f64);
                    columns.push("token", *token as f64);
                    columns.push("size", if index == 0 { *size } else { f64::NAN });
                    for name in ["radius", "first_order", "second"] {
                        columns.push(name, f64::from(of(name)[n]));
                    }
                    for name in ["error", "field_error"] {
                        let width = options.amplitudes.len();
                        columns.extend(name, &of(name)[n * width..(n + 1) * width]);
                    }
                }
                record.check(&what, &result.certificates);
            }
        }
    }
    let result = columns.needed()?.into(task.labelled("regimes", &runs), "source");
    Ok(result
        .with("amplitudes", &[("amplitude", options.amplitudes.len())], options.amplitudes.clone())
        .note("directions", DIRECTIONS.join(","))
        .note("labels", task.labels(&runs.clean[0])))
}

/// Returns the places with a path to J. The sensitivity of J at any other place is exactly zero, and no source there
/// has a radius.
fn reaching(run: &Run, observable: &Observable, places: Vec<Place>) -> Result<Vec<Place>> {
    let (_, tokens, d) = shape(run);
    let chi = run.linearize(Mode::Exact).gradient(observable)?;
    let reaches = |&(l, t): &Place| chi[(l * tokens + t) * d..][..d].iter().any(|&x| x != 0.0);
    Ok(places.into_iter().filter(reaches).collect())
}

/// A source at a place, along a direction of unit length.
struct Source {
    /// The place and the unit direction.
    site: (Place, Vec<f32>),
    /// Original length of the direction, over |h|.
    size: f64,
}

/// Returns the sources along a direction, at the places where it is not zero. The displacement and the sensitivity are
/// zero at some places.
fn sources(runs: &Runs, prompt: usize, direction: &Direction, places: &[Place]) -> Result<Vec<Source>> {
    let (run, other, observable) = (&runs.clean[prompt], &runs.corrupted[prompt], &runs.observables[prompt]);
    let (field, d) = (run.field()?, run.model().sizes().d);
    let context = Context { observable: Some(observable), other: Some(other), unit: false };
    let each = places.iter().zip(direction.resolve_all(run, places, context)?);
    let source = |(&place, mut v): (&Place, Vec<f32>)| {
        let size = norm(&v);
        let h = norm(&field[(place.0 * run.tokens().len() + place.1) * d..][..d]);
        v.iter_mut().for_each(|x| *x = (f64::from(*x) / size) as f32);
        (size > 0.0).then(|| Source { site: (place, v), size: size / h })
    };
    Ok(each.filter_map(source).collect())
}

/// Computes the regime of some of the sources. Returns results, each with the indices of its sources. If a check fails,
/// the sources are split in two and tried again, until the failing place is alone; it is then recorded and left out.
fn in_parts(
    runs: &Runs,
    prompt: usize,
    sources: &[Source],
    some: &[usize],
    (options, what): (&RegimeOptions, &str),
    record: &mut Record,
) -> Result<Vec<(Vec<usize>, Labelled)>> {
    if some.is_empty() {
        return Ok(Vec::new());
    }
    let sites: Vec<(Place, Vec<f32>)> = some.iter().map(|&i| sources[i].site.clone()).collect();
    let failed = match regime(&runs.clean[prompt], &runs.observables[prompt], &sites, options) {
        Ok(result) => return Ok(vec![(some.to_vec(), result)]),
        Err(error) => error,
    };
    // A check of the run itself does not depend on the sources, so a split cannot help.
    let of_places =
        matches!(&failed, Error::Certificate { name, .. } | Error::Rounded { name, .. } if name != "adjoint");
    if !of_places || some.len() == 1 {
        let what = match some {
            [one] => {
                let (level, token) = sources[*one].site.0;
                format!("{what} at h[{level},{token}]")
            }
            _ => what.to_owned(),
        };
        record.attempt::<()>(&what, Err(failed))?;
        return Ok(Vec::new());
    }
    let (left, right) = some.split_at(some.len() / 2);
    let mut parts = in_parts(runs, prompt, sources, left, (options, what), record)?;
    parts.extend(in_parts(runs, prompt, sources, right, (options, what), record)?);
    Ok(parts)
}
