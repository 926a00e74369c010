//! Frobenius norms of the blocks of one source place: how strongly a source there affects every other place.
//!
//! Exact norms sum over the d unit sources: `|G(l',t'; l,t)|_F^2 = sum_i |G e_i|^2`. Estimates average `|G z|^2` over r
//! random sign vectors z (Hutchinson 1989). The variance of `|G z|^2` is `2 (|M|_F^2 - sum_i M_ii^2)` with `M = G^T G`.
//! Of all distributions with independent entries, random signs have the least variance.

use resolvent_model::{Linearization, Site, Source, gaussian};

use crate::certificate::{narrow, norm};
use crate::error::{Error, Result};
use crate::place::{Place, inside, shape};

/// Selects how block norms are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probes {
    /// d tangents, one for each unit source.
    Exact,
    /// Tangents of random sign vectors: their number (two or more), and their seed.
    Hutchinson(usize, u64),
}

/// Norms of the blocks from one place.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockNorms {
    /// `block_norm [L+1, T]`: `|G(l',t'; l,t)|_F`, zero outside of the causal cone, sqrt(d) at the place itself.
    pub norm: Vec<f32>,
    /// Standard errors `[L+1, T]`; `None` if the norms are exact.
    pub error: Option<Vec<f32>>,
}

/// Computes the Frobenius norms of all blocks whose source is at `place`.
///
/// # Errors
/// A place outside of the field, fewer than two random vectors, or a device error.
pub fn block_norms(linear: &Linearization<'_>, place: Place, probes: Probes) -> Result<BlockNorms> {
    Ok(block_norms_of(linear, &[place], probes)?.remove(0))
}

/// Returns the [`block_norms`] of each place. Sources of all places share batches.
pub(crate) fn block_norms_of(linear: &Linearization<'_>, places: &[Place], probes: Probes) -> Result<Vec<BlockNorms>> {
    let run = linear.run();
    places.iter().try_for_each(|&place| inside(place, run))?;
    let (levels, tokens, d) = shape(run);
    let count = match probes {
        Probes::Exact => d,
        Probes::Hutchinson(count, _) if count >= 2 => count,
        Probes::Hutchinson(count, _) => {
            return Err(Error::Input(format!("{count} random vectors give no standard error; take two or more")));
        }
    };
    let vector = |(place, i): (usize, usize)| match probes {
        Probes::Exact => (0..d).map(|j| if i == j { 1.0 } else { 0.0 }).collect(),
        Probes::Hutchinson(_, seed) => {
            gaussian(seed.wrapping_add((place * count + i) as u64), d).iter().map(|x| x.signum()).collect()
        }
    };
    let source = |which: (usize, usize)| {
        let (level, token) = places[which.0];
        [Source { site: Site::level(level, run.model().sizes()), token, vector: vector(which) }]
    };
    let mut sums = vec![Sums::new(levels * tokens); places.len()];
    // Sources are generated batch by batch: all of them would exceed one.
    let (most, mut batch, mut rows) = (linear.batch_rows(levels), Vec::new(), 0);
    let mut pass = |batch: &[(usize, usize)]| {
        let sources: Vec<[Source; 1]> = batch.iter().map(|&which| source(which)).collect();
        linear.jvp_at(&sources, &run.levels(), &mut |chunk| {
            let sums = &mut sums[batch[chunk.sequence].0];
            for (t, row) in chunk.rows.chunks(d).enumerate() {
                sums.add(chunk.site * tokens + chunk.token + t, norm(row).powi(2));
            }
        })
    };
    for which in (0..places.len()).flat_map(|place| (0..count).map(move |i| (place, i))) {
        let more = tokens - places[which.0].1;
        if rows + more > most && !batch.is_empty() {
            pass(&std::mem::take(&mut batch))?;
            rows = 0;
        }
        batch.push(which);
        rows += more;
    }
    pass(&batch)?;
    Ok(sums.into_iter().map(|sums| sums.norms(probes)).collect())
}

/// Sums over the sources of one place, `[L+1, T]`.
#[derive(Clone)]
struct Sums {
    energy: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn new(places: usize) -> Self {
        Self { energy: vec![0.0; places], squares: vec![0.0; places] }
    }

    fn add(&mut self, at: usize, energy: f64) {
        self.energy[at] += energy;
        self.squares[at] += energy * energy;
    }

    fn norms(self, probes: Probes) -> BlockNorms {
        let Probes::Hutchinson(count, _) = probes else {
            return BlockNorms { norm: narrow(&self.energy.iter().map(|s| s.sqrt()).collect::<Vec<_>>()), error: None };
        };
        let n = count as f64;
        let mean: Vec<f64> = self.energy.iter().map(|s| s / n).collect();
        let size: Vec<f64> = mean.iter().map(|m| m.sqrt()).collect();
        // The standard error of the mean of |G z|^2, propagated to its square root to first order.
        let error = mean.iter().zip(&self.squares).zip(&size).map(|((mean, squares), size)| {
            let variance = (squares / n - mean * mean).max(0.0) / (n - 1.0);
            if *size > 0.0 { variance.sqrt() / (2.0 * size) } else { 0.0 }
        });
        BlockNorms { error: Some(narrow(&error.collect::<Vec<_>>())), norm: narrow(&size) }
    }
}
