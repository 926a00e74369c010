//! Krylov spaces of the response of the last level to a source at a place.
//!
//! Let `A = dh[L, :] / dh[l, t]` `[T d, d]` be the response of the whole last level to a source at (l, t), stacked over
//! tokens, and let V be the b starting vectors. The block Krylov space is spanned by `V, A^T A V, (A^T A)^2 V, ...`.
//!
//! Its vectors are computed one after another. The first, q_1 to q_b, are V, orthonormalised. `q_(i+b)` is `A^T A q_i`,
//! made orthonormal to all earlier vectors. For b = 1 these are Lanczos vectors with full orthogonalisation. They span
//! the space of sources in which LSQR searches.

use resolvent_model::{Linearization, Seed, Site, Source};

use crate::certificate::narrow;
use crate::dense::{orthonormal, orthonormal_to, wide};
use crate::error::Result;
use crate::place::{Place, shape};

/// Computes `rank` vectors for each place, from the starting vectors `spaces [places, starts, d]`.
///
/// If the space has fewer dimensions, the remaining vectors are zero.
pub(super) fn krylov(
    linear: &Linearization<'_>,
    places: &[Place],
    mut spaces: Vec<Vec<Vec<f64>>>,
    rank: usize,
) -> Result<Vec<Vec<Vec<f64>>>> {
    let (levels, tokens, _) = shape(linear.run());
    let block = spaces.first().map_or(0, Vec::len);
    spaces.iter_mut().for_each(|space| orthonormal(space));
    for level in 0..levels {
        let here: Vec<usize> = (0..places.len()).filter(|&i| places[i].0 == level).collect();
        // A batch has at most as many rows as the device fits at once, and the host stores the responses of one batch
        // only.
        for batch in here.chunks((linear.batch_rows(1) / tokens).max(1)) {
            for step in block..rank {
                let last: Vec<&[f64]> = batch.iter().map(|&i| &spaces[i][step - block][..]).collect();
                let at: Vec<Place> = batch.iter().map(|&i| places[i]).collect();
                let next = gram(linear, &at, &last)?;
                for (&i, mut x) in batch.iter().zip(next) {
                    orthonormal_to(&spaces[i], &mut x);
                    spaces[i].push(x);
                }
            }
        }
    }
    Ok(spaces)
}

/// Returns `A^T A x` for each place of one level and its x.
fn gram(linear: &Linearization<'_>, places: &[Place], x: &[&[f64]]) -> Result<Vec<Vec<f64>>> {
    let (levels, _, d) = shape(linear.run());
    let (level, sizes) = (places[0].0, linear.run().model().sizes());
    let (here, last) = (Site::level(level, sizes), Site::level(levels - 1, sizes));
    let source = |(&(_, token), x): (&Place, &&[f64])| match x.iter().any(|x| *x != 0.0) {
        true => vec![Source { site: here, token, vector: narrow(x) }],
        false => Vec::new(),
    };
    let sources: Vec<Vec<Source>> = places.iter().zip(x).map(source).collect();
    let mut seeds: Vec<Vec<Seed>> = vec![Vec::new(); places.len()];
    linear.jvp_at(&sources, &[last], &mut |chunk| {
        let rows = chunk.rows.chunks(d).zip(chunk.token..);
        seeds[chunk.sequence] =
            rows.map(|(row, token)| Seed::Field { level: levels - 1, token, vector: row.to_vec() }).collect();
    })?;
    let mut next = vec![vec![0.0; d]; places.len()];
    linear.vjp_at(&seeds, &[here], &mut |chunk| {
        next[chunk.sequence] = wide(&chunk.rows[(places[chunk.sequence].1 - chunk.token) * d..][..d]);
    })?;
    Ok(next)
}
