//! Products with transposed weights, `y = x w^T`: dot products of rows of x with rows of w, whose sums are in the lanes
//! of vectors.
//!
//! A few rows of x stay in the L1 cache while the rows of a block of w are multiplied with them, and the block stays in
//! the L2 cache until all rows of x have been. With few rows of x every weight is read once, and the time to read them
//! bounds the product; the next rows are prefetched. The order of every sum depends on k alone.
//!
//! Measured with one thread on an Intel server, where multiply-adds reach 187 GFLOP/s, with weights in the cache
//! (GFLOP/s; before, with tiles of 4 x 4 rows whose sums were added lane by lane, one at a time):
//!
//! | rows | 768 x 768 | before | 3072 x 768 | before | 192 x 768 | before |
//! |---|---|---|---|---|---|---|
//! | 1 | 19 | 16 | 13 | 12 | 21 | 17 |
//! | 4 | 56 | 45 | 46 | 40 | 43 | 25 |
//! | 16 | 100 | 45 | 89 | 60 | 61 | 27 |
//! | 64 | 130 | 47 | 120 | 67 | 80 | 25 |
//! | 544 | 145 | 44 | 116 | 61 | 84 | 25 |

use std::any::Any;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::f16_weights;
use super::rows::Row;
use super::skinny::divided;
use super::weights::Elements;

/// Rows of w of a tile.
const SIDE: usize = 4;

/// Most rows of x of a tile: their sums with rows of w, and one vector of each row of w, fit 32 wide registers.
const MOST_ROWS: usize = 6;

/// Elements of k that a tile multiplies at a time: with so many of its rows of x and of w, it fits the L1 cache. Up to
/// `WHOLE` fit well enough, and then no sums are written between parts of k.
const DEPTH: usize = 512;
const WHOLE: usize = 768;

/// Elements of a block of w: a quarter of an L2 cache or less.
const BLOCK: usize = 128 << 10;

/// Computes `y = x w^T`, or `y += x w^T`: see [`super::matmul`].
pub(super) fn product(
    arch: Arch,
    [m, k, n]: [usize; 3],
    (x, w): (&[f32], Elements<'_>),
    accumulate: bool,
    y: &mut [f32],
) {
    let (share, parts) = divided(&mut y[..m * n], n);
    parts.into_par_iter().enumerate().for_each(|(part, y)| {
        arch.dispatch(Part { k, x, w: w.from(part * share * k), accumulate, y });
    });
}

/// Columns of a product.
struct Part<'a, 'y> {
    k: usize,
    x: &'a [f32],
    /// The rows of w from that of the first column on.
    w: Elements<'a>,
    accumulate: bool,
    /// The columns of each row.
    y: Vec<&'y mut [f32]>,
}

impl WithSimd for Part<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (k, w) = (self.k, self.w);
        let Some(columns) = self.y.first().map(|y| y.len()) else { return };
        let most = ((BLOCK / k.max(1) / SIDE).max(1) * SIDE).min(columns);
        let mut wide = w.room(simd, most * k);
        let reordered = w.is_reordered(simd).then(|| f16_weights::deinterleave::<S>(self.x, k.max(1)));
        let x = reordered.as_deref().unwrap_or(self.x);
        let tiles = if k > WHOLE { most.div_ceil(SIDE) } else { 0 };
        let mut sums = vec![[[simd.splat_f32s(0.0); SIDE]; MOST_ROWS]; tiles];
        for first in (0..columns).step_by(most) {
            let count = most.min(columns - first);
            let block = Block { simd, k, x, w: w.from(first * k), first, count, accumulate: self.accumulate };
            if let Some(w) = block.w.packed(simd) {
                block.put(|j| w.from(j * k, k), &mut sums, &mut self.y);
            } else {
                let rows = block.w.rows(simd, count, (k, k), &mut wide).0;
                block.put(|j| S::as_simd_f32s(&rows[j * k..][..k]).0, &mut sums, &mut self.y);
            }
        }
    }
}

/// Sums of the tiles of a block, in the lanes of vectors; none if all of k is multiplied at once.
type Sums<S> = [[[<S as Simd>::f32s; SIDE]; MOST_ROWS]];

/// A block of rows of w, whose products are columns of y from `first` on.
struct Block<'a, S: Simd> {
    simd: S,
    k: usize,
    x: &'a [f32],
    w: Elements<'a>,
    first: usize,
    count: usize,
    accumulate: bool,
}

impl<S: Simd> Block<'_, S> {
    /// Writes the products of all rows of x with the rows `w(0)`, `w(1)` and so on of the block.
    #[inline(always)]
    fn put<W: Row<S>>(&self, w: impl Fn(usize) -> W, sums: &mut Sums<S>, y: &mut [&mut [f32]]) {
        let mut row = 0;
        while row < y.len() {
            row += match y.len() - row {
                MOST_ROWS.. if S::F32_LANES >= 16 => self.put_rows::<MOST_ROWS, W>(row, &w, sums, y),
                4.. => self.put_rows::<4, W>(row, &w, sums, y),
                2.. => self.put_rows::<2, W>(row, &w, sums, y),
                _ => self.put_rows::<1, W>(row, &w, sums, y),
            };
        }
    }

    /// Writes the products of `R` rows of x from `row` on, and returns `R`. The first rows meet w before all others.
    #[inline(always)]
    fn put_rows<const R: usize, W: Row<S>>(
        &self,
        row: usize,
        w: &impl Fn(usize) -> W,
        sums: &mut Sums<S>,
        y: &mut [&mut [f32]],
    ) -> usize {
        match row {
            0 => self.put_fetching::<R, true, W>(row, w, sums, y),
            _ => self.put_fetching::<R, false, W>(row, w, sums, y),
        }
        R
    }

    /// Writes the products of `R` rows of x. `FETCH` prefetches the rows of w that follow.
    #[inline(always)]
    fn put_fetching<const R: usize, const FETCH: bool, W: Row<S>>(
        &self,
        row: usize,
        w: &impl Fn(usize) -> W,
        sums: &mut Sums<S>,
        y: &mut [&mut [f32]],
    ) {
        let (k, vectors) = (self.k, self.k / S::F32_LANES);
        let rows: [&[f32]; R] = std::array::from_fn(|i| &self.x[(row + i) * k..][..k]);
        let depth = if k <= WHOLE { vectors.max(1) } else { DEPTH / S::F32_LANES };
        let last = vectors.div_ceil(depth).max(1) - 1;
        for stage in 0..=last {
            let range = stage * depth..vectors.min((stage + 1) * depth);
            for (group, at) in (0..self.count).step_by(SIDE).enumerate() {
                // Where there are fewer rows of w, the last one takes the place of the missing ones.
                let side = SIDE.min(self.count - at);
                let w: [W; SIDE] = std::array::from_fn(|j| w(at + j.min(side - 1)));
                let tile = match stage {
                    0 => self.add::<R, FETCH, W>(rows, w, range.clone(), [[self.simd.splat_f32s(0.0); SIDE]; R]),
                    _ => self.add::<R, FETCH, W>(rows, w, range.clone(), *head(&sums[group])),
                };
                if stage < last {
                    *head_mut(&mut sums[group]) = tile;
                    continue;
                }
                // The indices are literals: see below.
                macro_rules! write {
                    ($($i:literal)*) => {$(
                        if $i < R {
                            let mut sums = totals(self.simd, tile[$i]);
                            if vectors * S::F32_LANES < k {
                                self.add_edge(rows[$i], at, &mut sums[..side]);
                            }
                            let y = &mut y[row + $i][self.first + at..];
                            match y.first_chunk_mut::<SIDE>() {
                                Some(y) if side == SIDE => put(y, sums, self.accumulate),
                                _ => put_some(&mut y[..side], sums, self.accumulate),
                            }
                        }
                    )*};
                }
                write!(0 1 2 3 4 5);
            }
        }
    }

    /// Adds the products of elements that fill no vector, of a row of x with rows of w from row `at` on.
    #[inline(never)]
    fn add_edge(&self, x: &[f32], at: usize, sums: &mut [f32]) {
        let k = self.k;
        for (j, sum) in sums.iter_mut().enumerate() {
            let edge = (k / S::F32_LANES * S::F32_LANES..k).map(|i| x[i] * self.w.at((at + j) * k + i));
            *sum += edge.sum::<f32>();
        }
    }

    /// Returns the sums of a tile with the products of a range of vectors added.
    #[inline(always)]
    fn add<const R: usize, const FETCH: bool, W: Row<S>>(
        &self,
        rows: [&[f32]; R],
        w: [W; SIDE],
        range: Range<usize>,
        mut sums: [[S::f32s; SIDE]; R],
    ) -> [[S::f32s; SIDE]; R] {
        let simd = self.simd;
        let xs: [&[S::f32s]; R] = std::array::from_fn(|i| S::as_simd_f32s(rows[i]).0);
        // The indices of sums are literals: see the tiles of products that are not transposed.
        macro_rules! add {
            ($v:ident, $w:ident, $($i:literal)*) => {$(
                if $i < R {
                    let x = xs[$i][$v];
                    add!($w, x, $i: 0 1 2 3);
                }
            )*};
            ($w:ident, $x:ident, $i:literal: $($j:literal)*) => {$(
                sums[$i][$j] = simd.mul_add_e_f32s($x, $w[$j], sums[$i][$j]);
            )*};
        }
        for v in range {
            if FETCH {
                for row in w {
                    row.fetch(v, SIDE * self.k);
                }
            }
            let w = [w[0].vector(v), w[1].vector(v), w[2].vector(v), w[3].vector(v)];
            add!(v, w, 0 1 2 3 4 5);
        }
        sums
    }
}

/// Writes or adds sums to columns of y.
#[inline(always)]
fn put(y: &mut [f32; SIDE], sums: [f32; SIDE], add: bool) {
    let [a, b, c, d] = sums;
    *y = if add { [y[0] + a, y[1] + b, y[2] + c, y[3] + d] } else { sums };
}

/// Writes or adds sums to fewer columns.
#[inline(never)]
fn put_some(y: &mut [f32], sums: [f32; SIDE], add: bool) {
    for (y, sum) in y.iter_mut().zip(sums) {
        *y = if add { *y + sum } else { sum };
    }
}

/// Returns the sums of the first rows of a tile.
fn head<T, const R: usize>(sums: &[T; MOST_ROWS]) -> &[T; R] {
    sums.first_chunk().expect("no tile has more rows")
}

fn head_mut<T, const R: usize>(sums: &mut [T; MOST_ROWS]) -> &mut [T; R] {
    sums.first_chunk_mut().expect("no tile has more rows")
}

/// Returns the sum of the lanes of each vector. With AVX-512, the four are added together.
#[inline(always)]
fn totals<S: Simd>(simd: S, sums: [S::f32s; SIDE]) -> [f32; SIDE] {
    #[cfg(target_arch = "x86_64")]
    if let Some(&simd) = (&simd as &dyn Any).downcast_ref::<pulp::x86::V4>() {
        let f = simd.avx512f;
        // No closures: one that is not inlined is compiled for old processors.
        macro_rules! wide {
            ($i:literal) => {
                pulp::cast(bytemuck::cast::<S::f32s, pulp::f32x16>(sums[$i]))
            };
        }
        let [a, b, c, d] = [wide!(0), wide!(1), wide!(2), wide!(3)];
        let ab = f._mm512_add_ps(f._mm512_unpacklo_ps(a, b), f._mm512_unpackhi_ps(a, b));
        let cd = f._mm512_add_ps(f._mm512_unpacklo_ps(c, d), f._mm512_unpackhi_ps(c, d));
        let all = f._mm512_add_ps(f._mm512_shuffle_ps::<0x44>(ab, cd), f._mm512_shuffle_ps::<0xee>(ab, cd));
        let [p, q, r, s]: [pulp::f32x4; 4] = pulp::cast(all);
        return pulp::cast(simd.add_f32x4(simd.add_f32x4(p, q), simd.add_f32x4(r, s)));
    }
    sums.map(|sum| simd.reduce_sum_f32s(sum))
}
