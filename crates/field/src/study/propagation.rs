//! Propagation in a task: where responses to sources at the changed token go, and how many directions they have.

use resolvent_model::{Mode, Run, Site, Source, gaussian};

use crate::certificate::{Certificate, adjoint, norm, norms};
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::labelled::Labelled;
use crate::operator::Operator;
use crate::place::{Place, shape};
use crate::rsvd::{RsvdOptions, rsvd};

use super::left_out::Record;
use super::tasks::{Columns, Runs, Task};

/// Number of singular values of the operator to the last level.
const RANK: usize = 16;
/// Number of leading singular values in the share `captured`.
const FEW: usize = 8;
/// Tolerance of the singular values, relative to the largest. It is loose, because they are only plotted and summed as
/// squares.
const TOLERANCE: f64 = 1e-3;

/// Measures how responses propagate from the changed token at several levels.
///
/// Each source is at the changed token of one level of one prompt. Arrays over the sources `[N]`:
///
/// - `prompt` and `level`;
/// - `stays`, `last`, `centroid` and `front [N, L+1]` of a source along the displacement: see [`Geometry`]; `last` is
///   the share of the energy at the last token;
/// - `random_stays`, `random_last`, `random_centroid` and `random_front [N, L+1]`: the same for the root mean square
///   over random directions;
/// - `singular [N, 16]`: singular values of the operator to all tokens of level L;
/// - `frobenius`: the norm of that operator, estimated from random directions;
/// - `stable_rank` = frobenius^2 / s1^2;
/// - `captured`: the share of the energy in the first eight singular values.
///
/// Maps of the first source of the first prompt: `map` and `map_random [L+1, T]`.
pub(super) fn step(task: &Task<'_>, record: &mut Record) -> Result<Labelled> {
    let runs = task.runs(task.size(3, 8), &[], record)?;
    let (mut columns, mut example) = (Columns::new(inner), None);
    for prompt in 0..runs.len() {
        let name = &runs.names[prompt];
        let Some((found, maps)) = record.attempt(name, propagated(task, &runs, prompt))? else { continue };
        columns.append(found);
        record.check(name, &[causal(&runs.clean[prompt], (0, runs.changed[prompt]))?]);
        example = example.or(Some((prompt, maps)));
    }
    let mut result = columns
        .needed()?
        .into(task.labelled("propagation", &runs), "source")
        .note("d", task.model.sizes().d.to_string());
    if let Some((prompt, [along, random])) = example {
        let run = &runs.clean[prompt];
        let (levels, tokens, _) = shape(run);
        let axes = [("level", levels), ("token", tokens)];
        result = result.with("map", &axes, along).with("map_random", &axes, random).note("labels", task.labels(run));
        record.check("first pair", &[adjoint(&run.linearize(Mode::Exact), 1)?]);
    }
    Ok(result)
}

/// Returns the name of the second axis of a column.
fn inner(name: &str) -> &'static str {
    if name == "singular" { "value" } else { "level" }
}

/// Returns the columns of one pair, and the maps of its first source.
fn propagated(task: &Task<'_>, runs: &Runs, prompt: usize) -> Result<(Columns, [Vec<f32>; 2])> {
    let (mut columns, mut maps) = (Columns::new(inner), None);
    let run = &runs.clean[prompt];
    let ((levels, tokens, d), token) = (shape(run), runs.changed[prompt]);
    let displacement = displacement(run, &runs.corrupted[prompt])?;
    for level in (0..levels - 1).step_by(levels.div_ceil(task.size(2, 5))) {
        let place = (level, token);
        let along = displacement[(level * tokens + token) * d..][..d].to_vec();
        let random = |i: usize| gaussian(task.options.seed.wrapping_add(i as u64), d);
        let directions: Vec<Vec<f32>> = std::iter::once(along).chain((0..task.size(16, 48)).map(random)).collect();
        let mut maps_of = responses(run, place, &directions)?;
        columns.push("prompt", prompt as f64);
        columns.push("level", level as f64);
        let random_map = root_mean_square(&maps_of[1..]);
        for (norm, names) in [
            (&maps_of[0], ["stays", "last", "centroid", "front"]),
            (&random_map, ["random_stays", "random_last", "random_centroid", "random_front"]),
        ] {
            let geometry = Geometry::new(norm, tokens, place);
            let last = geometry.energy.iter().enumerate().map(|(l, &energy)| {
                let here = norm[l * tokens + tokens - 1].powi(2);
                if energy > 0.0 { here / energy } else { 0.0 }
            });
            columns.extend(names[1], &last.collect::<Vec<f32>>());
            columns.extend(names[0], &geometry.stays);
            columns.extend(names[2], &geometry.centroid);
            columns.extend(names[3], &geometry.front);
        }
        // E |G v|^2 = |G|_F^2 / d over random unit directions.
        let end = &random_map[(levels - 1) * tokens..];
        let frobenius = norm(end) * (d as f64).sqrt();
        let linear = run.linearize(Mode::Exact);
        let operator = Operator::new(&linear, &[place], &Operator::level(&linear, levels - 1))?;
        let options =
            RsvdOptions { rank: RANK.min(d), seed: task.options.seed, tolerance: TOLERANCE, ..RsvdOptions::default() };
        let values = rsvd(&operator, &options)?.values;
        columns.push("frobenius", frobenius);
        columns.push("stable_rank", frobenius.powi(2) / values[0].powi(2));
        let few: f64 = values.iter().take(FEW).map(|s| s * s).sum();
        columns.push("captured", few / frobenius.powi(2));
        columns.extend("singular", &crate::certificate::narrow(&values));
        maps = maps.or_else(|| Some([maps_of.swap_remove(0), random_map]));
    }
    let maps = maps.ok_or_else(|| Error::Input("the model has no level below the last".to_owned()))?;
    Ok((columns, maps))
}

/// Returns the field of `other` minus that of `run`.
fn displacement(run: &Run, other: &Run) -> Result<Vec<f32>> {
    Ok(other.field()?.iter().zip(run.field()?).map(|(a, b)| a - b).collect())
}

/// Returns, for each direction, the norms `[L+1, T]` of the response to a unit source along it.
fn responses(run: &Run, (level, token): Place, directions: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
    let (levels, tokens, d) = shape(run);
    let site = Site::level(level, run.model().sizes());
    let unit = |v: &Vec<f32>| {
        let size = norm(v).max(f64::MIN_POSITIVE);
        [Source { site, token, vector: v.iter().map(|&x| (f64::from(x) / size) as f32).collect() }]
    };
    let sources: Vec<[Source; 1]> = directions.iter().map(unit).collect();
    let mut maps = vec![vec![0.0; levels * tokens]; directions.len()];
    run.linearize(Mode::Exact).jvp_at(&sources, &run.levels(), &mut |chunk| {
        let at = chunk.site * tokens + chunk.token;
        let norms = norms(chunk.rows, d);
        maps[chunk.sequence][at..at + norms.len()].copy_from_slice(&norms);
    })?;
    Ok(maps)
}

/// Returns the root mean square over `maps`, for each place.
fn root_mean_square(maps: &[Vec<f32>]) -> Vec<f32> {
    let size = maps.first().map_or(0, Vec::len);
    let at = |i: usize| maps.iter().map(|m| f64::from(m[i]).powi(2)).sum::<f64>() / maps.len() as f64;
    (0..size).map(|i| at(i).sqrt() as f32).collect()
}

/// Checks that no place outside of the causal cone responds to a source.
fn causal(run: &Run, place: Place) -> Result<Certificate> {
    let (_, tokens, d) = shape(run);
    let map = &responses(run, place, &[gaussian(0, d)])?[0];
    let outside = |i: usize| i / tokens < place.0 || i % tokens < place.1;
    let leaked = map.iter().enumerate().filter(|&(i, &n)| outside(i) && n != 0.0).count();
    Ok(Certificate::new("causal_zeros", leaked as f64, 0.0))
}
