//! The linear regime: how far from a run the first-order response holds.
//!
//! With a source v at (l, t), `finite(a) = J(h + a v) - J(h)`, `first = dJ/da` and `second = d2J/da2` at a = 0. The error
//! is `|finite - a first| / |a first|`, and the radius is the smallest a > 0 at which it reaches 20 %. Near 0 the error is
//! `a |second / (2 first)|`, so the radius of a response without higher orders is `0.4 |first / second|`.

use resolvent_model::{Edit, Mode, Observable, Run, Site, Slab, Source};

use crate::certificate::{Certificate, SLOPE, adjoint, dot, narrow, norm, worse};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::place::{Place, inside, shape};
use crate::radius::{Curve, LINEAR, radii};

/// How amplitudes are meant, and what is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct RegimeOptions {
    /// Amplitudes at which the finite response is computed.
    pub amplitudes: Vec<f32>,
    /// Amplitudes multiply the direction itself; otherwise they are in units of |h\[l, t\]|.
    pub absolute: bool,
    /// Whether the whole downstream field is compared as well.
    pub field: bool,
}

impl Default for RegimeOptions {
    fn default() -> Self {
        Self { amplitudes: vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0], absolute: false, field: false }
    }
}

/// The linear radius as second order has it, without a sweep: the error `a |second / (2 first)|` reaches 20 % there.
pub fn jet_radius(first: f64, second: f64) -> f64 {
    2.0 * LINEAR * (first / second).abs()
}

/// Finite against first-order responses of J to a source at each of `sites`, with its direction `[d]`: arrays
/// `sites [N, 2]`, `amplitudes [A]`, `finite [N, A]`, `error [N, A]`, `radius [N]`, `first_order [N]`, `second [N]`,
/// `jet_radius [N]` (see [`jet_radius`]); with `options.field` also `field_error [N, A]`, the same error of the field at all levels above the source.
///
/// Amplitudes, radii and derivatives are in units of |h\[l, t\]| unless they are absolute. A radius is infinite where J does
/// not depend on the source at all, and NaN where f32 cannot tell: the error is above 20 % already where the response
/// vanishes in rounding.
///
/// Certificates: first-order responses by the adjoint agree with those by forward mode; at a small amplitude the finite
/// response is the first-order one.
///
/// # Errors
/// Sites, directions or amplitudes that do not fit, a device error, or a check that fails.
pub fn regime(
    run: &Run,
    observable: &Observable,
    sites: &[(Place, Vec<f32>)],
    options: &RegimeOptions,
) -> Result<Labelled> {
    let probes = probes(run, sites, options)?;
    let linear = run.linearize(Mode::Exact);
    let sources: Vec<[Source; 1]> = probes.iter().map(|p| [p.source(1.0)]).collect();
    let along = linear.along(&sources, observable)?;
    let chi = linear.gradient(observable)?;
    let value = run.value(observable)?;
    let curve = Sweep { run, observable, probes: &probes, value };

    let points: Vec<(usize, f64)> =
        (0..probes.len()).flat_map(|n| options.amplitudes.iter().map(move |&a| (n, f64::from(a)))).collect();
    let finite = curve.finite(&points)?;
    let first: Vec<f64> = along.iter().map(|a| a.first).collect();
    let second: Vec<f64> = along.iter().map(|a| a.second).collect();
    let error: Vec<f32> =
        points.iter().zip(&finite).map(|(&(n, a), f)| relative(*f, a * first[n]) as f32).collect();
    let noise = noise(run, observable)?;
    let radius = radii(&curve, &first, &second, noise)?;

    let count = options.amplitudes.len();
    let both = probes.iter().zip(&first).map(|(p, &forward)| {
        let backward = p.pair(&chi, run);
        ((forward - backward).abs(), p.size * norm(p.here(&chi, run)))
    });
    let forward_reverse = both.map(|(apart, size)| apart / size.max(f64::MIN_POSITIVE)).fold(0.0, worse);
    let mut result = Labelled::new("regime", run)
        .with(
            "sites",
            &[("site", probes.len()), ("place", 2)],
            probes.iter().flat_map(Probe::numbers).collect(),
        )
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
        .note(
            "amplitude_unit",
            if options.absolute { "the direction" } else { "|h[l,t]| times the direction" },
        );
    if options.field {
        let errors = field_errors(run, &probes, &options.amplitudes)?;
        result = result.with("field_error", &[("site", probes.len()), ("amplitude", count)], errors);
    }
    result
        .certify(Certificate { name: "forward_reverse", value: forward_reverse, bound: SAME_DERIVATIVE })?
        .certify(small(&curve, &along_pairs(&first, &second), noise)?)?
        .certify(adjoint(&linear, 1)?)
}

/// dJ/da by forward and by reverse mode, relative to |chi| |v|: rounding of two routes through the whole model.
const SAME_DERIVATIVE: f64 = 1e-5;

fn along_pairs(first: &[f64], second: &[f64]) -> Vec<(f64, f64)> {
    first.iter().copied().zip(second.iter().copied()).collect()
}

/// A source at a place, scaled so that amplitude 1 is the unit that was asked for.
struct Probe {
    place: Place,
    site: Site,
    /// `[d]`, in units of the amplitude.
    vector: Vec<f32>,
    size: f64,
}

impl Probe {
    fn source(&self, amplitude: f64) -> Source {
        let vector = self.vector.iter().map(|&x| (amplitude * f64::from(x)) as f32).collect();
        Source { site: self.site, token: self.place.1, vector }
    }

    fn edit(&self, amplitude: f64) -> [Edit; 1] {
        let Source { site, token, vector } = self.source(amplitude);
        [Edit::add(site, token, vector)]
    }

    fn numbers(&self) -> [f32; 2] {
        [self.place.0 as f32, self.place.1 as f32]
    }

    fn here<'a>(&self, field: &'a [f32], run: &Run) -> &'a [f32] {
        let (_, tokens, d) = shape(run);
        &field[(self.place.0 * tokens + self.place.1) * d..][..d]
    }

    fn pair(&self, chi: &[f32], run: &Run) -> f64 {
        dot(self.here(chi, run), &self.vector)
    }
}

fn probes(run: &Run, sites: &[(Place, Vec<f32>)], options: &RegimeOptions) -> Result<Vec<Probe>> {
    let (_, tokens, d) = shape(run);
    let wrong = options.amplitudes.iter().find(|a| !a.is_finite() || **a == 0.0);
    if let Some(a) = wrong {
        return Err(Error::Input(format!("{a} is no amplitude; give finite numbers other than 0")));
    }
    let field = run.field()?;
    let mut probes = Vec::with_capacity(sites.len());
    for ((level, token), direction) in sites {
        inside((*level, *token), run)?;
        if direction.len() != d || norm(direction) == 0.0 {
            let reason = format!("the direction at {level},{token} needs {d} numbers that are not all zero");
            return Err(Error::Input(reason));
        }
        let h = norm(&field[(level * tokens + token) * d..][..d]);
        let unit = if options.absolute { 1.0 } else { h };
        let vector: Vec<f32> = direction.iter().map(|&x| (unit * f64::from(x)) as f32).collect();
        let (place, site) = ((*level, *token), Site::level(*level, run.model().config()));
        let size = norm(&vector);
        probes.push(Probe { place, site, vector, size });
    }
    Ok(probes)
}

/// J along the probes.
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

/// What rounding does to J: a few hundredths of a millionth of the size of the logits, or of the field, it is made of.
fn noise(run: &Run, observable: &Observable) -> Result<f64> {
    let size = match observable {
        Observable::Field { level, token, direction } => {
            let (_, tokens, d) = shape(run);
            norm(&run.field()?[(level * tokens + token) * d..][..d]) * norm(direction)
        }
        _ => run.logits_at(observable.position())?.iter().fold(1.0, |m: f64, l| m.max(f64::from(l.abs()))),
    };
    Ok(4e-7 * size)
}

/// `|finite - linear| / |linear|`; no response where none is expected is no error.
fn relative(finite: f64, linear: f64) -> f64 {
    if finite == linear { 0.0 } else { (finite - linear).abs() / linear.abs() }
}

/// The finite response at an amplitude where second order leaves 2 % of the first, beside first and second order
/// together: what ties the derivatives to the model's own forward pass.
fn small(curve: &Sweep<'_>, along: &[(f64, f64)], noise: f64) -> Result<Certificate> {
    let amplitude = |&(first, second): &(f64, f64)| {
        let curved = 0.04 * (first / second).abs();
        curved.min(0.01).max(100.0 * noise / first.abs())
    };
    let points: Vec<(usize, f64)> =
        along.iter().map(amplitude).enumerate().filter(|(_, a)| a.is_finite()).collect();
    let finite = curve.finite(&points)?;
    let mut errors: Vec<f64> = points
        .iter()
        .zip(finite)
        .map(|(&(n, a), f)| {
            let (first, second) = along[n];
            ((f - a * first - 0.5 * a * a * second).abs() - noise).max(0.0) / (a * first).abs()
        })
        .collect();
    // A site where higher orders rule at once may miss; the derivatives of most may not.
    errors.sort_by(f64::total_cmp);
    let value = errors.get(errors.len() / 2).copied().unwrap_or(0.0);
    Ok(Certificate { name: "small_amplitude", value, bound: SLOPE })
}

/// `|h(a) - h - a G v| / |a G v|` over the levels above each source.
fn field_errors(run: &Run, probes: &[Probe], amplitudes: &[f32]) -> Result<Vec<f32>> {
    let (_, tokens, d) = shape(run);
    let (levels, field) = (run.levels(), run.field()?);
    let mut errors = Vec::with_capacity(probes.len() * amplitudes.len());
    for probe in probes {
        let response = run.linearize(Mode::Exact).jvp(&[[probe.source(1.0)]])?.into_single();
        let edits: Vec<[Edit; 1]> = amplitudes.iter().map(|&a| probe.edit(f64::from(a))).collect();
        let mut sums = vec![(0.0f64, 0.0f64); amplitudes.len()];
        run.fields_under(&edits, &levels, &mut |slab: Slab<'_>| {
            if slab.site <= probe.place.0 {
                return;
            }
            let at = (slab.site * tokens + slab.token) * d;
            let a = f64::from(amplitudes[slab.member]);
            let (apart, size) = &mut sums[slab.member];
            for ((x, h), r) in slab.rows.iter().zip(&field[at..]).zip(&response[at..]) {
                let linear = a * f64::from(*r);
                *apart += (f64::from(*x) - f64::from(*h) - linear).powi(2);
                *size += linear * linear;
            }
        })?;
        errors.extend(
            sums.iter().map(|(apart, size)| if *apart == 0.0 { 0.0 } else { (apart / size).sqrt() as f32 }),
        );
    }
    Ok(errors)
}
