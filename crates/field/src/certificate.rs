//! Certificates: checks of a result. A result carries the checks that passed; a check that fails is an error.

use std::fmt;

use resolvent_model::{
    Chunk, Edit, EditedRun, Linearization, Mode, Model, Observable, Run, Seed, SeededRun, Site, Source, SourcedRun,
    gaussian, jvp_of, values as read_values, vjp_of,
};

use crate::conditioning::{amplification, conditioned};
use crate::dense::sum_of;
use crate::error::{Error, Result};

/// A check with its figure, the noise floor of that figure, and its tolerance.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// Name of the check, such as `adjoint`.
    pub name: &'static str,
    /// The measured figure, 0 at best. No noise is subtracted.
    pub value: f64,
    /// The part of the figure that rounding can cause; 0 where the bound already covers it.
    pub noise: f64,
    /// The tolerance: the largest figure allowed beyond the noise.
    pub bound: f64,
}

/// Tolerance of [`adjoint`]. `<u, J v>` and `<J^T u, v>` differ by rounding only, which is of the order of f32's
/// epsilon times the product of the norms.
pub const ADJOINT: f64 = 1e-5;

/// Tolerance of [`symmetry`]. `<u, H v>` and `<v, H u>` come from two forward and two backward passes. A second
/// derivative errs by a few times the error of a first derivative.
pub const SYMMETRY: f64 = 2e-5;

/// Tolerance of a slope: a central difference against the derivative. The difference itself errs by its cubic term and
/// by f32 cancellation, each below a percent at the steps used. A wrong derivative is off by tens of percent.
pub const SLOPE: f64 = 0.05;

/// Tolerance between a number computed in a batch and the same number computed alone, relative to the size of the
/// terms.
pub const SAME: f64 = 1e-5;

/// Returns [`SAME`] for values of runs of `model`, and more if the model rounds inputs.
///
/// Such a model may round some inputs differently in a batch than alone. The two values then differ by a part of the
/// effect of rounding on the field. A wrong row differs by the size of the field.
pub(crate) fn same(model: &Model) -> f64 {
    SAME.max(4.0 * model.input_rounding().unwrap_or(0.0))
}

impl Certificate {
    /// Creates a check whose bound covers rounding.
    pub fn new(name: &'static str, value: f64, bound: f64) -> Self {
        Self { name, value, noise: 0.0, bound }
    }

    /// Sets the part of the figure that rounding can cause.
    #[must_use]
    pub fn with_noise(self, noise: f64) -> Self {
        Self { noise, ..self }
    }

    /// Returns the largest figure that passes.
    pub fn allowed(&self) -> f64 {
        self.bound + self.noise
    }

    /// Returns whether the check passes; a NaN does not.
    pub fn passes(&self) -> bool {
        self.value <= self.allowed()
    }

    /// Returns an error unless the check passes.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn verify(&self) -> Result<()> {
        match self.passes() {
            true => Ok(()),
            false => Err(self.failure(None)),
        }
    }

    /// Returns the error of a check that failed on `executor`.
    pub(crate) fn failure(&self, executor: Option<&str>) -> Error {
        let (name, executor) = (self.name.to_owned(), executor.map(str::to_owned));
        Error::Certificate { name, value: self.value, bound: self.allowed(), executor }
    }

    /// Returns the one of two checks that is closer to failing.
    pub(crate) fn worse(self, other: Self) -> Self {
        if other.share() <= self.share() || self.share().is_nan() { self } else { other }
    }

    /// Returns the one of two checks that is farther from failing.
    pub(crate) fn better(self, other: Self) -> Self {
        if other.share() < self.share() || self.share().is_nan() { other } else { self }
    }

    /// Returns the figure over the largest allowed figure. It is above 1, or NaN, if the check fails.
    fn share(&self) -> f64 {
        if self.value == 0.0 { 0.0 } else { self.value / self.allowed() }
    }
}

/// Writes `NAME FIGURE (noise NOISE, at most BOUND)`.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.1e} (", self.name, self.value)?;
        if self.noise > 0.0 {
            write!(f, "noise {:.0e}, ", self.noise)?;
        }
        write!(f, "at most {:.0e})", self.bound)
    }
}

/// Compares values of edited runs in a sweep with the same runs alone: the first, a middle and the last of `variants`.
///
/// The figure is relative to the largest size of `values`, or to 1 if that is larger.
///
/// # Errors
/// A device error.
pub(crate) fn alone<E: AsRef<[Edit]>>(
    run: &Run,
    observable: &Observable,
    variants: &[E],
    values: &[f64],
) -> Result<Certificate> {
    let edited = variants.iter().map(|edits| EditedRun { run, edits: edits.as_ref(), observable });
    alone_of(run.model(), &edited.collect::<Vec<_>>(), values)
}

/// Compares values of a sweep over several runs of `model` with the same edited runs alone: the first, a middle and the
/// last. Each is a forward pass of one prompt, so the check covers the runs that share a batch, too.
///
/// The figure is relative to the largest size of the values of the same run, or to 1 if that is larger.
///
/// # Errors
/// A device error.
pub(crate) fn alone_of(model: &Model, variants: &[EditedRun<'_>], values: &[f64]) -> Result<Certificate> {
    // A variant without an edit is the base run itself, so comparing it would prove nothing.
    let edited: Vec<usize> = (0..variants.len()).filter(|&i| !variants[i].edits.is_empty()).collect();
    let last = edited.len().saturating_sub(1);
    let tried: Vec<usize> = [0, last / 2, last].iter().filter_map(|&k| edited.get(k)).copied().collect();
    let rerun = |&i: &usize| {
        let EditedRun { run, edits, .. } = variants[i];
        let edits: Vec<Edit> = run.edits().iter().chain(edits).cloned().collect();
        run.model().run(run.tokens(), &edits)
    };
    let runs = tried.iter().map(rerun).collect::<std::result::Result<Vec<Run>, _>>()?;
    let readings: Vec<(&Run, &Observable)> =
        runs.iter().zip(&tried).map(|(run, &i)| (run, variants[i].observable)).collect();
    let mut worst = 0.0;
    for (i, value) in tried.into_iter().zip(read_values(&readings)?) {
        let of_run = variants.iter().zip(values).filter(|(variant, _)| std::ptr::eq(variant.run, variants[i].run));
        let scale = of_run.fold(1.0f64, |m, (_, v)| m.max(v.abs()));
        worst = worse(worst, (value - values[i]).abs() / scale);
    }
    Ok(Certificate::new("alone", worst, same(model)))
}

/// Returns the larger of two figures; a NaN is larger than anything.
pub(crate) fn worse(a: f64, b: f64) -> f64 {
    if b <= a || a.is_nan() { a } else { b }
}

/// Merges checks into `worst`: of each name, the check with the largest share of its allowed figure remains.
pub(crate) fn merge(worst: &mut Vec<Certificate>, more: &[Certificate]) {
    for certificate in more {
        match worst.iter_mut().find(|c| c.name == certificate.name) {
            Some(known) if certificate.share() <= known.share() || known.share().is_nan() => {}
            Some(known) => *known = certificate.clone(),
            None => worst.push(certificate.clone()),
        }
    }
}

/// Rounds numbers to f32, as result files store them.
pub(crate) fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

/// Returns `<a, b>`, summed in f64.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    sum_of(a, b, |a, b| f64::from(a) * f64::from(b))
}

/// Returns `|a|`, summed in f64.
pub fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// Returns the Euclidean norms of the rows `[_, d]`.
pub fn norms(rows: &[f32], d: usize) -> Vec<f32> {
    rows.chunks(d).map(|row| norm(row) as f32).collect()
}

/// Checks `<u, J v> = <J^T u, v>` for a random source v at h\[0\] of every token and a random cotangent u at h\[L\] of
/// every token.
///
/// # Errors
/// A device error.
pub fn adjoint(linear: &Linearization<'_>, seed: u64) -> Result<Certificate> {
    Ok(adjoint_all(linear.mode(), &[linear.run()], seed)?.remove(0))
}

/// Returns the check [`adjoint`] of each run. Runs of one batch share both passes.
pub(crate) fn adjoint_all(mode: Mode, runs: &[&Run], seed: u64) -> Result<Vec<Certificate>> {
    let Some(first) = runs.first() else { return Ok(Vec::new()) };
    let sizes = first.model().sizes();
    let (d, ends) = (sizes.d, [Site::ResidPre(0), Site::level(sizes.layers, sizes)]);
    let random = |run: &Run, seed| gaussian(seed, run.tokens().len() * d);
    let source = |(token, v): (usize, &[f32])| Source { site: ends[0], token, vector: v.to_vec() };
    let sources: Vec<Vec<Source>> =
        runs.iter().map(|run| random(run, seed.wrapping_add(1)).chunks(d).enumerate().map(source).collect()).collect();
    let cotangent = |(token, u): (usize, &[f32])| Seed::Field { level: sizes.layers, token, vector: u.to_vec() };
    let seeds: Vec<Vec<Seed>> =
        runs.iter().map(|run| random(run, seed).chunks(d).enumerate().map(cotangent).collect()).collect();
    let zeros = || runs.iter().map(|run| vec![0.0; run.tokens().len() * d]).collect::<Vec<Vec<f32>>>();
    let (mut responses, mut sensitivities) = (zeros(), zeros());
    let put = |into: &mut [Vec<f32>], chunk: Chunk<'_>| {
        into[chunk.sequence][chunk.token * d..][..chunk.rows.len()].copy_from_slice(chunk.rows);
    };
    let sourced = runs.iter().zip(&sources).map(|(run, sources)| SourcedRun { run, sources });
    jvp_of(mode, &sourced.collect::<Vec<_>>(), &ends[1..], &mut |chunk| put(&mut responses, chunk))?;
    let seeded = runs.iter().zip(&seeds).map(|(run, seeds)| SeededRun { run, seeds });
    vjp_of(mode, &seeded.collect::<Vec<_>>(), &ends[..1], &mut |chunk| put(&mut sensitivities, chunk))?;
    let check = |n: usize| {
        let (u, v, last) = (random(runs[n], seed), random(runs[n], seed.wrapping_add(1)), &responses[n]);
        let (forward, backward) = (dot(&u, last), dot(&sensitivities[n], &v));
        // If J is zero, as in a run whose last level was put in place, both sides are zero.
        let scale = (norm(&u) * norm(last)).max(f64::MIN_POSITIVE);
        let value = (forward - backward).abs() / scale;
        let bound = conditioned((value, ADJOINT), (scale, sizes), || {
            amplification(&runs[n].linearize(mode), &sources[n], &seeds[n])
        })?;
        Ok(Certificate::new("adjoint", value, bound))
    };
    (0..runs.len()).map(check).collect()
}

/// Checks `<u, H v> = <v, H u>`, where H is the Hessian of `observable`. The random directions u and v are at h\[0\] of
/// every token up to the position of the observable.
///
/// # Errors
/// An observable that does not fit, or a device error.
pub fn symmetry(linear: &Linearization<'_>, observable: &Observable, seed: u64) -> Result<Certificate> {
    let (d, end) = (linear.run().model().sizes().d, observable.position() + 1);
    let directions = [seed, seed.wrapping_add(1)].map(|seed| gaussian(seed, end * d));
    let sources = directions.each_ref().map(|direction| -> Vec<Source> {
        let rows = direction.chunks(d).enumerate();
        rows.map(|(token, v)| Source { site: Site::ResidPre(0), token, vector: v.to_vec() }).collect()
    });
    let products = linear.hvp(&sources, observable)?;
    let [h_u, h_v] = [0, 1].map(|k| &products.get(k)[..end * d]);
    let [u, v] = directions.each_ref();
    // If J is linear in h[0], both products are zero.
    let scale = (norm(u) * norm(h_v)).max(norm(v) * norm(h_u)).max(f64::MIN_POSITIVE);
    let value = (dot(u, h_v) - dot(v, h_u)).abs() / scale;
    Ok(Certificate::new("symmetry", value, SYMMETRY))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A figure that is not a number is not forgotten, wherever it comes.
    #[test]
    fn nan_is_the_worst() {
        for figures in [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [1.0, 2.0, f64::NAN]] {
            assert!(figures.into_iter().fold(0.0, worse).is_nan(), "{figures:?}");
            let checks = figures.map(|value| Certificate::new("adjoint", value, 10.0));
            let mut merged = Vec::new();
            checks.iter().for_each(|check| merge(&mut merged, std::slice::from_ref(check)));
            assert!(merged.len() == 1 && merged[0].value.is_nan(), "{merged:?}");
            let [a, b, c] = checks;
            assert!(a.worse(b).worse(c).value.is_nan());
        }
        assert_eq!([1.0, 3.0, 2.0].into_iter().fold(0.0, worse), 3.0);
    }
}
