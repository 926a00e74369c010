//! Green functions: the response field `G s` of one source, `response[l', t'] = (dh[l', t'] / dh[l, t]) s`.

use resolvent_model::{Edit, Mode, Run, Site, Source, gaussian};

use crate::certificate::{Certificate, SLOPE, adjoint, norm, norms};
use crate::error::Result;
use crate::geometry::Geometry;
use crate::labelled::Labelled;
use crate::noise;
use crate::place::{Place, inside, shape};
use crate::slope::{CURVED_FIELD, amplitudes, first_to_pass};

/// Optional parts of the result of [`green_with`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GreenOptions {
    /// Whether to compute the geometry of propagation; see [`Geometry`].
    pub geometry: bool,
    /// Number of random directions to propagate besides the source, and the seed of the first.
    pub directions: (usize, u64),
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
/// # Errors
/// As [`green`].
pub fn green_with(run: &Run, place: Place, source: &[f32], options: GreenOptions) -> Result<Labelled> {
    let (levels, tokens, d) = shape(run);
    inside(place, run)?;
    let (level, token) = place;
    let site = Site::level(level, run.model().sizes());
    let linear = run.linearize(Mode::Exact);
    let response = linear.jvp(&[[Source { site, token, vector: source.to_vec() }]])?.into_single();
    let norm = norms(&response, d);
    let leaked = causal_zeros(&norm, tokens, place);
    let slope = slope(run, place, source, &response[(levels - 1) * tokens * d..])?;
    let geometry = options.geometry.then(|| Geometry::new(&norm, tokens, place));
    let mut result = Labelled::new("green", run)
        .with("response", &[("level", levels), ("token", tokens), ("d", d)], response)
        .with("norm", &[("level", levels), ("token", tokens)], norm)
        .note("source", format!("{level},{token}"));
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
        let gain = gains(run, place, (count, seed))?;
        let anisotropy = (0..levels).map(|l| anisotropy(gain.iter().skip(l).step_by(levels))).collect();
        result = result
            .with("gain", &[("direction", count), ("level", levels)], gain)
            .with("anisotropy", &[("level", levels)], anisotropy)
            .note("seed", seed.to_string());
    }
    result.certify(leaked)?.certify(slope)?.certify(adjoint(&linear, 1)?)
}

/// Returns the length of the response at each level to `count` random unit directions, `[N, L+1]`.
///
/// # Errors
/// A place outside of the field, or a device error.
pub fn gains(run: &Run, (level, token): Place, (count, seed): (usize, u64)) -> Result<Vec<f32>> {
    inside((level, token), run)?;
    let (levels, _, d) = shape(run);
    let site = Site::level(level, run.model().sizes());
    let unit = |i: u64| {
        let v = gaussian(seed + i, d);
        let size = norm(&v);
        [Source { site, token, vector: v.iter().map(|&x| (f64::from(x) / size) as f32).collect() }]
    };
    let sources: Vec<[Source; 1]> = (0..count as u64).map(unit).collect();
    let mut gain = vec![0.0f32; count * levels];
    run.linearize(Mode::Exact).jvp_at(&sources, &run.levels(), &mut |chunk| {
        gain[chunk.sequence * levels + chunk.site] = norm(chunk.rows) as f32;
    })?;
    Ok(gain)
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

/// Compares the central difference of h\[L\] along the source with the response there, relative to the norm of the
/// response.
///
/// As for J, the second order gives the amplitude; see [`crate::slope`].
pub(crate) fn slope(run: &Run, (level, token): Place, source: &[f32], last: &[f32]) -> Result<Certificate> {
    let (levels, tokens, d) = shape(run);
    let (size, first) = (norm(source), norm(last));
    if size == 0.0 || first == 0.0 {
        return Ok(Certificate::new("slope", 0.0, SLOPE));
    }
    let (field, top) = (run.field()?, (levels - 1) * tokens * d);
    let site = Site::level(level, run.model().sizes());
    let h = norm(&field[(level * tokens + token) * d..][..d]) / size;
    let second = match run.has_second_order() {
        true => {
            let jets = run.linearize(Mode::Exact).jet(&[[Source { site, token, vector: source.to_vec() }]])?;
            norm(&jets.second.get(0)[top..])
        }
        false => 0.0,
    };
    let noise = noise::unit(run.model().sizes()) * norm(&field[top..]);
    let steps = amplitudes(CURVED_FIELD, [first, second], noise, h);
    let at = |a: f64| -> Result<Vec<f32>> {
        let moved = source.iter().map(|x| (a * f64::from(*x)) as f32).collect();
        let edits: Vec<Edit> = run.edits().iter().cloned().chain([Edit::add(site, token, moved)]).collect();
        Ok(run.model().run(run.tokens(), &edits)?.field()?[top..].to_vec())
    };
    let mut found = first_to_pass(1, &[steps], &mut |points| {
        let check = |&(_, a): &(usize, f64)| {
            let (up, down) = (at(a)?, at(-a)?);
            let apart =
                up.iter().zip(&down).zip(last).map(|((up, down), last)| {
                    ((f64::from(*up) - f64::from(*down)) / (2.0 * a) - f64::from(*last)).powi(2)
                });
            let value = apart.sum::<f64>().sqrt() / first;
            Ok(Certificate::new("slope", value, SLOPE).with_noise(noise / (a * first)))
        };
        points.iter().map(check).collect()
    })?;
    Ok(found.remove(0))
}
