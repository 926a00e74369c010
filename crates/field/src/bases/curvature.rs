//! Directions along which J has the largest curvature at a place: eigenvectors of its Hessian there.

use resolvent_model::{Linearization, Observable, Site, Source};

use crate::dense::wide;
use crate::error::Result;
use crate::linear_map::LinearMap;
use crate::place::{Place, shape};
use crate::rsvd::{RsvdOptions, rsvd};

/// The Hessian of J by one place, `d2J / dh[l,t] dh[l,t]` `[d, d]`. It is symmetric.
struct Hessian<'a, 'b> {
    linear: &'a Linearization<'b>,
    observable: &'a Observable,
    place: Place,
}

/// Returns `count` vectors of unit length for each place: those of the largest singular values of the Hessian of J
/// there, which are the eigenvectors of the eigenvalues of largest size.
///
/// # Errors
/// A device error.
pub(super) fn curved(
    linear: &Linearization<'_>,
    observable: &Observable,
    (places, count): (&[Place], usize),
    seed: u64,
) -> Result<Vec<Vec<Vec<f64>>>> {
    let each = places.iter().map(|&place| {
        if count == 0 {
            return Ok(Vec::new());
        }
        let map = Hessian { linear, observable, place };
        // Iterations cost 2 (k + p) products each: fewer than the d products of the exact route for all but tiny
        // models. Nothing reads the bound of the remainder, so it has one vector.
        let options = RsvdOptions {
            rank: count,
            exact: 4 * count,
            power: 8,
            tolerance: 1e-3,
            probes: 1,
            seed,
            ..RsvdOptions::default()
        };
        Ok(rsvd(&map, &options)?.right.iter().map(|v| wide(v)).collect())
    });
    each.collect()
}

impl LinearMap for Hessian<'_, '_> {
    fn rows(&self) -> usize {
        self.columns()
    }

    fn columns(&self) -> usize {
        shape(self.linear.run()).2
    }

    fn apply(&self, x: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        products(self.linear, self.observable, self.place, x)
    }

    fn apply_transpose(&self, y: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        self.apply(y)
    }

    fn scratch(&self, count: usize) -> usize {
        4 * count * self.columns()
    }
}

/// Returns `H v` at a place for vectors v `[d]` there.
///
/// # Errors
/// A device error.
pub(crate) fn products(
    linear: &Linearization<'_>,
    observable: &Observable,
    (level, token): Place,
    vectors: &[Vec<f32>],
) -> Result<Vec<Vec<f32>>> {
    let (_, _, d) = shape(linear.run());
    let site = Site::level(level, linear.run().model().sizes());
    let each: Vec<[Source; 1]> = vectors.iter().map(|v| [Source { site, token, vector: v.clone() }]).collect();
    let mut out = vec![vec![0.0; d]; vectors.len()];
    linear.hvp_at(&each, observable, &[site], &mut |chunk| {
        if let Some(row) = chunk.row(token, d) {
            out[chunk.sequence].copy_from_slice(row);
        }
    })?;
    Ok(out)
}
