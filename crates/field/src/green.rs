//! Green functions: the response field `G s` of one source, `response[l', t'] = (dh[l', t'] / dh[l, t]) s`.

use resolvent_model::{Mode, Run, Site, Source, SourcedRun, gaussian, jvp_of};

use crate::certificate::{Certificate, adjoint_all, norm, norms};
use crate::error::Result;
use crate::field_slope::{PlacedSource, field_slopes, responses};
use crate::finite_field::with_finite;
use crate::geometry::Geometry;
use crate::labelled::Labelled;
use crate::place::{Place, inside, shape};
use crate::quadrature::check_nodes;

/// Optional parts of the result of [`green_with`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GreenOptions {
    /// Whether to compute the geometry of propagation; see [`Geometry`].
    pub geometry: bool,
    /// Number of random directions to propagate besides the source, and the seed of the first.
    pub directions: (usize, u64),
    /// Number of nodes of the secant response, beside the finite one; 0 leaves both out.
    pub nodes: usize,
}

/// Computes the response field of a source `[d]` at (level, token): arrays `response [L+1, T, d]` and `norm [L+1, T]`.
///
/// Certificates: exact zeros outside the causal cone, the adjoint identity, and a finite difference of the whole last
/// level.
///
/// # Errors
/// A source that does not fit, a device error, or a check that fails.
pub fn green(run: &Run, level: usize, token: usize, source: &[f32]) -> Result<Labelled> {
    green_with(run, (level, token), source, GreenOptions::default())
}

/// As [`green`], with the arrays that `options` ask for.
///
/// The geometry has `energy`, `stays`, `centroid`, `width`, `front [L+1]`, `by_distance [L+1, T]` and `velocity [1]`.
/// For random directions, `gain [N, L+1]` is the length of the response to each random unit direction at each level.
/// `anisotropy [L+1]` is the largest squared gain over the mean one: 1 if all directions have the same gain.
///
/// With nodes: `finite [L+1, T, d]`, the response by a run with the source, of its whole length; `secant [L+1, T, d]`,
/// the mean of the derivatives on the way to it; `first_error` and `secant_error [L+1]`, the relative errors of first
/// order and of the secant at each level; `secant_bar [L+1]`, the relative distance of the secant from a rule with half
/// of its nodes. They are NaN where a level has no response, or where rounding hides the error.
///
/// # Errors
/// As [`green`], or more nodes than 16.
pub fn green_with(run: &Run, place: Place, source: &[f32], options: GreenOptions) -> Result<Labelled> {
    Ok(green_all(&[PlacedSource { run, place, vector: source }], options)?.remove(0))
}

/// Computes the response field of each of several sources, and returns a result for each; see [`green_with`]. Runs of
/// one batch share passes.
///
/// # Errors
/// As [`green`], for any of the sources.
pub fn green_all(sources: &[PlacedSource<'_>], options: GreenOptions) -> Result<Vec<Labelled>> {
    check_nodes(options.nodes)?;
    for PlacedSource { run, place, .. } in sources {
        inside(*place, run)?;
    }
    let runs: Vec<&Run> = sources.iter().map(|source| source.run).collect();
    let responses = responses(sources)?;
    let (slopes, adjoints) = (field_slopes(sources, &responses)?, adjoint_all(Mode::Exact, &runs, 1)?);
    let gains = match options.directions.0 {
        0 => vec![Vec::new(); sources.len()],
        _ => gains_all(&sources.iter().map(|s| (s.run, s.place)).collect::<Vec<_>>(), options.directions)?,
    };
    let checks = slopes.into_iter().zip(adjoints);
    let each = sources.iter().zip(responses).zip(gains).zip(checks);
    let results = each.map(|(((source, response), gain), (slope, adjoint))| {
        result(source, response, gain, options)?.certify(slope)?.certify(adjoint)
    });
    let results = results.collect::<Result<Vec<Labelled>>>()?;
    if options.nodes > 0 { with_finite(results, sources, options.nodes) } else { Ok(results) }
}

/// Returns the result of one source, with the check of its causal cone.
fn result(
    PlacedSource { run, place, .. }: &PlacedSource<'_>,
    response: Vec<f32>,
    gain: Vec<f32>,
    options: GreenOptions,
) -> Result<Labelled> {
    let (levels, tokens, d) = shape(run);
    let norm = norms(&response, d);
    let leaked = causal_zeros(&norm, tokens, *place);
    let geometry = options.geometry.then(|| Geometry::new(&norm, tokens, *place));
    let mut result = Labelled::new("green", run)
        .with("response", &[("level", levels), ("token", tokens), ("d", d)], response)
        .with("norm", &[("level", levels), ("token", tokens)], norm)
        .note("source", format!("{},{}", place.0, place.1));
    if let Some(g) = geometry {
        let axis = [("level", levels)];
        result = result
            .with("energy", &axis, g.energy)
            .with("stays", &axis, g.stays)
            .with("centroid", &axis, g.centroid)
            .with("width", &axis, g.width)
            .with("front", &axis, g.front)
            .with("by_distance", &[("level", levels), ("distance", tokens)], g.by_distance)
            .with("velocity", &[("value", 1)], vec![g.velocity as f32]);
    }
    let (count, seed) = options.directions;
    if count > 0 {
        let anisotropy = (0..levels).map(|l| anisotropy(gain.iter().skip(l).step_by(levels))).collect();
        result = result
            .with("gain", &[("direction", count), ("level", levels)], gain)
            .with("anisotropy", &[("level", levels)], anisotropy)
            .note("seed", seed.to_string());
    }
    result.certify(leaked)
}

/// Returns the length of the response at each level to `count` random unit directions, `[N, L+1]`.
///
/// # Errors
/// A place outside of the field, or a device error.
pub fn gains(run: &Run, place: Place, directions: (usize, u64)) -> Result<Vec<f32>> {
    inside(place, run)?;
    Ok(gains_all(&[(run, place)], directions)?.remove(0))
}

/// Returns [`gains`] of each place, which are inside of their fields. Runs of one batch share passes.
fn gains_all(places: &[(&Run, Place)], (count, seed): (usize, u64)) -> Result<Vec<Vec<f32>>> {
    let Some((first, _)) = places.first() else { return Ok(Vec::new()) };
    let (levels, _, d) = shape(first);
    let unit = |i: u64| -> Vec<f32> {
        let v = gaussian(seed.wrapping_add(i), d);
        let size = norm(&v);
        v.iter().map(|&x| (f64::from(x) / size) as f32).collect()
    };
    let units: Vec<Vec<f32>> = (0..count as u64).map(unit).collect();
    let at = |&(run, (level, token)): &(&Run, Place)| {
        let site = Site::level(level, run.model().sizes());
        units.iter().map(move |v| [Source { site, token, vector: v.clone() }]).collect::<Vec<_>>()
    };
    let sources: Vec<Vec<[Source; 1]>> = places.iter().map(at).collect();
    let sourced = places.iter().zip(&sources);
    let sourced = sourced.flat_map(|((run, _), sources)| sources.iter().map(|sources| SourcedRun { run, sources }));
    let mut gains = vec![vec![0.0f32; count * levels]; places.len()];
    jvp_of(Mode::Exact, &sourced.collect::<Vec<_>>(), &first.levels(), &mut |chunk| {
        let (of, direction) = (chunk.sequence / count, chunk.sequence % count);
        gains[of][direction * levels + chunk.site] = norm(chunk.rows) as f32;
    })?;
    Ok(gains)
}

/// Returns the largest squared gain over the mean one; 0 if all gains are zero.
fn anisotropy<'a>(gains: impl Iterator<Item = &'a f32>) -> f32 {
    let squares: Vec<f64> = gains.map(|&g| f64::from(g).powi(2)).collect();
    let (most, sum) = squares.iter().fold((0.0f64, 0.0), |(m, s), x| (m.max(*x), s + x));
    if sum == 0.0 { 0.0 } else { (most * squares.len() as f64 / sum) as f32 }
}

/// Checks that no place outside of the causal cone of (level, token) has a response, by the norms `[L+1, T]`. The
/// figure is the number of places that have one.
pub(crate) fn causal_zeros(norm: &[f32], tokens: usize, (level, token): Place) -> Certificate {
    let outside = |i: usize| i / tokens < level || i % tokens < token || (i / tokens == level && i % tokens != token);
    let leaked = norm.iter().enumerate().filter(|&(i, &n)| outside(i) && n != 0.0).count();
    Certificate::new("causal_zeros", leaked as f64, 0.0)
}
