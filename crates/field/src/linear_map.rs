//! Linear maps that are known by what they do: what Krylov methods, singular values and the inverse problem work on.

use resolvent_model::{Linearization, Seed, Source, gaussian};

use crate::certificate::{ADJOINT, Certificate, dot, norm};
use crate::error::Result;
use crate::place::shape;

/// A linear map A between spaces of f32 vectors. Batches are as cheap as the map can make them.
pub trait LinearMap {
    /// Length of `A x`.
    fn rows(&self) -> usize;

    /// Length of x.
    fn columns(&self) -> usize;

    /// `A x` for each x `[columns]`.
    ///
    /// # Errors
    /// A device error.
    fn apply(&self, x: &[Vec<f32>]) -> Result<Vec<Vec<f32>>>;

    /// `A^T y` for each y `[rows]`.
    ///
    /// # Errors
    /// A device error.
    fn apply_transpose(&self, y: &[Vec<f32>]) -> Result<Vec<Vec<f32>>>;

    /// Bytes of host memory that a batch of `count` vectors takes besides the vectors themselves.
    fn scratch(&self, count: usize) -> usize;
}

/// `<y, A x>` and `<A^T y, x>` for random x and y.
///
/// # Errors
/// A device error.
pub fn adjoint_of(map: &dyn LinearMap, seed: u64) -> Result<Certificate> {
    let (x, y) = (gaussian(seed, map.columns()), gaussian(seed + 1, map.rows()));
    let (ax, aty) = (map.apply(std::slice::from_ref(&x))?, map.apply_transpose(std::slice::from_ref(&y))?);
    let apart = (dot(&y, &ax[0]) - dot(&aty[0], &x)).abs();
    // Where A is zero, both sides are.
    let size = (norm(&y) * norm(&ax[0])).max(f64::MIN_POSITIVE);
    Ok(Certificate::new("adjoint", apart / size, ADJOINT))
}

/// The whole stream's map, h\[0\] of every token to h\[L\] of every token: `[T d] -> [T d]`.
impl LinearMap for Linearization<'_> {
    fn rows(&self) -> usize {
        self.columns()
    }

    fn columns(&self) -> usize {
        self.run().tokens().len() * self.run().model().config().n_embd
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
        // The vectors once more, as sources or seeds.
        4 * count * self.columns()
    }
}
