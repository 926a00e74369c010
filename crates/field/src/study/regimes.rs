//! The linear regime of a task: errors and radii of sources at many places, along several directions.

use std::ops::Range;

use resolvent_model::{Mode, Observable, Run};

use crate::certificate::norm;
use crate::direction::{Context, Direction};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::place::{Place, shape};
use crate::regime::{RegimeCase, RegimeOptions, regime_all};

use super::left_out::{Record, ends, may_pass};
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
    let directions = [Direction::Displacement, Direction::Sensitivity, Direction::Random(task.options.seed)];
    let mut probes = Vec::with_capacity(runs.len() * directions.len());
    for prompt in 0..runs.len() {
        let run = &runs.clean[prompt];
        // Sample about nine levels of a deep model, or three in a quick study: more prompts count more than more
        // levels.
        let step = run.model().sizes().layers.div_ceil(task.size(2, 8));
        let places = reaching(run, &runs.observables[prompt], Runs::places(run, step, task.size(2, 1)))?;
        for (index, direction) in directions.iter().enumerate() {
            let what = format!("{} along the {}", runs.names[prompt], DIRECTIONS[index]);
            let sources = sources(&runs, prompt, direction, &places);
            let Some(sources) = record.attempt(&what, sources)? else { continue };
            let (sites, sizes) = sources.into_iter().unzip();
            probes.push(Probe { prompt, index, what, sites, sizes });
        }
    }
    for (probe, found) in probes.iter().zip(together(&runs, &probes, &options)?) {
        for (part, result) in in_parts(&runs, (probe, 0..probe.sites.len()), found, &options, record)? {
            let of = |name: &str| result.array(name).map_or(&[][..], |a| &a.data);
            for (n, source) in part.enumerate() {
                let (((level, token), _), size) = (&probe.sites[source], probe.sizes[source]);
                columns.push("direction", probe.index as f64);
                columns.push("prompt", probe.prompt as f64);
                columns.push("level", *level as f64);
                columns.push("token", *token as f64);
                columns.push("size", if probe.index == 0 { size } else { f64::NAN });
                for name in ["radius", "first_order", "second"] {
                    columns.push(name, f64::from(of(name)[n]));
                }
                for name in ["error", "field_error"] {
                    let width = options.amplitudes.len();
                    columns.extend(name, &of(name)[n * width..(n + 1) * width]);
                }
            }
            record.check(&probe.what, &result.certificates);
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

/// A place and a direction of unit length, and the original length of the direction over |h|.
type Source = ((Place, Vec<f32>), f64);

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
        (size > 0.0).then(|| ((place, v), size / h))
    };
    Ok(each.filter_map(source).collect())
}

/// The sources of a prompt along a direction.
struct Probe {
    prompt: usize,
    /// Index of the direction.
    index: usize,
    /// Name in the record of what is left out.
    what: String,
    /// Places and unit directions of the sources.
    sites: Vec<(Place, Vec<f32>)>,
    /// Original lengths of the directions, over |h|.
    sizes: Vec<f64>,
}

impl Probe {
    fn case<'a>(&'a self, runs: &'a Runs, some: Range<usize>) -> RegimeCase<'a> {
        let (run, observable) = (&runs.clean[self.prompt], &runs.observables[self.prompt]);
        RegimeCase { run, observable, sites: &self.sites[some] }
    }
}

/// Computes the regimes of all probes in shared passes; alone, if one of them does not fit.
///
/// # Errors
/// A device error.
fn together(runs: &Runs, probes: &[Probe], options: &RegimeOptions) -> Result<Vec<Result<Labelled>>> {
    let cases: Vec<RegimeCase<'_>> = probes.iter().map(|probe| probe.case(runs, 0..probe.sites.len())).collect();
    match regime_all(&cases, options) {
        Err(error) if ends(&error) || may_pass(&error) => Err(error),
        Err(_) => Ok(cases.iter().map(|case| alone(*case, options)).collect()),
        Ok(found) => Ok(found),
    }
}

fn alone(case: RegimeCase<'_>, options: &RegimeOptions) -> Result<Labelled> {
    regime_all(&[case], options)?.remove(0)
}

/// Returns the results of some of the sources of a probe, each with its sources. `found` is the result of all of them.
/// If a check fails, the sources are split in two and tried again, until the failing place is alone; it is then
/// recorded and left out.
fn in_parts(
    runs: &Runs,
    (probe, some): (&Probe, Range<usize>),
    found: Result<Labelled>,
    options: &RegimeOptions,
    record: &mut Record,
) -> Result<Vec<(Range<usize>, Labelled)>> {
    if some.is_empty() {
        return Ok(Vec::new());
    }
    let failed = match found {
        Ok(result) => return Ok(vec![(some, result)]),
        Err(error) => error,
    };
    // A check of the run itself does not depend on the sources, so a split cannot help.
    let of_places =
        matches!(&failed, Error::Certificate { name, .. } | Error::Rounded { name, .. } if name != "adjoint");
    if !of_places || some.len() == 1 {
        let what = match some.len() {
            1 => {
                let (level, token) = probe.sites[some.start].0;
                format!("{} at h[{level},{token}]", probe.what)
            }
            _ => probe.what.clone(),
        };
        record.attempt::<()>(&what, Err(failed))?;
        return Ok(Vec::new());
    }
    let middle = some.start + some.len() / 2;
    let mut parts = Vec::new();
    for half in [some.start..middle, middle..some.end] {
        let found = alone(probe.case(runs, half.clone()), options);
        parts.extend(in_parts(runs, (probe, half), found, options, record)?);
    }
    Ok(parts)
}
