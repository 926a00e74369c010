//! Products of few rows, `y = x w`. The time to read the weights bounds them, and general matrix crates read weights in
//! the order of their tiles. Here every weight is read once, along rows of w, and the next rows are prefetched
//! meanwhile.
//!
//! Measured with two threads on a Zen 4 server whose memory gives 45 GB/s, with weights 768x3072 that fit no cache
//! (GFLOP/s, straight | transposed, by [`super::dots`] as it was then):
//!
//! | rows | here | `private-gemm-x86` 0.1.22 | `gemm` 0.19 |
//! |---|---|---|---|
//! | 1 | 15 \| 10 | 7 \| 4 | 10 \| 14 |
//! | 4 | 46 \| 58 | 37 \| 27 | 21 \| 28 |
//! | 16 | 135 \| 145 | 88 \| 80 | 53 \| 79 |
//! | 32 | 178 \| 163 | 128 \| 118 | 67 \| 116 |
//!
//! With weights in f16 and AVX-512, on the same server: 31 | 34 at one row, 124 | 131 at 4, 196 | 194 at 16.
//!
//! A few rows of w are read at a time, and their products added to sums of all columns, which fit the L2 cache. The
//! threads share the columns of y. The order of every sum depends on k alone, and is that of products of many rows.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::f16_weights;
use super::rows::Row;
use super::weights::{DEPTH as BLOCK, Elements};

/// Rows of w that a step of the straight form adds. They divide the blocks of k.
const DEPTH: usize = 16;
const _: () = assert!(BLOCK.is_multiple_of(DEPTH));

/// Most columns of y for one thread: beside its sums of 16 rows, the L2 cache has room for the weights.
const MOST_COLUMNS: usize = 1536;

/// Computes `y = x w`, or `y += x w`: see [`super::matmul`].
pub(super) fn product(
    arch: Arch,
    [m, k, n]: [usize; 3],
    (x, w): (&[f32], Elements<'_>),
    accumulate: bool,
    y: &mut [f32],
) {
    let (share, parts) = divided(&mut y[..m * n], n);
    parts.into_par_iter().enumerate().for_each(|(part, mut y)| {
        let (first, columns) = (part * share, share.min(n - part * share));
        let columns = Columns { shape: [m, k, n], first, columns, x, w };
        arch.dispatch(Straight { columns, accumulate, y: &mut y });
    });
}

/// Divides the columns of rows of y among the threads. Returns how many columns a share has, and the shares.
pub(super) fn divided(y: &mut [f32], n: usize) -> (usize, Vec<Vec<&mut [f32]>>) {
    let share = n.div_ceil(rayon::current_num_threads()).next_multiple_of(64).min(MOST_COLUMNS);
    (share, shares(y, n, share))
}

/// Divides rows of `n` columns into shares of columns. Each share has its columns of all rows.
pub(super) fn shares(y: &mut [f32], n: usize, share: usize) -> Vec<Vec<&mut [f32]>> {
    let mut parts: Vec<Vec<&mut [f32]>> = (0..n.div_ceil(share)).map(|_| Vec::with_capacity(y.len() / n)).collect();
    for row in y.chunks_mut(n) {
        parts.iter_mut().zip(row.chunks_mut(share)).for_each(|(part, columns)| part.push(columns));
    }
    parts
}

/// Writes sums `[m, columns]` to the rows of y, or adds them.
fn put(y: &mut [&mut [f32]], sums: &[f32], add: bool) {
    let columns = sums.len() / y.len().max(1);
    for (y, sums) in y.iter_mut().zip(sums.chunks(columns)) {
        match add {
            true => y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum),
            false => y.copy_from_slice(sums),
        }
    }
}

/// Columns `first..` of a product `x w`.
#[derive(Clone, Copy)]
struct Columns<'a> {
    shape: [usize; 3],
    first: usize,
    columns: usize,
    x: &'a [f32],
    w: Elements<'a>,
}

/// Computes columns of `x w`, and writes them to the rows of y, or adds them: the sums of each block of k, in order.
struct Straight<'a, 'y> {
    columns: Columns<'a>,
    accumulate: bool,
    y: &'a mut [&'y mut [f32]],
}

/// Splits `rows` rows of x into blocks that fit the registers, as (first, count). A block has 16 rows with the widest
/// vectors and 8 with others; smaller blocks take the rest.
fn blocks<S: Simd>(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = move |first: usize| match rows - first {
        16.. if S::F32_LANES >= 16 => 16,
        8.. => 8,
        4.. => 4,
        2.. => 2,
        left => left,
    };
    let next = move |&(first, taken): &(usize, usize)| Some((first + taken, count(first + taken)));
    std::iter::successors(Some((0, count(0))), next).take_while(|&(_, taken)| taken > 0)
}

impl WithSimd for Straight<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Columns { shape: [m, k, n], first, columns, x, w } = self.columns;
        let vectors = columns / S::F32_LANES;
        let mut y = vec![0.0f32; m * columns];
        // Sums, block by block of rows of x. In a block, the rows of one vector of columns are adjacent.
        let mut sums = vec![simd.splat_f32s(0.0); m * vectors];
        let mut wide = w.room(simd, DEPTH * columns);
        for from in (0..k).step_by(BLOCK) {
            let to = k.min(from + BLOCK);
            sums.fill(simd.splat_f32s(0.0));
            for k0 in (from..to).step_by(DEPTH) {
                let depth = DEPTH.min(to - k0);
                let step = Step { simd, x, k, k0, depth, ahead: DEPTH * n };
                let w = w.from(k0 * n + first);
                if let Some(w) = w.packed(simd) {
                    step.add(m, std::array::from_fn(|d| w.from(d.min(depth - 1) * n, columns)), &mut sums);
                } else {
                    let (w, stride) = w.rows(simd, depth, (n, columns), &mut wide);
                    let row = |d: usize| S::as_simd_f32s(&w[d.min(depth - 1) * stride..][..columns]).0;
                    step.add(m, std::array::from_fn(row), &mut sums);
                }
            }
            for (row, count) in blocks::<S>(m) {
                let sums = &sums[row * vectors..][..count * vectors];
                for i in 0..count {
                    let whole = S::as_mut_simd_f32s(&mut y[(row + i) * columns..][..columns]).0;
                    for (v, y) in whole.iter_mut().enumerate() {
                        *y = sums[v * count + i];
                    }
                    if w.is_reordered(simd) {
                        f16_weights::interleave::<S>(&mut y[(row + i) * columns..][..columns]);
                    }
                }
            }
            if vectors * S::F32_LANES < columns {
                self.columns.edge(simd, from..to, &mut y);
            }
            put(self.y, &y, self.accumulate || from > 0);
        }
    }
}

impl Columns<'_> {
    /// Computes the columns that fill no vector, with the same operations as the others.
    #[inline(always)]
    fn edge<S: Simd>(self, simd: S, along: Range<usize>, y: &mut [f32]) {
        let Self { shape: [m, k, n], first, columns, x, w } = self;
        let from = columns / S::F32_LANES * S::F32_LANES;
        let mut rows = vec![0.0; along.len() * S::F32_LANES];
        for (j, row) in along.clone().zip(rows.chunks_mut(S::F32_LANES)) {
            for (column, w_at) in (from..columns).zip(row) {
                *w_at = w.at(j * n + first + column);
            }
        }
        let rows = S::as_simd_f32s(&rows).0;
        for i in 0..m {
            let mut sum = simd.splat_f32s(0.0);
            for (x, row) in x[i * k..][along.clone()].iter().zip(rows) {
                sum = simd.mul_add_e_f32s(simd.splat_f32s(*x), *row, sum);
            }
            simd.partial_store_f32s(&mut y[i * columns + from..][..columns - from], sum);
        }
    }
}

/// A few elements of each row of x, to be multiplied with their rows of w.
struct Step<'a, S: Simd> {
    simd: S,
    x: &'a [f32],
    k: usize,
    k0: usize,
    depth: usize,
    /// Distance to the rows of w of the next step.
    ahead: usize,
}

impl<S: Simd> Step<'_, S> {
    /// Adds the products of `rows` rows of x to their sums.
    #[inline(always)]
    fn add<W: Row<S>>(&self, rows: usize, w: [W; DEPTH], sums: &mut [S::f32s]) {
        let vectors = sums.len() / rows;
        for (first, count) in blocks::<S>(rows) {
            let sums = &mut sums[first * vectors..][..count * vectors];
            match count {
                16 => self.add_block::<16, W>(first, w, sums),
                8 => self.add_block::<8, W>(first, w, sums),
                4 => self.add_block::<4, W>(first, w, sums),
                2 => self.add_block::<2, W>(first, w, sums),
                _ => self.add_block::<1, W>(first, w, sums),
            }
        }
    }

    #[inline(always)]
    fn add_block<const R: usize, W: Row<S>>(&self, first: usize, w: [W; DEPTH], sums: &mut [S::f32s]) {
        let Self { simd, x, k, k0, depth, ahead } = *self;
        // Steps beyond the depth multiply the last row by zero.
        let mut block = [[0.0f32; DEPTH]; R];
        for (i, row) in block.iter_mut().enumerate() {
            row[..depth].copy_from_slice(&x[(first + i) * k + k0..][..depth]);
        }
        let sums = sums.as_chunks_mut::<R>().0;
        for (v, sums) in sums.iter_mut().enumerate() {
            let mut tile = *sums;
            for (d, row) in w.iter().enumerate() {
                row.fetch(v, ahead);
                let w = row.vector(v);
                for (sum, x) in tile.iter_mut().zip(&block) {
                    *sum = simd.mul_add_e_f32s(simd.splat_f32s(x[d]), w, *sum);
                }
            }
            *sums = tile;
        }
    }
}
