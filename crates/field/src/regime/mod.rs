//! The linear regime: how far from a run the first-order response is accurate.
//!
//! With a source v at (l, t), `finite(a) = J(h + a v) - J(h)`, `first = dJ/da` and `second = d2J/da2` at a = 0. The
//! error is `|finite - a first| / |a first|`, and the radius is the smallest a > 0 at which it reaches 20 %. Near 0 the
//! error is `a |second / (2 first)|`, so the radius of a response without higher orders is `0.4 |first / second|`.

mod field;
mod probe;
mod setup;

use resolvent_model::{Along, Mode, Observable, Run, along_of};

use field::field_errors;
use probe::Probe;
use setup::{At, Secants, Setup};

use crate::certificate::{Certificate, SLOPE, adjoint_all, narrow, norm};
use crate::conditioning::{amplification, conditioned};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::noise;
use crate::place::Place;
use crate::prompts::Outcomes;
use crate::quadrature::{Rule, check_nodes};
use crate::radius::{Curve, LINEAR, radii, radii_from};
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
    regime_all(&[RegimeCase { run, observable, sites }], options)?.remove(0)
}

/// A run, an observable, and the sources whose linear regime is computed.
#[derive(Clone, Copy)]
pub struct RegimeCase<'a> {
    /// The run.
    pub run: &'a Run,
    /// The observable.
    pub observable: &'a Observable,
    /// Places, with a direction `[d]` each.
    pub sites: &'a [(Place, Vec<f32>)],
}

/// Computes the linear regimes of several runs of one model, and returns a result for each, or the check that fails.
/// See [`regime`]. Runs of one batch share passes, and all searches for radii advance together.
///
/// # Errors
/// As [`regime`] for any of the cases, except for a check that fails.
pub fn regime_all(cases: &[RegimeCase<'_>], options: &RegimeOptions) -> Outcomes {
    check_nodes(options.nodes)?;
    let setup = Setup::new(cases, (&options.amplitudes, options.absolute))?;
    let along = along_of(&setup.probed(&setup.sources()))?;
    measured(&setup, &along, options)
}

/// What is measured along all probes.
struct Measured<'a> {
    setup: &'a Setup<'a>,
    options: &'a RegimeOptions,
    /// `[probes]`; NaN where a place fails its check.
    first: Vec<f64>,
    second: Vec<f64>,
    radius: Vec<f64>,
    /// `[probes, amplitudes]`
    finite: Vec<f64>,
    /// The check of each probe's first derivative.
    checks: Vec<Certificate>,
    field_errors: Option<Vec<f32>>,
    /// Secants by the rule and by its embedded rule, `[probes, amplitudes]`, and their radii.
    secants: Option<(Vec<[f64; 2]>, Vec<f64>)>,
}

/// Computes finite responses along the probes, and compares them with the derivatives `along`.
fn measured(setup: &Setup<'_>, along: &[Along], options: &RegimeOptions) -> Outcomes {
    let points: Vec<(usize, f64)> =
        (0..setup.probes.len()).flat_map(|n| options.amplitudes.iter().map(move |&a| (n, f64::from(a)))).collect();
    let finite = setup.finite(&points)?;
    let mut first: Vec<f64> = along.iter().map(|a| a.first).collect();
    let mut second: Vec<f64> = along.iter().map(|a| a.second).collect();
    let checks = (0..first.len()).map(|n| forward_reverse(setup, n, first[n])).collect::<Result<Vec<_>>>()?;
    let failed: Vec<usize> = (0..checks.len()).filter(|&n| !checks[n].passes()).collect();
    for &n in &failed {
        // Zero derivatives skip the search for a radius.
        (first[n], second[n]) = (0.0, 0.0);
    }
    let noise = setup.noise();
    let mut radius = radii(setup, &first, &second, &noise)?;
    let small = small_amplitudes(setup, &first, &second)?;
    let secants = match options.nodes {
        0 => None,
        nodes => {
            let secants = Secants { setup, rule: Rule::new(nodes) };
            let (found, mut ends) = (secants.of(&points)?, radii_from(&secants, &first, &radius, &noise)?);
            failed.iter().for_each(|&n| ends[n] = f64::NAN);
            Some((found, ends))
        }
    };
    for &n in &failed {
        (first[n], second[n], radius[n]) = (f64::NAN, f64::NAN, f64::NAN);
    }
    let field_errors = options.field.then(|| field_errors(setup, &options.amplitudes)).transpose()?;
    let runs: Vec<&Run> = setup.cases.iter().map(|case| case.run).collect();
    let adjoints = adjoint_all(Mode::Exact, &runs, 1)?;
    let measured = Measured { setup, options, first, second, radius, finite, checks, field_errors, secants };
    let each = setup.cases.iter().zip(small).zip(adjoints);
    Ok(each.map(|((case, small), adjoint)| measured.result(case)?.certify(small)?.certify(adjoint)).collect())
}

impl Measured<'_> {
    /// Returns the result of a case, with the check of its first derivatives.
    fn result(&self, case: &At<'_>) -> Result<Labelled> {
        let (here, options, noise) = (case.probes.clone(), self.options, case.noise);
        let (probes, checks) = (&self.setup.probes[here.clone()], &self.checks[here.clone()]);
        let [first, second, radius] = [&self.first, &self.second, &self.radius].map(|all| &all[here.clone()]);
        let count = options.amplitudes.len();
        let wide = here.start * count..here.end * count;
        let finite = &self.finite[wide.clone()];
        let failed: Vec<usize> = (0..probes.len()).filter(|&n| !checks[n].passes()).collect();
        let error = |(i, f): (usize, &f64)| {
            let a = f64::from(options.amplitudes[i % count]);
            relative(*f, a * first[i / count], noise) as f32
        };
        let (site, axes) = ([("site", probes.len())], [("site", probes.len()), ("amplitude", count)]);
        let mut result = Labelled::new("regime", case.run)
            .with("sites", &[("site", probes.len()), ("place", 2)], probes.iter().flat_map(Probe::indices).collect())
            .with("amplitudes", &[("amplitude", count)], options.amplitudes.clone())
            .with("finite", &axes, narrow(finite))
            .with("error", &axes, finite.iter().enumerate().map(error).collect())
            .with("radius", &site, narrow(radius))
            .with("first_order", &site, narrow(first))
            .with("second", &site, narrow(second))
            .with("jet_radius", &site, first.iter().zip(second).map(|(f, s)| jet_radius(*f, *s) as f32).collect())
            .note("observable", case.observable.to_string())
            .note(noise::NAME, format!("{noise:e}"))
            .note("amplitude_unit", if options.absolute { "the direction" } else { "|h[l,t]| times the direction" });
        let marked = |mut errors: Vec<f32>| {
            failed.iter().for_each(|n| errors[n * count..(n + 1) * count].fill(f32::NAN));
            errors
        };
        if let Some(errors) = &self.field_errors {
            result = result.with("field_error", &axes, marked(errors[wide.clone()].to_vec()));
        }
        if let Some((secants, ends)) = &self.secants {
            let found = &secants[wide];
            let of = |(f, [s, _]): (&f64, &[f64; 2])| relative(*f, *s, noise) as f32;
            result = result
                .with("secant", &axes, found.iter().map(|[s, _]| *s as f32).collect())
                .with("secant_error", &axes, marked(finite.iter().zip(found).map(of).collect()))
                .with("secant_bar", &axes, found.iter().map(|[s, embedded]| (s - embedded).abs() as f32).collect())
                .with("secant_radius", &site, narrow(&ends[here]))
                .note("nodes", options.nodes.to_string());
        }
        if let Some(&worst) = failed.first().filter(|_| failed.len() == probes.len()) {
            return Err(result.failed(&checks[worst]));
        }
        if !failed.is_empty() {
            let each =
                failed.iter().map(|&n| format!("{}, token {}: {}", probes[n].site, probes[n].place.1, checks[n]));
            let each: Vec<String> = each.collect();
            result = result.note("failed", each.join("; "));
        }
        let passed = checks.iter().filter(|check| check.passes()).cloned().reduce(Certificate::worse);
        result.certify(passed.unwrap_or(Certificate::new("forward_reverse", 0.0, SAME_DERIVATIVE)))
    }
}

/// Tolerance of dJ/da by forward and by reverse mode, relative to |chi| |v|: the rounding of two passes through the
/// model.
const SAME_DERIVATIVE: f64 = 1e-5;

/// Checks `first` of a probe, computed by forward mode, against chi. If the figure exceeds [`SAME_DERIVATIVE`], its
/// bound follows from the conditioning of the derivative.
fn forward_reverse(setup: &Setup<'_>, n: usize, first: f64) -> Result<Certificate> {
    let (probe, At { run, observable, chi, .. }) = (&setup.probes[n], setup.of(n));
    let scale = (probe.size * norm(probe.row(chi, run))).max(f64::MIN_POSITIVE);
    let value = (first - probe.first_order(chi, run)).abs() / scale;
    let amplified = || amplification(&run.linearize(Mode::Exact), &[probe.source(1.0)], &run.seeds(observable)?);
    let bound = conditioned((value, SAME_DERIVATIVE), (scale, run.model().sizes()), amplified)?;
    Ok(Certificate::new("forward_reverse", value, bound))
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

/// Checks first plus second order against the finite response at a small amplitude, for each case. This ties the
/// derivatives to forward passes of the model. The figure is the median over the places.
fn small_amplitudes(setup: &Setup<'_>, first: &[f64], second: &[f64]) -> Result<Vec<Certificate>> {
    let open: Vec<usize> = (0..first.len()).filter(|&n| first[n] != 0.0).collect();
    let steps = open.iter().map(|&n| {
        let (probe, case) = (&setup.probes[n], setup.of(n));
        let h = norm(probe.row(&case.field, case.run)) / probe.size;
        amplitudes(CURVED, [first[n], second[n]], case.noise, h)
    });
    let checks = first_to_pass(open.len(), &steps.collect::<Vec<_>>(), &mut |points| {
        let points: Vec<(usize, f64)> = points.iter().map(|&(i, a)| (open[i], a)).collect();
        let finite = setup.finite(&points)?;
        let each = points.iter().zip(finite).map(|(&(n, a), f)| {
            let (linear, quadratic) = (a * first[n], 0.5 * a * a * second[n]);
            let value = (f - linear - quadratic).abs() / linear.abs();
            let noise = setup.of(n).noise / linear.abs();
            Certificate::new("small_amplitude", value, SLOPE).with_noise(noise)
        });
        Ok(each.collect())
    })?;
    let of = |case: &At<'_>| {
        let here = open.iter().zip(&checks).filter(|(n, _)| case.probes.contains(n));
        middle(here.map(|(_, check)| check.clone()).collect())
    };
    Ok(setup.cases.iter().map(of).collect())
}

/// Returns the check with the median figure.
fn middle(mut checks: Vec<Certificate>) -> Certificate {
    // Where noise exceeds the tolerance, the check decides nothing; such places count only if there are no others.
    if checks.iter().any(|c| c.noise < c.bound) {
        checks.retain(|c| c.noise < c.bound);
    }
    // Higher orders may dominate at single places even at small amplitudes, but not at most places.
    checks.sort_by(|a, b| a.value.total_cmp(&b.value));
    let middle = checks.len() / 2;
    checks.into_iter().nth(middle).unwrap_or(Certificate::new("small_amplitude", 0.0, SLOPE))
}

#[cfg(test)]
mod tests;
