//! Scores: products of rows with rows of keys or values, which are packed in columns first.

use std::ops::Range;

use pulp::Simd;

use super::MAX_D_HEAD;
use super::blocks::{BLOCK, Band, LANES};
use super::tile::{Along, Scores};

/// The right operand of scores: rows of keys or values.
pub(super) struct Right<'b, F> {
    /// Columns `[_, width, LANES]`: the rows, in chunks. Short sequences have none.
    columns: Option<&'b [f32]>,
    width: usize,
    row: F,
}

impl<'a, 'b, F: Fn(usize) -> &'a [f32]> Right<'b, F> {
    /// Prepares the rows of `width` elements of the indices in `rows`. Those before, up to `count`, are zero.
    #[inline(always)]
    pub(super) fn new(
        is_short: bool,
        (count, rows): (usize, Range<usize>),
        width: usize,
        row: F,
        block: &'b mut [f32],
    ) -> Self {
        const ZEROS: [f32; MAX_D_HEAD] = [0.0; MAX_D_HEAD];
        if is_short {
            return Self { columns: None, width, row };
        }
        for (first, chunk) in (0..count).step_by(LANES).zip(block.chunks_exact_mut(LANES * width)) {
            for lane in (0..LANES.min(count - first)).step_by(4) {
                let mut four = [&ZEROS[..width]; 4];
                for (i, four) in (first + lane..).zip(&mut four) {
                    if rows.contains(&i) {
                        *four = &row(i)[..width];
                    }
                }
                put_columns(four, chunk.as_chunks_mut().0, lane);
            }
        }
        Self { columns: Some(block), width, row }
    }

    /// Computes the scores `[_, BLOCK]` of the rows of `a`, or adds them.
    #[inline(always)]
    pub(super) fn scores<S: Simd>(&self, simd: S, bands: &[Band], a: Along<'_>, c: &mut [f32], add: bool) {
        if let Some(b) = self.columns {
            return simd.vectorize(Scores { bands, a, depth: self.width, b, c, add });
        }
        for (i, (band, c)) in bands.iter().zip(c.chunks_mut(BLOCK)).enumerate() {
            for (j, c) in (band.from..).zip(&mut c[band.from..band.to]) {
                let score = dot(simd, &a.rows[i * a.stride..][..self.width], (self.row)(j));
                *c = if add { *c + score } else { score };
            }
        }
    }
}

/// Returns `<a, b>`, summed in the lanes of a vector.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    let mut sum = simd.mul_f32s(simd.partial_load_f32s(a_rest), simd.partial_load_f32s(b_rest));
    for (a, b) in a.iter().zip(b) {
        sum = simd.mul_add_e_f32s(*a, *b, sum);
    }
    simd.reduce_sum_f32s(sum)
}

/// Writes four rows to columns of a chunk. It is never inlined, and so compiled for old processors: for new ones, the
/// compiler selects instructions that scatter, which are slower.
#[inline(never)]
fn put_columns([a, b, c, d]: [&[f32]; 4], chunk: &mut [[f32; LANES]], lane: usize) {
    for ((((to, a), b), c), d) in chunk.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        let to = &mut to[lane..lane + 4];
        to[0] = *a;
        to[1] = *b;
        to[2] = *c;
        to[3] = *d;
    }
}
