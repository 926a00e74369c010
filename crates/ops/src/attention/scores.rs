//! Scores: products of rows with rows of keys or values, which are packed in columns first.

use std::ops::Range;

use pulp::Simd;

use super::MAX_D_HEAD;
use super::blocks::{Band, LANES};
use super::tile::{Along, Scores};

/// The right operand of scores: rows of keys or values, in columns.
pub(super) struct Right<'b> {
    /// `[_, width, LANES]`: the rows, in chunks.
    columns: &'b [f32],
    width: usize,
}

impl<'b> Right<'b> {
    /// Packs the rows of `width` elements of the indices in `rows`. Those before, up to `count`, are zero.
    #[inline(always)]
    pub(super) fn new<'a>(
        (count, rows): (usize, Range<usize>),
        width: usize,
        row: impl Fn(usize) -> &'a [f32],
        block: &'b mut [f32],
    ) -> Self {
        const ZEROS: [f32; MAX_D_HEAD] = [0.0; MAX_D_HEAD];
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
        Self { columns: block, width }
    }

    /// Computes the scores `[_, stride]` of the rows of `a`, or adds them.
    #[inline(always)]
    pub(super) fn scores<S: Simd>(
        &self,
        simd: S,
        bands: &[Band],
        a: Along<'_>,
        (c, stride): (&mut [f32], usize),
        add: bool,
    ) {
        simd.vectorize(Scores { bands, a, depth: self.width, b: self.columns, c, stride, add });
    }
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
