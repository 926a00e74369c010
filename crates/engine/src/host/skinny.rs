//! Products of few rows: bound by the reading of the weights, which general matrix crates read in the order that suits
//! their tiles. Here every weight is read once, along rows of w, and the memory is asked for the next rows meanwhile.
//!
//! Measured with two threads on a Zen 4 server whose memory gives 45 GB/s, weights 768x3072 that no cache holds
//! (GFLOP/s, straight | transposed):
//!
//! | rows | here | `private-gemm-x86` 0.1.22 | `gemm` 0.19 |
//! |---|---|---|---|
//! | 1 | 15 \| 10 | 7 \| 4 | 10 \| 14 |
//! | 4 | 46 \| 58 | 37 \| 27 | 21 \| 28 |
//! | 16 | 135 \| 145 | 88 \| 80 | 53 \| 79 |
//! | 32 | 178 \| 163 | 128 \| 118 | 67 \| 116 |
//!
//! Two forms. `y = x w` goes through w a few rows at a time, and adds what they give to sums of all columns, which stay
//! in the second cache. `y = x w^T` is dot products of rows of x with rows of w. Columns of y are shared among the
//! threads; the order of every sum depends on k alone.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::f16_weights;
use super::fetch::fetch;
use super::weights::{Elements, Weights};

/// Rows of w that a step of the straight form adds.
const DEPTH: usize = 16;

/// Columns of y that a thread takes at most: what its sums of 16 rows leave of the second cache is for the weights.
const MOST_COLUMNS: usize = 1536;

/// Rows of w that the transposed form reads side by side.
const SIDE: usize = 4;

/// `y = x w`, or `y += x w`: see [`super::matmul`].
pub(super) fn product([m, k, n]: [usize; 3], x: &[f32], w: Weights<'_>, accumulate: bool, y: &mut [f32]) {
    let share = n.div_ceil(rayon::current_num_threads()).next_multiple_of(64).min(MOST_COLUMNS);
    let arch = Arch::new();
    let part = |part: usize| {
        let (first, columns) = (part * share, share.min(n - part * share));
        match w.transposed {
            true => arch.dispatch(Transposed { m, k, columns, x, w: w.elements.from(first * k) }),
            false => arch.dispatch(Straight { shape: [m, k, n], first, columns, x, w: w.elements }),
        }
    };
    let parts: Vec<Vec<f32>> = (0..n.div_ceil(share)).into_par_iter().map(part).collect();
    for (i, y) in y.chunks_mut(n).take(m).enumerate() {
        for (part, y) in parts.iter().zip(y.chunks_mut(share)) {
            let sums = &part[i * y.len()..][..y.len()];
            match accumulate {
                true => y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum),
                false => y.copy_from_slice(sums),
            }
        }
    }
}

/// Columns `first..` of `x w`, as `[m, columns]`.
struct Straight<'a> {
    shape: [usize; 3],
    first: usize,
    columns: usize,
    x: &'a [f32],
    w: Elements<'a>,
}

/// `rows` rows of x in blocks that fit the registers, as (first, count): 16 of the widest, 8 of others, then what is left.
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

impl WithSimd for Straight<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let Self { shape: [m, k, n], first, columns, x, w } = self;
        let vectors = columns / S::F32_LANES;
        // Block after block of rows of x; in a block the rows of each vector of columns side by side.
        let mut sums = vec![simd.splat_f32s(0.0); m * vectors];
        let mut wide = w.room(DEPTH * columns);
        for k0 in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - k0);
            let (w, stride) = w.from(k0 * n + first).rows(simd, depth, (n, columns), &mut wide);
            let rows: [&[S::f32s]; DEPTH] = std::array::from_fn(|d| {
                let row = &w[d.min(depth - 1) * stride..][..columns];
                &S::as_simd_f32s(row).0[..vectors]
            });
            for (first, count) in blocks::<S>(m) {
                let sums = &mut sums[first * vectors..][..count * vectors];
                let step = Step { simd, x: &x[first * k..], k, k0, depth, w: rows, ahead: DEPTH * n };
                match count {
                    16 => step.add::<16>(sums),
                    8 => step.add::<8>(sums),
                    4 => step.add::<4>(sums),
                    2 => step.add::<2>(sums),
                    _ => step.add::<1>(sums),
                }
            }
        }
        let mut y = vec![0.0f32; m * columns];
        for (row, count) in blocks::<S>(m) {
            let sums = &sums[row * vectors..][..count * vectors];
            for i in 0..count {
                let whole = S::as_mut_simd_f32s(&mut y[(row + i) * columns..][..columns]).0;
                for (v, y) in whole.iter_mut().enumerate() {
                    *y = sums[v * count + i];
                }
                if w.is_f16() {
                    f16_weights::interleave::<S>(&mut y[(row + i) * columns..][..columns]);
                }
                // Columns that fill no vector.
                let x = &x[(row + i) * k..][..k];
                let edge = &mut y[(row + i) * columns..][vectors * S::F32_LANES..columns];
                for (e, y) in edge.iter_mut().enumerate() {
                    let column = first + vectors * S::F32_LANES + e;
                    *y = x.iter().enumerate().map(|(j, x)| x * w.at(j * n + column)).sum();
                }
            }
        }
        y
    }
}

/// A few rows of w, to be multiplied with the numbers of x that belong to them.
struct Step<'a, S: Simd> {
    simd: S,
    x: &'a [f32],
    k: usize,
    k0: usize,
    depth: usize,
    w: [&'a [S::f32s]; DEPTH],
    /// How far away the rows of the next step are.
    ahead: usize,
}

impl<S: Simd> Step<'_, S> {
    #[inline(always)]
    fn add<const R: usize>(self, sums: &mut [S::f32s]) {
        let Self { simd, x, k, k0, depth, w, ahead } = self;
        // What lies beyond the depth is zero times the last row.
        let mut block = [[0.0f32; DEPTH]; R];
        for (i, row) in block.iter_mut().enumerate() {
            row[..depth].copy_from_slice(&x[i * k + k0..][..depth]);
        }
        let sums = sums.as_chunks_mut::<R>().0;
        let w = w.map(|row| &row[..sums.len()]);
        for (v, sums) in sums.iter_mut().enumerate() {
            for row in w {
                fetch(&row[v..], ahead);
            }
            let mut tile = *sums;
            for (d, row) in w.iter().enumerate() {
                let w = row[v];
                for (sum, x) in tile.iter_mut().zip(&block) {
                    *sum = simd.mul_add_e_f32s(simd.splat_f32s(x[d]), w, *sum);
                }
            }
            *sums = tile;
        }
    }
}

/// `x w^T` for the rows of `w`, as `[m, columns]`.
struct Transposed<'a> {
    m: usize,
    k: usize,
    columns: usize,
    x: &'a [f32],
    w: Elements<'a>,
}

impl WithSimd for Transposed<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let Self { m, k, columns, x, w } = self;
        let mut y = vec![0.0f32; m * columns];
        let (mut first, mut wide) = (0, w.room(SIDE * k));
        // Rows of x in the order in which halves are widened.
        let x = if w.is_f16() { &f16_weights::deinterleave::<S>(x, k) } else { x };
        while first < columns {
            let side = if columns - first >= SIDE { SIDE } else { 1 };
            let w = w.from(first * k).rows(simd, side, (k, k), &mut wide).0;
            let mut done = 0;
            while done < m {
                let take = if m - done >= 4 { 4 } else { 1 };
                let dots = Dots { simd, k, x: &x[done * k..], w, stride: columns };
                let y = &mut y[done * columns + first..];
                match (take, side) {
                    (4, SIDE) => dots.put::<4, SIDE>(y),
                    (4, _) => dots.put::<4, 1>(y),
                    (_, SIDE) => dots.put::<1, SIDE>(y),
                    _ => dots.put::<1, 1>(y),
                }
                done += take;
            }
            first += side;
        }
        y
    }
}

/// Dot products of a few rows of x with a few of w.
struct Dots<'a, S: Simd> {
    simd: S,
    k: usize,
    x: &'a [f32],
    w: &'a [f32],
    /// Row length of y.
    stride: usize,
}

impl<S: Simd> Dots<'_, S> {
    #[inline(always)]
    fn put<const R: usize, const C: usize>(self, y: &mut [f32]) {
        let Self { simd, k, x, w, stride } = self;
        let vectors = k / S::F32_LANES;
        let rows: [&[f32]; R] = std::array::from_fn(|i| &x[i * k..][..k]);
        let columns: [&[f32]; C] = std::array::from_fn(|j| &w[j * k..][..k]);
        let xs = rows.map(|row| &S::as_simd_f32s(row).0[..vectors]);
        let ws = columns.map(|row| &S::as_simd_f32s(row).0[..vectors]);
        let mut sums = [[simd.splat_f32s(0.0); C]; R];
        for v in 0..vectors {
            for row in ws {
                fetch(&row[v..], C * k);
            }
            let w = ws.map(|row| row[v]);
            for (sums, x) in sums.iter_mut().zip(xs) {
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = simd.mul_add_e_f32s(x[v], w, *sum);
                }
            }
        }
        for (i, (sums, x)) in sums.into_iter().zip(rows).enumerate() {
            for (j, (sum, w)) in sums.into_iter().zip(columns).enumerate() {
                let edge = vectors * S::F32_LANES..k;
                let edge: f32 = x[edge.clone()].iter().zip(&w[edge]).map(|(x, w)| x * w).sum();
                y[i * stride + j] = simd.reduce_sum_f32s(sum) + edge;
            }
        }
    }
}
