//! The expansion itself: directions in which slopes and curvatures decouple.

use resolvent_model::{Linearization, Observable, Site, Source};

use crate::bases::products;
use crate::certificate::{Certificate, SYMMETRY, narrow, worse};
use crate::dense::{add_scaled, combined, inner, size, symmetric, wide};
use crate::error::Result;
use crate::interaction::SAME_PAIR;
use crate::place::Place;

/// J to second order in k directions at a place: `sum_i (slope_i a_i + 1/2 curvature_i a_i^2)`.
pub(super) struct Expansion {
    /// Orthonormal vectors `[d]`.
    pub(super) directions: Vec<Vec<f64>>,
    pub(super) slope: Vec<f64>,
    pub(super) curvature: Vec<f64>,
    /// The size of second derivatives that matters: the largest `|H v|` of a direction v, or `|chi| / |h|` if that is
    /// larger. Second order then changes the response to a source of length |h| as much as first order does.
    scale: f64,
    /// Share of the directions in the squared curvature of the place.
    pub(super) captured: f64,
    /// The two triangles of the matrix of second derivatives agree.
    pub(super) triangles: Certificate,
}

impl Expansion {
    /// Expands J around a run, in orthonormal directions `given` at a place with the sensitivity chi `[d]` and the
    /// length h of the stream. Vectors of `probes` estimate the curvature outside of the directions.
    pub(super) fn new(
        (linear, observable): (&Linearization<'_>, &Observable),
        (place, chi, h): (Place, &[f64], f64),
        given: &[Vec<f64>],
        mut probes: Vec<Vec<f64>>,
    ) -> Result<Self> {
        let k = given.len();
        probes.iter_mut().for_each(|x| leave(given, x));
        let vectors: Vec<Vec<f32>> = given.iter().chain(&probes).map(|v| narrow(v)).collect();
        let images: Vec<Vec<f64>> = products(linear, observable, place, &vectors)?.iter().map(|x| wide(x)).collect();
        let (images, outside) = images.split_at(k);
        let form: Vec<f64> = given.iter().flat_map(|v| images.iter().map(|image| inner(v, image))).collect();
        let least = if h > 0.0 { size(chi) / h } else { 0.0 };
        let scale = images.iter().map(|image| size(image)).fold(least.max(f64::MIN_POSITIVE), worse);
        let triangles = (0..k * k).fold(0.0, |worst, at| {
            let (i, j) = (at / k, at % k);
            worse(worst, (form[at] - form[j * k + i]).abs() / scale)
        });
        let (curvature, turns) = symmetric(&form, k)?;
        let mut directions: Vec<Vec<f64>> = turns.iter().map(|weights| combined(given, weights)).collect();
        for v in directions.iter_mut().filter(|v| inner(v, chi) < 0.0) {
            v.iter_mut().for_each(|x| *x = -*x);
        }
        let within: f64 = curvature.iter().map(|q| q * q).sum();
        let captured = captured(given, within, (images, outside));
        let slope = directions.iter().map(|v| inner(v, chi)).collect();
        let triangles = Certificate::new("triangles", triangles, SAME_PAIR);
        Ok(Self { directions, slope, curvature, scale, captured, triangles })
    }

    /// Returns the vector `[d]` with coordinates a.
    pub(super) fn vector(&self, a: &[f64]) -> Vec<f64> {
        combined(&self.directions, a)
    }

    /// Returns the coordinates of the part of a vector that lies in the directions.
    pub(super) fn coordinates(&self, x: &[f64]) -> Vec<f64> {
        self.directions.iter().map(|v| inner(v, x)).collect()
    }

    /// Returns the response at coordinates a, to first and to second order.
    pub(super) fn at(&self, a: &[f64]) -> [f64; 2] {
        let first = inner(&self.slope, a);
        let second: f64 = self.curvature.iter().zip(a).map(|(q, a)| q * a * a).sum();
        [first, first + 0.5 * second]
    }

    /// Compares slopes and curvatures with the derivatives by forward mode, along the first, a middle and the last
    /// direction.
    pub(super) fn along(
        &self,
        (linear, observable): (&Linearization<'_>, &Observable),
        (site, token): (Site, usize),
        chi: &[f64],
    ) -> Result<Certificate> {
        let last = self.directions.len() - 1;
        let tried = [0, last / 2, last];
        let sources = tried.map(|i| [Source { site, token, vector: narrow(&self.directions[i]) }]);
        let mut worst = 0.0;
        for (i, found) in tried.into_iter().zip(linear.along(&sources, observable)?) {
            let first = (found.first - self.slope[i]).abs() / size(chi).max(f64::MIN_POSITIVE);
            let second = (found.second - self.curvature[i]).abs() / self.scale;
            worst = worse(worst, worse(first, second));
        }
        Ok(Certificate::new("along", worst, SYMMETRY))
    }
}

/// Returns the share of k directions in `|H|^2`, given `within` = `|V^T H V|^2`, `H v` of each direction, and `H x` of
/// random vectors outside of them.
fn captured(directions: &[Vec<f64>], within: f64, (images, outside): (&[Vec<f64>], &[Vec<f64>])) -> f64 {
    // |H|^2 = |V^T H V|^2 + 2 |(1 - P) H V|^2 + |(1 - P) H (1 - P)|^2; only the last part is an estimate.
    let across = (images.iter().map(|x| inner(x, x)).sum::<f64>() - within).max(0.0);
    let rest = outside.iter().map(|image| {
        let mut image = image.clone();
        leave(directions, &mut image);
        inner(&image, &image)
    });
    let rest = rest.sum::<f64>() / outside.len().max(1) as f64;
    within / (within + 2.0 * across + rest).max(f64::MIN_POSITIVE)
}

/// Subtracts the part of a vector that lies in orthonormal directions.
fn leave(directions: &[Vec<f64>], x: &mut [f64]) {
    for v in directions {
        let along = inner(v, x);
        add_scaled(x, -along, v);
    }
}
