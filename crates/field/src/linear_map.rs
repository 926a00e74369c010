//! Linear maps that are known only by their products with vectors, for Krylov methods, singular values and inversion.

use resolvent_model::{Linearization, Seed, Source, gaussian};

use crate::certificate::{ADJOINT, Certificate, dot, norm};
use crate::error::Result;
use crate::place::shape;

/// A linear map A between spaces of f32 vectors. Its products take batches of vectors, which a map can compute
/// together.
pub trait LinearMap {
    /// Returns the length of `A x`.
    fn rows(&self) -> usize;

    /// Returns the length of x.
    fn columns(&self) -> usize;

    /// Returns `A x` for each x `[columns]`.
    ///
    /// # Errors
    /// A device error.
    fn apply(&self, x: &[Vec<f32>]) -> Result<Vec<Vec<f32>>>;

    /// Returns `A^T y` for each y `[rows]`.
    ///
    /// # Errors
    /// A device error.
    fn apply_transpose(&self, y: &[Vec<f32>]) -> Result<Vec<Vec<f32>>>;

    /// Returns the bytes of host memory that a batch of `count` vectors takes besides the vectors themselves.
    fn scratch(&self, count: usize) -> usize;
}

/// Checks `<y, A x> = <A^T y, x>` for random x and y.
///
/// # Errors
/// A device error.
pub fn adjoint_of(map: &dyn LinearMap, seed: u64) -> Result<Certificate> {
    let (x, y) = (gaussian(seed, map.columns()), gaussian(seed.wrapping_add(1), map.rows()));
    let (ax, aty) = (map.apply(std::slice::from_ref(&x))?, map.apply_transpose(std::slice::from_ref(&y))?);
    let difference = (dot(&y, &ax[0]) - dot(&aty[0], &x)).abs();
    // If A is zero, both sides are zero.
    let size = (norm(&y) * norm(&ax[0])).max(f64::MIN_POSITIVE);
    Ok(Certificate::new("adjoint", difference / size, ADJOINT))
}

/// The map of the whole stream, from h\[0\] of every token to h\[L\] of every token: `[T d] -> [T d]`.
impl LinearMap for Linearization<'_> {
    fn rows(&self) -> usize {
        self.columns()
    }

    fn columns(&self) -> usize {
        self.run().tokens().len() * self.run().model().sizes().d
    }

    fn apply(&self, x: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let (_, tokens, d) = shape(self.run());
        let levels = self.run().levels();
        let sources: Vec<Vec<Source>> = x
            .iter()
            .map(|x| {
                let rows = x.chunks(d).enumerate();
                rows.map(|(token, s)| Source { site: levels[0], token, vector: s.to_vec() }).collect()
            })
            .collect();
        let mut out = vec![vec![0.0; tokens * d]; x.len()];
        self.jvp_at(&sources, &levels[levels.len() - 1..], &mut |chunk| {
            out[chunk.sequence][chunk.token * d..][..chunk.rows.len()].copy_from_slice(chunk.rows);
        })?;
        Ok(out)
    }

    fn apply_transpose(&self, y: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let (levels, tokens, d) = shape(self.run());
        let seeds: Vec<Vec<Seed>> = y
            .iter()
            .map(|y| {
                let rows = y.chunks(d).enumerate();
                let seed = |(token, s): (usize, &[f32])| Seed::Field { level: levels - 1, token, vector: s.to_vec() };
                rows.map(seed).collect()
            })
            .collect();
        let mut out = vec![vec![0.0; tokens * d]; y.len()];
        self.vjp_at(&seeds, &self.run().levels()[..1], &mut |chunk| {
            out[chunk.sequence][chunk.token * d..][..chunk.rows.len()].copy_from_slice(chunk.rows);
        })?;
        Ok(out)
    }

    fn scratch(&self, count: usize) -> usize {
        // A copy of the vectors, as sources or seeds.
        4 * count * self.columns()
    }
}
