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
    let run = linear.run();
    inside(place, run)?;
    let (levels, tokens, d) = shape(run);
    let count = match probes {
        Probes::Exact => d,
        Probes::Hutchinson(count, _) if count >= 2 => count,
        Probes::Hutchinson(count, _) => {
            return Err(Error::Input(format!("{count} random vectors give no standard error; take two or more")));
        }
    };
    let vector = |i: usize| match probes {
        Probes::Exact => (0..d).map(|j| if i == j { 1.0 } else { 0.0 }).collect(),
        Probes::Hutchinson(_, seed) => gaussian(seed + i as u64, d).iter().map(|x| x.signum()).collect(),
    };
    let site = Site::level(place.0, run.model().sizes());
    let (mut sum, mut squares) = (vec![0.0f64; levels * tokens], vec![0.0f64; levels * tokens]);
    // Sources are generated batch by batch: all d sources of width d would exceed one batch.
    let most = (linear.batch_rows(levels) / (tokens - place.1)).max(1);
    for first in (0..count).step_by(most) {
        let batch = first..(first + most).min(count);
        let sources: Vec<[Source; 1]> = batch.map(|i| [Source { site, token: place.1, vector: vector(i) }]).collect();
        linear.jvp_at(&sources, &run.levels(), &mut |chunk| {
            for (t, row) in chunk.rows.chunks(d).enumerate() {
                let at = chunk.site * tokens + chunk.token + t;
                let energy = norm(row).powi(2);
                sum[at] += energy;
                squares[at] += energy * energy;
            }
        })?;
    }
    Ok(match probes {
        Probes::Exact => BlockNorms { norm: narrow(&sum.iter().map(|s| s.sqrt()).collect::<Vec<_>>()), error: None },
        Probes::Hutchinson(..) => {
            let n = count as f64;
            let mean: Vec<f64> = sum.iter().map(|s| s / n).collect();
            let size: Vec<f64> = mean.iter().map(|m| m.sqrt()).collect();
            // The standard error of the mean of |G z|^2, propagated to its square root to first order.
            let error = mean.iter().zip(&squares).zip(&size).map(|((mean, squares), size)| {
                let variance = (squares / n - mean * mean).max(0.0) / (n - 1.0);
                if *size > 0.0 { variance.sqrt() / (2.0 * size) } else { 0.0 }
            });
            BlockNorms { error: Some(narrow(&error.collect::<Vec<_>>())), norm: narrow(&size) }
        }
    })
}
