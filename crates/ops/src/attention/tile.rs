//! Products of tiles of queries and keys, for the host bodies of attention.
//!
//! A tile of a few rows and a few vectors of columns stays in registers along the sum. The order of a sum is that of
//! its index, one fused multiply-add a step, whichever rows are in the tile. So the bits of a row do not depend on the
//! other rows.
//!
//! Queries see different keys, so each row has a [`Band`] of the index of its sum. A tile computes what all its rows
//! share; the rest is computed row by row. Nothing outside a band is read, so no factor of zero hides a NaN there.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::blocks::{BLOCK, Band, LANES, ROWS};

/// Steps of a sum that are computed together: bounds are checked once for all of them.
const STEPS: usize = 4;

/// The left operand of a product, for a tile of R rows.
pub(super) trait Left: Copy {
    /// Rows of a tile, from the start of a sum on.
    type Tile<const R: usize>: Copy;

    /// K steps of a sum.
    type Steps<const R: usize, const K: usize>: Copy;

    /// Returns rows `row..row + R` along a sum.
    fn tile<const R: usize>(self, row: usize, along: &Range<usize>) -> Self::Tile<R>;

    /// Returns steps `k..k + K` of a tile.
    fn steps<const R: usize, const K: usize>(tile: Self::Tile<R>, k: usize) -> Self::Steps<R, K>;

    /// Returns the element of row `r` in step `k`.
    fn at<const R: usize, const K: usize>(steps: Self::Steps<R, K>, r: usize, k: usize) -> f32;
}

/// Rows that are `stride` apart, each with the elements of its sum.
#[derive(Clone, Copy)]
pub(super) struct Along<'a> {
    pub(super) rows: &'a [f32],
    pub(super) stride: usize,
}

impl<'a> Left for Along<'a> {
    type Tile<const R: usize> = [&'a [f32]; R];
    type Steps<const R: usize, const K: usize> = [&'a [f32; K]; R];

    #[inline(always)]
    fn tile<const R: usize>(self, row: usize, along: &Range<usize>) -> [&'a [f32]; R] {
        std::array::from_fn(|r| &self.rows[(row + r) * self.stride + along.start..][..along.len()])
    }

    #[inline(always)]
    fn steps<const R: usize, const K: usize>(tile: [&'a [f32]; R], k: usize) -> [&'a [f32; K]; R] {
        tile.map(|row| row[k..].first_chunk().expect("steps of the sum"))
    }

    #[inline(always)]
    fn at<const R: usize, const K: usize>(steps: [&'a [f32; K]; R], r: usize, k: usize) -> f32 {
        steps[r][k]
    }
}

/// A block `[_, ROWS]` whose columns are the rows of the operand.
#[derive(Clone, Copy)]
pub(super) struct Across<'a>(pub(super) &'a [f32]);

impl<'a> Left for Across<'a> {
    type Tile<const R: usize> = &'a [f32];
    type Steps<const R: usize, const K: usize> = [&'a [f32; R]; K];

    #[inline(always)]
    fn tile<const R: usize>(self, row: usize, along: &Range<usize>) -> &'a [f32] {
        &self.0[along.start * ROWS + row..]
    }

    #[inline(always)]
    fn steps<const R: usize, const K: usize>(tile: &'a [f32], k: usize) -> [&'a [f32; R]; K] {
        let rows = &tile[k * ROWS..][..(K - 1) * ROWS + R];
        std::array::from_fn(|k| rows[k * ROWS..].first_chunk().expect("a row of the block"))
    }

    #[inline(always)]
    fn at<const R: usize, const K: usize>(steps: [&'a [f32; R]; K], r: usize, k: usize) -> f32 {
        steps[k][r]
    }
}

/// `c[r] += sum_k a[r, k] b[k]`, with k in the band of row r.
pub(super) struct Sums<'a, A> {
    pub(super) bands: &'a [Band],
    pub(super) a: A,
    /// `[stride / LANES, BLOCK, LANES]`
    pub(super) b: &'a [f32],
    /// `[rows, stride]`
    pub(super) c: &'a mut [f32],
    /// Length of rows of c, a multiple of [`LANES`].
    pub(super) stride: usize,
}

/// `c[r, j] = sum_k a[r, k] b[k, j]`, or added to c, with k up to `depth` and j in the band of row r. Other columns up
/// to whole chunks of [`LANES`] get elements, too.
pub(super) struct Scores<'a> {
    pub(super) bands: &'a [Band],
    pub(super) a: Along<'a>,
    pub(super) depth: usize,
    /// `[_, depth, LANES]`
    pub(super) b: &'a [f32],
    /// `[rows, stride]`
    pub(super) c: &'a mut [f32],
    pub(super) stride: usize,
    pub(super) add: bool,
}

/// Splits `rows` rows into tiles, as (first, count): 8 rows with the widest vectors, 6 with others, and what is left.
/// Two vectors of sums for each row, two vectors of b and an element of a then fit the registers.
fn tiles<S: Simd>(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = move |first: usize| match rows - first {
        8.. if S::F32_LANES >= 16 => 8,
        6.. if S::F32_LANES < 16 => 6,
        4.. => 4,
        2.. => 2,
        left => left,
    };
    let next = move |&(first, taken): &(usize, usize)| Some((first + taken, count(first + taken)));
    std::iter::successors(Some((0, count(0))), next).take_while(|&(_, taken)| taken > 0)
}

impl<A: Left> WithSimd for Sums<'_, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { bands, a, b, c, stride } = self;
        let all = 0..stride / S::F32_LANES;
        let mut product = Product { simd, a, b, depth: BLOCK, c, stride, add: true };
        for (first, count) in tiles::<S>(bands.len()) {
            let rows = first..first + count;
            let shared = bands[rows.end - 1].from..bands[first].to;
            if count == 1 || shared.is_empty() {
                for row in rows {
                    product.rows::<1>(row, bands[row].from..bands[row].to, all.clone());
                }
                continue;
            }
            for row in rows.clone() {
                product.rows::<1>(row, bands[row].from..shared.start, all.clone());
            }
            product.some_rows(count, first, shared.clone(), all.clone());
            for row in rows {
                product.rows::<1>(row, shared.end..bands[row].to, all.clone());
            }
        }
    }
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { bands, a, depth, b, c, stride, add } = self;
        let mut product = Product { simd, a, b, depth, c, stride, add };
        for (first, count) in tiles::<S>(bands.len()) {
            let chunks = bands[first].chunks().start..bands[first + count - 1].chunks().end;
            let vectors = chunks.start * LANES / S::F32_LANES..chunks.end * LANES / S::F32_LANES;
            product.some_rows(count, first, 0..depth, vectors);
        }
    }
}

/// A product whose tiles are computed one by one.
struct Product<'a, S, A> {
    simd: S,
    a: A,
    /// Panels of [`LANES`] columns.
    b: &'a [f32],
    /// Rows of a panel.
    depth: usize,
    c: &'a mut [f32],
    /// Distance between rows of c.
    stride: usize,
    add: bool,
}

impl<S: Simd, A: Left> Product<'_, S, A> {
    /// Computes `vectors` of `count` rows.
    #[inline(always)]
    fn some_rows(&mut self, count: usize, first: usize, along: Range<usize>, vectors: Range<usize>) {
        match count {
            8 => self.rows::<8>(first, along, vectors),
            6 => self.rows::<6>(first, along, vectors),
            4 => self.rows::<4>(first, along, vectors),
            2 => self.rows::<2>(first, along, vectors),
            _ => self.rows::<1>(first, along, vectors),
        }
    }

    /// Computes `vectors` of R rows. Tiles of few rows have more vectors: a sum waits for its last step, and others use
    /// that time.
    #[inline(always)]
    fn rows<const R: usize>(&mut self, first: usize, along: Range<usize>, vectors: Range<usize>) {
        let mut v = vectors.start;
        if along.is_empty() {
            return;
        }
        while R <= 2 && v + 4 <= vectors.end {
            self.tile::<R, 4>(first, &along, v);
            v += 4;
        }
        while v + 2 <= vectors.end {
            self.tile::<R, 2>(first, &along, v);
            v += 2;
        }
        if v < vectors.end {
            self.tile::<R, 1>(first, &along, v);
        }
    }

    #[inline(always)]
    fn tile<const R: usize, const V: usize>(&mut self, first: usize, along: &Range<usize>, v: usize) {
        let Self { simd, a, b, depth, stride, add, .. } = *self;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        if add {
            for (r, sums) in sums.iter_mut().enumerate() {
                let c = &S::as_simd_f32s(&self.c[(first + r) * stride..][..stride]).0[v..v + V];
                for (sum, c) in sums.iter_mut().zip(c) {
                    *sum = *c;
                }
            }
        }
        let left = a.tile::<R>(first, along);
        let columns: [&[S::f32s]; V] = std::array::from_fn(|i| {
            let column = (v + i) * S::F32_LANES;
            let panel = &b[column / LANES * depth * LANES..][..depth * LANES];
            S::as_simd_f32s(&panel[along.start * LANES + column % LANES..]).0
        });
        let whole = along.len() / STEPS * STEPS;
        for k in (0..whole).step_by(STEPS) {
            steps::<S, A, R, V, STEPS>(simd, A::steps(left, k), (columns, k), &mut sums);
        }
        for k in whole..along.len() {
            steps::<S, A, R, V, 1>(simd, A::steps(left, k), (columns, k), &mut sums);
        }
        for (r, sums) in sums.iter().enumerate() {
            let c = &mut S::as_mut_simd_f32s(&mut self.c[(first + r) * stride..][..stride]).0[v..v + V];
            for (c, sum) in c.iter_mut().zip(sums) {
                *c = *sum;
            }
        }
    }
}

/// Adds the products of K steps of a with those of b from step `at` on to sums.
#[inline(always)]
fn steps<S: Simd, A: Left, const R: usize, const V: usize, const K: usize>(
    simd: S,
    a: A::Steps<R, K>,
    (b, at): ([&[S::f32s]; V], usize),
    sums: &mut [[S::f32s; V]; R],
) {
    let step = LANES / S::F32_LANES;
    let b = b.map(|column| &column[at * step..][..(K - 1) * step + 1]);
    for k in 0..K {
        let b = b.map(|column| column[k * step]);
        for (r, sums) in sums.iter_mut().enumerate() {
            let a = simd.splat_f32s(A::at(a, r, k));
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = simd.mul_add_e_f32s(a, b, *sum);
            }
        }
    }
}

/// Returns `<a, b>`, with the bits of the score of these rows in a tile.
#[inline(always)]
pub(super) fn score<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = simd.splat_f32s(0.0);
    for (a, b) in a.iter().zip(b) {
        sum = simd.mul_add_e_f32s(simd.splat_f32s(*a), simd.splat_f32s(*b), sum);
    }
    let mut lanes = [0.0; LANES];
    S::as_mut_simd_f32s(&mut lanes).0[0] = sum;
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bands under the causal mask from key `at` on, with a window, over `count` keys.
    fn bands(rows: usize, at: usize, window: usize, count: usize) -> Vec<Band> {
        (0..rows).map(|i| Band::new((at + i + 1).saturating_sub(window)..at + i + 1, 0, count)).collect()
    }

    struct Case {
        rows: usize,
        at: usize,
        window: usize,
        count: usize,
        width: usize,
    }

    impl WithSimd for Case {
        type Output = ();

        /// Both forms of sums, and scores, against naive sums. All values are small integers, so all sums are exact.
        /// What no band contains is NaN.
        fn with_simd<S: Simd>(self, simd: S) {
            let Self { rows, at, window, count, width } = self;
            let name = format!("{} lanes, {rows} rows from {at}, window {window}, {count} keys", S::F32_LANES);
            let number = |i: usize| ((i * 37) % 19) as f32 - 9.0;
            let bands = bands(rows, at, window, count);
            let (mut a, mut across) = (vec![f32::NAN; ROWS * BLOCK], vec![f32::NAN; BLOCK * ROWS]);
            for (i, band) in bands.iter().enumerate() {
                for k in band.from..band.to {
                    a[i * BLOCK + k] = number(i * 7 + k);
                    across[k * ROWS + i] = number(i * 7 + k);
                }
            }
            let b: Vec<f32> = (0..BLOCK * width).map(|i| number(i + 3)).collect();
            let b_at = |k: usize, j: usize| b[(j / LANES * BLOCK + k) * LANES + j % LANES];
            let start: Vec<f32> = (0..ROWS * width).map(number).collect();
            let mut want = start.clone();
            for (i, band) in bands.iter().enumerate() {
                for (k, j) in (band.from..band.to).flat_map(|k| (0..width).map(move |j| (k, j))) {
                    want[i * width + j] += a[i * BLOCK + k] * b_at(k, j);
                }
            }
            let [mut along, mut other] = [start.clone(), start];
            let rows_of_a = Along { rows: &a, stride: BLOCK };
            simd.vectorize(Sums { bands: &bands, a: rows_of_a, b: &b, c: &mut along, stride: width });
            simd.vectorize(Sums { bands: &bands, a: Across(&across), b: &b, c: &mut other, stride: width });
            assert_eq!(along, want, "along, {name}");
            assert_eq!(other, want, "across, {name}");
            let depth = 5;
            let left: Vec<f32> = (0..ROWS * depth).map(number).collect();
            let right: Vec<f32> = (0..BLOCK * depth).map(|i| number(i + 5)).collect();
            let mut c = vec![1.0; ROWS * BLOCK];
            for add in [false, true] {
                let a = Along { rows: &left, stride: depth };
                simd.vectorize(Scores { bands: &bands, a, depth, b: &right, c: &mut c, stride: BLOCK, add });
            }
            for (i, band) in bands.iter().enumerate() {
                for j in band.from..band.to {
                    let term = |k: usize| left[i * depth + k] * right[(j / LANES * depth + k) * LANES + j % LANES];
                    let want = 2.0 * (0..depth).map(term).sum::<f32>();
                    assert_eq!(c[i * BLOCK + j], want, "score {i} {j}, {name}");
                }
            }
        }
    }

    #[test]
    fn tiles_agree_with_naive_sums_on_all_instructions() {
        for rows in [1, 2, 3, 5, 6, 7, 8, 9, 17, 33, 63, 64, 127, 128] {
            for (at, window) in [(0, 1000), (0, 1), (0, 5), (30, 1000), (30, 20), (63, 70), (63, 3)] {
                for (count, width) in [(64, 16), (33, 48), (1, 80)] {
                    let case = || Case { rows, at, window, count, width };
                    case().with_simd(pulp::Scalar);
                    #[cfg(target_arch = "x86_64")]
                    {
                        if let Some(simd) = pulp::x86::V3::try_new() {
                            Simd::vectorize(simd, case());
                        }
                        if let Some(simd) = pulp::x86::V4::try_new() {
                            Simd::vectorize(simd, case());
                        }
                    }
                }
            }
        }
    }
}
