//! J to second order in a few directions at one place: slopes, curvatures, and how far both orders hold.
//!
//! With orthonormal directions V at h\[l, t\] and coordinates a,
//!
//! ```text
//! J(h + V a) = J + g . a + 1/2 a^T Q a + O(|a|^3),      g = V^T chi[l, t],      Q = V^T H[l, t; l, t] V
//! ```
//!
//! k Hessian-vector products give Q. Its eigenvectors turn the directions so that they decouple to second order: `J +
//! sum_i (g_i a_i + 1/2 q_i a_i^2)`. Runs with random sources in the directions measure both orders.

mod expansion;

use resolvent_model::{Edit, Mode, Observable, Run, Site, gaussian};

use crate::bases::Frames;
use crate::certificate::{alone, narrow, norm};
use crate::dense::{inner, orthonormal, size, wide};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::noise;
use crate::place::{Place, inside, overflows, shape};
use crate::readings::top;

use expansion::Expansion;

/// Options of [`quadratic`].
#[derive(Clone, Debug, PartialEq)]
pub struct QuadraticOptions {
    /// Lengths of the sources that test both orders, in units of |h\[l, t\]|.
    pub amplitudes: Vec<f32>,
    /// Random sources for each amplitude.
    pub samples: usize,
    /// Random vectors that estimate the curvature outside of the directions.
    pub probes: usize,
    /// Seed of both.
    pub seed: u64,
}

impl Default for QuadraticOptions {
    fn default() -> Self {
        Self { amplitudes: vec![0.01, 0.03, 0.1, 0.3, 1.0], samples: 32, probes: 16, seed: 0 }
    }
}

/// Expands J to second order in the vectors that `frames` has at `place`, made orthonormal: k directions.
///
/// Arrays: `direction [k, d]`, the eigenvectors of Q as vectors of the field, in descending order of the size of their
/// eigenvalues; `slope [k]` = g and `curvature [k]` = q along them, for sources of length 1; `size [1]` = |h\[l, t\]|;
/// `top_tokens [k, 5]`, the tokens whose logits each direction would raise most at the last level. Signs are such that
/// no slope is negative.
///
/// `captured [1]` is the share of the directions in the squared curvature of the place, `|Q|^2 / |H[l, t; l, t]|^2`.
/// Random vectors estimate the part outside of them. It is 0 if there is no curvature.
///
/// `amplitudes [A]`; `response`, `first` and `second [A, N]`: the responses of J to random sources in the directions,
/// by runs, to first and to second order. `error_first` and `error_second [A]` are the relative errors over the N
/// sources; NaN where an error does not exceed the noise floor.
///
/// With another run, of as many tokens, whose displacement at the place is x: `moved_share [1]`, the length of the part
/// of x in the directions over that of x; `moved_effect` and `moved_within [1]`, the responses to x and to this part;
/// `moved_first` and `moved_second [1]`, the response to this part to first and to second order.
///
/// Certificates: Q is symmetric (`triangles`); forward mode gives the same derivatives along three directions
/// (`along`); three sources agree with single runs (`alone`).
///
/// # Errors
/// A place that J does not depend on, no direction, runs of different lengths, an amplitude that is not above 0, no
/// samples or more than fit in memory, a device error, or a check that fails.
pub fn quadratic(
    run: &Run,
    observable: &Observable,
    (place, frames): (Place, &Frames),
    other: Option<&Run>,
    options: &QuadraticOptions,
) -> Result<Labelled> {
    check(run, observable, place, options)?;
    let (_, tokens, d) = shape(run);
    let (site, token) = (Site::level(place.0, run.model().sizes()), place.1);
    let row = |field: &[f32]| wide(&field[(place.0 * tokens + token) * d..][..d]);
    let linear = run.linearize(Mode::Exact);
    let (chi, h) = (linear.gradient(observable)?, row(&run.field()?));
    let (floor, chi) = (noise::floor(run, &chi)?, row(&chi));
    let probes = gaussian(options.seed.wrapping_add(1), options.probes * d).chunks(d).map(wide).collect();
    let j = (&linear, observable);
    let expansion = Expansion::new(j, (place, &chi, size(&h)), &directions(frames.at(place)?, d)?, probes)?;
    let k = expansion.directions.len();

    let moved = match other {
        Some(other) => Some(displacement(run, other, &h, &row)?),
        None => None,
    };
    let largest = options.amplitudes.iter().fold(0.0f32, |largest, a| largest.max(*a));
    if f64::from(largest) * size(&h) > f64::from(f32::MAX) {
        return Err(overflows(largest, size(&h), place));
    }
    let part = moved.as_ref().map(|x| expansion.coordinates(x));
    let samples = samples(options, k, size(&h));
    let vectors = samples.iter().chain(&part).map(|a| expansion.vector(a)).chain(moved.clone());
    let edits: Vec<[Edit; 1]> = vectors.map(|x| [Edit::add(site, token, narrow(&x))]).collect();
    let (values, value) = (run.values_under(&edits, observable)?, run.value(observable)?);
    let responses: Vec<f64> = values.iter().map(|v| v - value).collect();
    let (responses, of_moved) = responses.split_at(samples.len());
    let [first, second] = [0, 1].map(|order| samples.iter().map(|a| expansion.at(a)[order]).collect::<Vec<f64>>());

    let n = options.samples;
    let error = |of: &[f64]| {
        let pairs = responses.chunks(n).zip(of.chunks(n));
        pairs.map(|(actual, of)| relative(actual, of, floor) as f32).collect::<Vec<f32>>()
    };
    let units: Vec<Vec<f32>> = expansion.directions.iter().map(|v| narrow(v)).collect();
    let logits = linear.logit_tangents(observable.position(), &units)?;
    let ids: Vec<f32> = logits.chunks(logits.len() / k).flat_map(top).map(|(id, _)| id as f32).collect();
    let (of_k, one) = (("direction", k), [("value", 1)]);
    let grid = [("amplitude", options.amplitudes.len()), ("sample", n)];
    let mut result = Labelled::new("quadratic", run)
        .note("observable", observable.to_string())
        .note("place", format!("{},{token}", place.0))
        .note(noise::NAME, format!("{floor:e}"))
        .note("seed", options.seed.to_string())
        .with("slope", &[of_k], narrow(&expansion.slope))
        .with("curvature", &[of_k], narrow(&expansion.curvature))
        .with("direction", &[of_k, ("d", d)], units.concat())
        .with("top_tokens", &[of_k, ("rank", ids.len() / k)], ids)
        .with("size", &one, vec![size(&h) as f32])
        .with("captured", &one, vec![expansion.captured as f32])
        .with("amplitudes", &grid[..1], options.amplitudes.clone())
        .with("response", &grid, narrow(responses))
        .with("first", &grid, narrow(&first))
        .with("second", &grid, narrow(&second))
        .with("error_first", &grid[..1], error(&first))
        .with("error_second", &grid[..1], error(&second));
    if let (Some(x), Some(a), [within, whole]) = (&moved, &part, of_moved) {
        let [first, second] = expansion.at(a);
        let share = size(a) / size(x).max(f64::MIN_POSITIVE);
        for (name, value) in [
            ("moved_share", share),
            ("moved_effect", *whole),
            ("moved_within", *within),
            ("moved_first", first),
            ("moved_second", second),
        ] {
            result = result.with(name, &one, vec![value as f32]);
        }
    }
    result
        .certify(expansion.triangles.clone())?
        .certify(expansion.along(j, (site, token), &chi)?)?
        .certify(alone(run, observable, &edits, &values)?)
}

/// Checks that J can depend on the place, and the options.
fn check(run: &Run, observable: &Observable, (level, token): Place, options: &QuadraticOptions) -> Result<()> {
    inside((level, token), run)?;
    let (top, position) = (observable.level(run.model().sizes()), observable.position());
    if level > top || token > position {
        return Err(Error::Input(format!(
            "{observable} does not depend on h[{level},{token}]; give a level up to {top} and a token up to {position}"
        )));
    }
    if let Some(a) = options.amplitudes.iter().find(|a| !a.is_finite() || **a <= 0.0) {
        return Err(Error::Input(format!("invalid amplitude {a}: expected finite numbers above 0")));
    }
    if options.amplitudes.is_empty() || options.samples == 0 {
        return Err(Error::Input("no amplitude or no sample is given; give one or more of each".to_owned()));
    }
    // The sources of all samples in f32, the random vectors in f64, and the products with these in both.
    let [amplitudes, samples, probes] = [options.amplitudes.len(), options.samples, options.probes].map(|n| n as u64);
    let sources = amplitudes.saturating_mul(samples).saturating_mul(12).saturating_add(probes.saturating_mul(28));
    let needed = sources.saturating_mul(run.model().sizes().d as u64);
    match needed <= run.model().device().batch_bytes() {
        true => Ok(()),
        false => Err(Error::Input(format!(
            "{samples} samples and {probes} probes do not fit in memory; give fewer --samples and --probes, or more --memory"
        ))),
    }
}

/// Returns orthonormal vectors with the span of `vectors [_, d]`.
fn directions(vectors: &[f32], d: usize) -> Result<Vec<Vec<f64>>> {
    let mut all: Vec<Vec<f64>> = vectors.chunks(d).map(wide).collect();
    orthonormal(&mut all);
    all.retain(|v| size(v) > 0.0);
    match all.is_empty() {
        true => Err(Error::Input("the basis has no direction at this place; choose another basis or place".to_owned())),
        false => Ok(all),
    }
}

/// Returns the field of the other run at the place minus that of this one.
fn displacement(run: &Run, other: &Run, h: &[f64], row: &dyn Fn(&[f32]) -> Vec<f64>) -> Result<Vec<f64>> {
    crate::bases::check_lengths(run, std::slice::from_ref(other))?;
    Ok(row(&other.field()?).iter().zip(h).map(|(theirs, ours)| theirs - ours).collect())
}

/// Returns the coordinates of random sources: the same directions at each amplitude, `[A, N]`.
fn samples(options: &QuadraticOptions, k: usize, h: f64) -> Vec<Vec<f64>> {
    let all = gaussian(options.seed, options.samples * k);
    let scaled = |&amplitude: &f32| {
        all.chunks(k).map(move |a| {
            let scale = f64::from(amplitude) * h / norm(a).max(f64::MIN_POSITIVE);
            a.iter().map(|&x| scale * f64::from(x)).collect()
        })
    };
    options.amplitudes.iter().flat_map(scaled).collect()
}

/// Returns `|actual - of| / |actual|`, or NaN if the numerator does not exceed the noise of its terms.
fn relative(actual: &[f64], of: &[f64], floor: f64) -> f64 {
    let apart: Vec<f64> = actual.iter().zip(of).map(|(a, b)| a - b).collect();
    match size(&apart) <= floor * (apart.len() as f64).sqrt() {
        true => f64::NAN,
        false => size(&apart) / inner(actual, actual).sqrt().max(f64::MIN_POSITIVE),
    }
}
