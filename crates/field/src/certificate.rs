//! Certificates: checks that a result carries, or fails with.

use std::fmt;

use resolvent_model::{Edit, Linearization, Model, Observable, Run, Seed, Site, Source, gaussian};

use crate::conditioning::{amplification, conditioned};
use crate::error::{Error, Result};

/// A check with its figure, the noise floor of that figure, and its tolerance.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// Its name, such as `adjoint`.
    pub name: &'static str,
    /// What was measured, 0 at best. No noise is subtracted.
    pub value: f64,
    /// What rounding contributes to the figure; 0 where the bound already covers it.
    pub noise: f64,
    /// What is allowed beyond the noise.
    pub bound: f64,
}

/// `<u, J v>` and `<J^T u, v>` differ by rounding only: of the order of f32's epsilon times the product of norms.
pub const ADJOINT: f64 = 1e-5;

/// `<u, H v>` and `<v, H u>` come from two forward and two backward passes, and a second derivative errs by a few times what a first
/// one does.
pub const SYMMETRY: f64 = 2e-5;

/// Slope of a central difference against the derivative. Its own error is the cubic term and f32 cancellation, each
/// below a percent at the steps used; a wrong derivative is off by tens of percent.
pub const SLOPE: f64 = 0.05;

/// The same number computed in a batch and alone, relative to the size of the terms.
pub const SAME: f64 = 1e-5;

/// [`SAME`] for values of runs of `model`. Where it rounds inputs, a batch and the same alone may round some of them differently, and
/// differ by a part of what rounding does to the field; a wrong row is off by all of it.
pub(crate) fn same(model: &Model) -> f64 {
    SAME.max(4.0 * model.input_rounding().unwrap_or(0.0))
}

impl Certificate {
    /// A check whose bound covers rounding.
    pub fn new(name: &'static str, value: f64, bound: f64) -> Self {
        Self { name, value, noise: 0.0, bound }
    }

    /// The same figure with the part that rounding has in it.
    #[must_use]
    pub fn with_noise(self, noise: f64) -> Self {
        Self { noise, ..self }
    }

    /// The largest figure that passes.
    pub fn allowed(&self) -> f64 {
        self.bound + self.noise
    }

    /// Whether the check passes; a NaN does not.
    pub fn passes(&self) -> bool {
        self.value <= self.allowed()
    }

    /// Fails unless the check passes.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn verify(&self) -> Result<()> {
        match self.passes() {
            true => Ok(()),
            false => Err(self.failure(None)),
        }
    }

    /// The error of a check that failed on `executor`.
    pub(crate) fn failure(&self, executor: Option<&str>) -> Error {
        let (name, executor) = (self.name.to_owned(), executor.map(str::to_owned));
        Error::Certificate { name, value: self.value, bound: self.allowed(), executor }
    }

    /// The one of two checks that is closer to failing.
    pub(crate) fn worse(self, other: Self) -> Self {
        if other.share() <= self.share() { self } else { other }
    }

    /// The one of two checks that is farther from failing.
    pub(crate) fn better(self, other: Self) -> Self {
        if other.share() < self.share() || self.share().is_nan() { other } else { self }
    }

    /// The figure over what is allowed; above 1, and NaN, where the check fails.
    fn share(&self) -> f64 {
        if self.value == 0.0 { 0.0 } else { self.value / self.allowed() }
    }
}

/// `NAME FIGURE (noise NOISE, at most BOUND)`
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.1e} (", self.name, self.value)?;
        if self.noise > 0.0 {
            write!(f, "noise {:.0e}, ", self.noise)?;
        }
        write!(f, "at most {:.0e})", self.bound)
    }
}

/// The value of an edited run in a sweep against the same run alone: the first, a middle and the last of `variants`,
/// relative to `scale`.
///
/// # Errors
/// A device error.
pub(crate) fn alone<E: AsRef<[Edit]>>(
    run: &Run,
    observable: &Observable,
    variants: &[E],
    values: &[f64],
) -> Result<Certificate> {
    let scale = values.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    let mut worst = 0.0;
    // A variant without an edit is the base run itself: to compare that would prove nothing.
    let edited: Vec<usize> = (0..variants.len()).filter(|&i| !variants[i].as_ref().is_empty()).collect();
    let last = edited.len().saturating_sub(1);
    for &i in [0, last / 2, last].iter().filter_map(|&k| edited.get(k)) {
        let edits: Vec<Edit> = run.edits().iter().chain(variants[i].as_ref()).cloned().collect();
        let value = run.model().run(run.tokens(), &edits)?.value(observable)?;
        worst = worse(worst, (value - values[i]).abs() / scale);
    }
    Ok(Certificate::new("alone", worst, same(run.model())))
}

/// The larger of two figures; a NaN is larger than anything.
pub(crate) fn worse(a: f64, b: f64) -> f64 {
    if b <= a { a } else { b }
}

/// Keeps the worst figure of each check, measured by what is allowed.
pub(crate) fn merge(worst: &mut Vec<Certificate>, more: &[Certificate]) {
    for certificate in more {
        match worst.iter_mut().find(|c| c.name == certificate.name) {
            Some(known) if certificate.share() <= known.share() => {}
            Some(known) => *known = certificate.clone(),
            None => worst.push(certificate.clone()),
        }
    }
}

/// Numbers as result files hold them.
pub(crate) fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

/// `<a, b>` in f64.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// `|a|` in f64.
pub fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// Euclidean norms of the rows `[_, d]`.
pub fn norms(rows: &[f32], d: usize) -> Vec<f32> {
    rows.chunks(d).map(|row| norm(row) as f32).collect()
}

/// `<u, J v> = <J^T u, v>` for a random source v at h\[0\] of every token and a random cotangent u at h\[L\].
///
/// # Errors
/// A device error.
pub fn adjoint(linear: &Linearization<'_>, seed: u64) -> Result<Certificate> {
    let (config, tokens) = (linear.run().model().config(), linear.run().tokens().len());
    let (d, size) = (config.n_embd, tokens * config.n_embd);
    let (u, v) = (gaussian(seed, size), gaussian(seed + 1, size));
    let sources: Vec<Source> = v
        .chunks(d)
        .enumerate()
        .map(|(token, v)| Source { site: Site::ResidPre(0), token, vector: v.to_vec() })
        .collect();
    let seeds: Vec<Seed> = u
        .chunks(d)
        .enumerate()
        .map(|(token, u)| Seed::Field { level: config.n_layer, token, vector: u.to_vec() })
        .collect();
    let (sources, seeds) = ([sources], [seeds]);
    let (response, sensitivity) = (linear.jvp(&sources)?, linear.vjp(&seeds)?);
    let last = &response.get(0)[config.n_layer * size..];
    let (forward, backward) = (dot(&u, last), dot(&sensitivity.get(0)[..size], &v));
    // Where J is zero, as in a run whose last level was put in place, both sides are.
    let scale = (norm(&u) * norm(last)).max(f64::MIN_POSITIVE);
    let value = (forward - backward).abs() / scale;
    let bound = conditioned((value, ADJOINT), (scale, config), || amplification(linear, &sources[0], &seeds[0]))?;
    Ok(Certificate::new("adjoint", value, bound))
}

/// `<u, H v> = <v, H u>` for random directions u and v at h\[0\] of every token up to the observable's, H being the Hessian
/// of `observable`.
///
/// # Errors
/// An observable that does not fit, or a device error.
pub fn symmetry(linear: &Linearization<'_>, observable: &Observable, seed: u64) -> Result<Certificate> {
    let (d, end) = (linear.run().model().config().n_embd, observable.position() + 1);
    let directions = [seed, seed + 1].map(|seed| gaussian(seed, end * d));
    let sources = directions.each_ref().map(|direction| -> Vec<Source> {
        let rows = direction.chunks(d).enumerate();
        rows.map(|(token, v)| Source { site: Site::ResidPre(0), token, vector: v.to_vec() }).collect()
    });
    let products = linear.hvp(&sources, observable)?;
    let [h_u, h_v] = [0, 1].map(|k| &products.get(k)[..end * d]);
    let [u, v] = directions.each_ref();
    // Where J is linear in h[0], both are zero.
    let scale = (norm(u) * norm(h_v)).max(norm(v) * norm(h_u)).max(f64::MIN_POSITIVE);
    let value = (dot(u, h_v) - dot(v, h_u)).abs() / scale;
    Ok(Certificate::new("symmetry", value, SYMMETRY))
}
