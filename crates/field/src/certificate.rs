//! Certificates: checks that a result carries, or fails with.

use resolvent_model::{Edit, Linearization, Model, Observable, Run, Seed, Site, Source, gaussian};

use crate::error::{Error, Result};

/// A check with its figure and the most that it may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// Its name, such as `adjoint`.
    pub name: &'static str,
    /// What was measured, 0 at best.
    pub value: f64,
    /// What is allowed.
    pub bound: f64,
}

/// `<u, J v>` and `<J^T u, v>` differ by rounding only: of the order of f32's epsilon times the product of norms.
pub const ADJOINT: f64 = 1e-5;

/// `<u, H v>` and `<v, H u>` come from two walks up and two back, and a second derivative errs by a few times what a first
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
    /// Fails unless the check holds; a NaN does not hold.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn verify(&self) -> Result<()> {
        if self.value <= self.bound {
            return Ok(());
        }
        Err(Error::Certificate { name: self.name.to_owned(), value: self.value, bound: self.bound })
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
    let last = variants.len().saturating_sub(1);
    for i in [0, last / 2, last] {
        let Some(edits) = variants.get(i) else { continue };
        let edits: Vec<Edit> = run.edits().iter().chain(edits.as_ref()).cloned().collect();
        let value = run.model().run(run.tokens(), &edits)?.value(observable)?;
        worst = worse(worst, (value - values[i]).abs() / scale);
    }
    Ok(Certificate { name: "alone", value: worst, bound: same(run.model()) })
}

/// The larger of two figures; a NaN is larger than anything.
pub(crate) fn worse(a: f64, b: f64) -> f64 {
    if b <= a { a } else { b }
}

/// Keeps the worst figure of each check.
pub(crate) fn merge(worst: &mut Vec<Certificate>, more: &[Certificate]) {
    for certificate in more {
        match worst.iter_mut().find(|c| c.name == certificate.name) {
            Some(known) if certificate.value <= known.value => {}
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
    let (response, sensitivity) = (linear.jvp(&[sources])?, linear.vjp(&[seeds])?);
    let last = &response.get(0)[config.n_layer * size..];
    let (forward, backward) = (dot(&u, last), dot(&sensitivity.get(0)[..size], &v));
    // Where J is zero, as in a run whose last level was put in place, both sides are.
    let scale = (norm(&u) * norm(last)).max(f64::MIN_POSITIVE);
    Ok(Certificate { name: "adjoint", value: (forward - backward).abs() / scale, bound: ADJOINT })
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
    Ok(Certificate { name: "symmetry", value, bound: SYMMETRY })
}
