//! The linear regime: how far from a run the first-order response is accurate.
//!
//! With a source v at (l, t), `finite(a) = J(h + a v) - J(h)`, `first = dJ/da` and `second = d2J/da2` at a = 0. The
//! error is `|finite - a first| / |a first|`, and the radius is the smallest a > 0 at which it reaches 20 %. Near 0 the
//! error is `a |second / (2 first)|`, so the radius of a response without higher orders is `0.4 |first / second|`.

mod field;
mod probe;

use resolvent_model::{Along, Edit, Linearization, Mode, Observable, Run, Source};

use field::field_errors;
use probe::{Probe, probes};

use crate::certificate::{Certificate, SLOPE, adjoint, narrow, norm};
use crate::conditioning::{amplification, conditioned};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::noise;
use crate::place::Place;
use crate::quadrature::Rule;
use crate::radius::{Curve, LINEAR, radii, radii_from};
use crate::secant::secants;
use crate::slope::{CURVED, amplitudes, first_to_pass};

/// Options of [`regime`].
#[derive(Clone, Debug, PartialEq)]
pub struct RegimeOptions {
    /// Amplitudes at which the finite response is computed.
    pub amplitudes: Vec<f32>,
    /// Whether amplitudes multiply the direction as given; otherwise they are in units of |h\[l, t\]|.
    pub absolute: bool,
    /// Whether to compare the whole downstream field as well.
    pub field: bool,
    /// Number of nodes of the secant response; 0 leaves it out.
    pub nodes: usize,
}

/// The most nodes of a secant response.
pub(crate) const MOST_NODES: usize = 16;

impl Default for RegimeOptions {
    fn default() -> Self {
        Self { amplitudes: vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0], absolute: false, field: false, nodes: 0 }
    }
}

/// Returns the linear radius to second order, which needs no sweep: there the error `a |second / (2 first)|` reaches 20
/// %.
pub fn jet_radius(first: f64, second: f64) -> f64 {
    2.0 * LINEAR * (first / second).abs()
}

/// Compares finite with first-order responses of J to a source at each of `sites`, along its direction `[d]`.
///
/// Arrays: `sites [N, 2]`, `amplitudes [A]`, `finite [N, A]`, `error [N, A]`, `radius [N]`, `first_order [N]`, `second
/// [N]` and `jet_radius [N]` (see [`jet_radius`]). With `options.field` also `field_error [N, A]`, the same error for
/// the field at all levels above the source. With `options.nodes` also `secant [N, A]`, the response from derivatives
/// at that many amplitudes on the way to a by Gauss-Legendre quadrature, with `secant_bar [N, A]`, its distance from
/// the embedded rule, `secant_error [N, A]`, its error, and `secant_radius [N]`, the amplitude at which that error
/// reaches 20 %. First order ends at `radius`, and the nodes end there.
///
/// Amplitudes, radii and derivatives are in units of |h\[l, t\]| unless `options.absolute` is set. A radius is infinite
/// if J does not depend on the source. It is NaN if f32 cannot resolve it: the error is still above 20 % at amplitudes
/// so small that rounding hides the response. An error is NaN if the finite response differs from first order by no
/// more than the noise floor.
///
/// Certificates: the adjoint and forward mode give the same first-order responses; at a small amplitude, first and
/// second order give the finite response; the adjoint identity. If the first check fails at a place, the results of
/// that place are NaN, and the metadata name the place with its figure under `failed`.
///
/// # Errors
/// Sites, directions or amplitudes that do not fit, a device error, or a check that fails. The first check is an error
/// only if it fails at every place.
pub fn regime(
    run: &Run,
    observable: &Observable,
    sites: &[(Place, Vec<f32>)],
    options: &RegimeOptions,
) -> Result<Labelled> {
    if options.nodes > MOST_NODES {
        return Err(Error::Input(format!("{} nodes of a secant: give at most {MOST_NODES}", options.nodes)));
    }
    let probes = probes(run, sites, (&options.amplitudes, options.absolute))?;
    let sources: Vec<[Source; 1]> = probes.iter().map(|p| [p.source(1.0)]).collect();
    let along = run.linearize(Mode::Exact).along(&sources, observable)?;
    measured(run, observable, &probes, &along, options)
}

/// Computes finite responses along the probes, and compares them with the derivatives `along`.
fn measured(
    run: &Run,
    observable: &Observable,
    probes: &[Probe],
    along: &[Along],
    options: &RegimeOptions,
) -> Result<Labelled> {
    let linear = run.linearize(Mode::Exact);
    let chi = linear.gradient(observable)?;
    let value = run.value(observable)?;
    let curve = Sweep { run, observable, probes, value };

    let points: Vec<(usize, f64)> =
        (0..probes.len()).flat_map(|n| options.amplitudes.iter().map(move |&a| (n, f64::from(a)))).collect();
    let finite = curve.finite(&points)?;
    let mut first: Vec<f64> = along.iter().map(|a| a.first).collect();
    let mut second: Vec<f64> = along.iter().map(|a| a.second).collect();
    let checks = forward_reverse(&linear, probes, (observable, &chi), &first)?;
    let failed: Vec<usize> = (0..probes.len()).filter(|&n| !checks[n].passes()).collect();
    for &n in &failed {
        // Zero derivatives skip the search for a radius.
        (first[n], second[n]) = (0.0, 0.0);
    }
    let noise = noise::floor(run, &chi)?;
    let mut radius = radii(&curve, &first, &second, noise)?;
    let small = small_amplitude(&curve, &first, &second, noise)?;
    for &n in &failed {
        (first[n], second[n], radius[n]) = (f64::NAN, f64::NAN, f64::NAN);
    }
    let error: Vec<f32> =
        points.iter().zip(&finite).map(|(&(n, a), f)| relative(*f, a * first[n], noise) as f32).collect();

    let count = options.amplitudes.len();
    let mut result = Labelled::new("regime", run)
        .with("sites", &[("site", probes.len()), ("place", 2)], probes.iter().flat_map(Probe::indices).collect())
        .with("amplitudes", &[("amplitude", count)], options.amplitudes.clone())
        .with("finite", &[("site", probes.len()), ("amplitude", count)], narrow(&finite))
        .with("error", &[("site", probes.len()), ("amplitude", count)], error)
        .with("radius", &[("site", probes.len())], narrow(&radius))
        .with("first_order", &[("site", probes.len())], narrow(&first))
        .with("second", &[("site", probes.len())], narrow(&second))
        .with(
            "jet_radius",
            &[("site", probes.len())],
            first.iter().zip(&second).map(|(f, s)| jet_radius(*f, *s) as f32).collect(),
        )
        .note("observable", observable.to_string())
        .note(noise::NAME, format!("{noise:e}"))
        .note("amplitude_unit", if options.absolute { "the direction" } else { "|h[l,t]| times the direction" });
    if options.field {
        let mut errors = field_errors(run, probes, &options.amplitudes)?;
        failed.iter().for_each(|n| errors[n * count..(n + 1) * count].fill(f32::NAN));
        result = result.with("field_error", &[("site", probes.len()), ("amplitude", count)], errors);
    }
    if options.nodes > 0 {
        let axes = [("site", probes.len()), ("amplitude", count)];
        let secants = Secants { sweep: &curve, rule: Rule::new(options.nodes) };
        let found = secants.of(&points)?;
        let of = |(f, [s, _]): (&f64, &[f64; 2])| relative(*f, *s, noise) as f32;
        let mut errors: Vec<f32> = finite.iter().zip(&found).map(of).collect();
        let mut radii = radii_from(&secants, &first, &radius, noise)?;
        for &n in &failed {
            errors[n * count..(n + 1) * count].fill(f32::NAN);
            radii[n] = f64::NAN;
        }
        result = result
            .with("secant", &axes, found.iter().map(|[s, _]| *s as f32).collect())
            .with("secant_error", &axes, errors)
            .with("secant_bar", &axes, found.iter().map(|[s, embedded]| (s - embedded).abs() as f32).collect())
            .with("secant_radius", &[("site", probes.len())], narrow(&radii))
            .note("nodes", options.nodes.to_string());
    }
    if let Some(&worst) = failed.first().filter(|_| failed.len() == probes.len()) {
        return Err(result.failed(&checks[worst]));
    }
    if !failed.is_empty() {
        let each = failed.iter().map(|&n| format!("{}, token {}: {}", probes[n].site, probes[n].place.1, checks[n]));
        let each: Vec<String> = each.collect();
        result = result.note("failed", each.join("; "));
    }
    let passed = checks.into_iter().filter(Certificate::passes).reduce(Certificate::worse);
    result
        .certify(passed.unwrap_or(Certificate::new("forward_reverse", 0.0, SAME_DERIVATIVE)))?
        .certify(small)?
        .certify(adjoint(&linear, 1)?)
}

/// Tolerance of dJ/da by forward and by reverse mode, relative to |chi| |v|: the rounding of two passes through the
/// model.
const SAME_DERIVATIVE: f64 = 1e-5;

/// Checks `first` of each probe, computed by forward mode, against chi. If the figure of a place exceeds
/// [`SAME_DERIVATIVE`], its bound follows from the conditioning of its derivative.
fn forward_reverse(
    linear: &Linearization<'_>,
    probes: &[Probe],
    (observable, chi): (&Observable, &[f32]),
    first: &[f64],
) -> Result<Vec<Certificate>> {
    let run = linear.run();
    let seeds = run.seeds(observable)?;
    let check = |n: usize| {
        let probe = &probes[n];
        let scale = (probe.size * norm(probe.row(chi, run))).max(f64::MIN_POSITIVE);
        let value = (first[n] - probe.first_order(chi, run)).abs() / scale;
        let amplified = || amplification(linear, &[probe.source(1.0)], &seeds);
        let bound = conditioned((value, SAME_DERIVATIVE), (scale, run.model().sizes()), amplified)?;
        Ok(Certificate::new("forward_reverse", value, bound))
    };
    (0..probes.len()).map(check).collect()
}

/// The finite response of J along the probes.
struct Sweep<'a> {
    run: &'a Run,
    observable: &'a Observable,
    probes: &'a [Probe],
    value: f64,
}

impl Curve for Sweep<'_> {
    fn finite(&self, points: &[(usize, f64)]) -> Result<Vec<f64>> {
        let edits: Vec<[Edit; 1]> = points.iter().map(|&(n, a)| self.probes[n].edit(a)).collect();
        let values = self.run.values_under(&edits, self.observable)?;
        Ok(values.into_iter().map(|v| v - self.value).collect())
    }
}

/// The same responses, predicted by secants.
struct Secants<'a> {
    sweep: &'a Sweep<'a>,
    rule: Rule,
}

impl Secants<'_> {
    /// Returns the secants by the rule and by its embedded rule.
    fn of(&self, points: &[(usize, f64)]) -> Result<Vec<[f64; 2]>> {
        let Sweep { run, observable, probes, .. } = self.sweep;
        let sources: Vec<Source> = points.iter().map(|&(n, a)| probes[n].source(a)).collect();
        secants(run, observable, &sources, &self.rule)
    }
}

impl Curve for Secants<'_> {
    fn finite(&self, points: &[(usize, f64)]) -> Result<Vec<f64>> {
        self.sweep.finite(points)
    }

    fn predicted(&self, _: &[f64], points: &[(usize, f64)]) -> Result<Vec<f64>> {
        Ok(self.of(points)?.into_iter().map(|[secant, _]| secant).collect())
    }
}

/// Returns `|finite - linear| / |linear|`: 0 if the two are equal (both may be 0), and NaN if they differ by at most
/// `noise`.
fn relative(finite: f64, linear: f64, noise: f64) -> f64 {
    let apart = (finite - linear).abs();
    match apart == 0.0 {
        true => 0.0,
        false if apart <= noise => f64::NAN,
        false => apart / linear.abs(),
    }
}

/// Checks first plus second order against the finite response at a small amplitude. This ties the derivatives to
/// forward passes of the model. The figure is the median over the places.
fn small_amplitude(curve: &Sweep<'_>, first: &[f64], second: &[f64], noise: f64) -> Result<Certificate> {
    let field = curve.run.field()?;
    let steps = |(n, probe): (usize, &Probe)| match first[n] == 0.0 {
        true => Vec::new(),
        false => {
            let h = norm(probe.row(&field, curve.run)) / probe.size;
            amplitudes(CURVED, [first[n], second[n]], noise, h)
        }
    };
    let steps: Vec<Vec<f64>> = curve.probes.iter().enumerate().map(steps).collect();
    let mut checks = first_to_pass(steps.len(), &steps, &mut |points| {
        let finite = curve.finite(points)?;
        let each = points.iter().zip(finite).map(|(&(n, a), f)| {
            let (linear, quadratic) = (a * first[n], 0.5 * a * a * second[n]);
            let value = (f - linear - quadratic).abs() / linear.abs();
            Certificate::new("small_amplitude", value, SLOPE).with_noise(noise / linear.abs())
        });
        Ok(each.collect())
    })?;
    // Where noise exceeds the tolerance, the check decides nothing; such places count only if there are no others.
    if checks.iter().any(|c| c.noise < c.bound) {
        checks.retain(|c| c.noise < c.bound);
    }
    // Higher orders may dominate at single places even at small amplitudes, but not at most places.
    checks.sort_by(|a, b| a.value.total_cmp(&b.value));
    let middle = checks.len() / 2;
    Ok(checks.into_iter().nth(middle).unwrap_or(Certificate::new("small_amplitude", 0.0, SLOPE)))
}

#[cfg(test)]
mod tests;
