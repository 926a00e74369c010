//! Products of many rows with AVX-512. Arithmetic bounds them: a thread copies a few columns of w into panels, in the
//! order in which they are read, and multiplies its rows of x with them. The panels stay in its L2 cache, and the sums
//! of a tile of y in registers while a block of k is added.
//!
//! Measured with two threads on a Zen 4 server, where multiply-adds alone reach 234 GFLOP/s, with the weights of the 12
//! layers of GPT-2 small, which fit no cache (GFLOP/s):
//!
//! | rows | here | `private-gemm-x86` 0.1.22 |
//! |---|---|---|
//! | 96 | 172 | 122 to 180 |
//! | 272 | 191 | 140 to 198 |
//! | 512 | 200 | 152 to 205 |
//! | 1024 | 200 | 165 to 203 |
//!
//! Which of its two times that crate takes is decided by where the system places the weights, for a whole process. In
//! the slower case, which is the usual one in this engine, translating the addresses of strided rows is what it waits
//! for. Here a row of w is read in stretches of hundreds of bytes, once.

use std::cell::RefCell;

use bytemuck::Zeroable;
use half::slice::HalfFloatSliceExt as _;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::fetch::fetch;
use super::lines::Line;
use super::rows::Row;
use super::skinny::shares;
use super::weights::{DEPTH, Elements};

/// Floats of a cache line.
const LINE: usize = size_of::<Line>() / size_of::<f32>();

/// Vectors of columns in a panel.
const VECTORS: usize = 3;

/// Rows of a tile. Its sums, the vectors of a panel and an element of x fit the registers.
const TILE: usize = 8;

/// Columns of a panel of vectors of 16, a multiple of those of shorter ones.
const WIDEST: usize = 48;

/// Elements of w that a thread packs at a time: most of an L2 cache.
const PACKED: usize = 160 << 10;

/// Rows of w that are prefetched while others are packed.
const AHEAD: usize = 8;

/// Rows of x that all panels multiply before the next rows: they stay in the L2 cache.
const ROWS: usize = 64;

thread_local! {
    /// The panels.
    static PANELS: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Computes `y = x w`, or `y += x w`, for w that is not transposed: see [`super::matmul`].
pub(super) fn product<S: Simd>(
    simd: S,
    [m, k, n]: [usize; 3],
    (x, w): (&[f32], Elements<'_>),
    accumulate: bool,
    y: &mut [f32],
) {
    let threads = rayon::current_num_threads();
    let most = (PACKED / k.max(1) / WIDEST * WIDEST).max(WIDEST);
    let share = n.div_ceil(threads).next_multiple_of(WIDEST).min(most);
    // Where there are fewer shares of columns than threads, these share the rows too.
    let rows = m.div_ceil(threads.div_ceil(n.div_ceil(share)));
    let mut parts: Vec<Part<'_, '_>> = Vec::new();
    for (x, y) in x[..m * k].chunks(rows * k).zip(y[..m * n].chunks_mut(rows * n)) {
        let columns = shares(y, n, share).into_iter().enumerate();
        parts.extend(columns.map(|(part, y)| Part { k, n, first: part * share, x, w, accumulate, y }));
    }
    parts.into_par_iter().for_each(|part| simd.vectorize(part));
}

/// Columns `first..` of some rows of a product.
struct Part<'a, 'y> {
    k: usize,
    n: usize,
    first: usize,
    x: &'a [f32],
    w: Elements<'a>,
    accumulate: bool,
    /// The columns of each row.
    y: Vec<&'y mut [f32]>,
}

impl WithSimd for Part<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        PANELS.with_borrow_mut(|lines| {
            let width = VECTORS * S::F32_LANES;
            let padded = self.y[0].len().next_multiple_of(width);
            let floats = self.k * padded;
            lines.resize(floats.div_ceil(LINE).max(lines.len()), Line::zeroed());
            let panels = &mut bytemuck::cast_slice_mut(lines)[..floats];
            self.pack(simd, panels, padded, width);
            self.multiply(simd, panels, padded);
        });
    }
}

impl Part<'_, '_> {
    /// Copies the columns of w to panels of `width` columns, those of each block of k after those of the one before.
    /// `padded` columns are in panels, and those that w does not have are zero.
    #[inline(always)]
    fn pack<S: Simd>(&self, simd: S, panels: &mut [f32], padded: usize, width: usize) {
        let columns = self.y[0].len();
        for (block, panels) in panels.chunks_mut(DEPTH * padded).enumerate() {
            let depth = panels.len() / padded;
            for d in 0..depth {
                let at = (block * DEPTH + d) * self.n + self.first;
                for (panel, first) in panels.chunks_exact_mut(depth * width).zip((0..columns).step_by(width)) {
                    let (to, padding) = panel[d * width..][..width].split_at_mut(width.min(columns - first));
                    copy(simd, self.w.from(at + first), to, AHEAD * self.n);
                    padding.fill(0.0);
                }
            }
        }
    }

    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, panels: &[f32], padded: usize) {
        let (k, width) = (self.k, VECTORS * S::F32_LANES);
        for (x, y) in self.x.chunks(ROWS * k).zip(self.y.chunks_mut(ROWS)) {
            for (block, panels) in panels.chunks(DEPTH * padded).enumerate() {
                let depth = panels.len() / padded;
                let add = self.accumulate || block > 0;
                for (p, panel) in panels.chunks_exact(depth * width).enumerate() {
                    let tile = Tile { simd, x: &x[block * DEPTH..], k, panel, column: p * width, add };
                    let mut first = 0;
                    while first < y.len() {
                        first += match y.len() - first {
                            TILE.. => tile.put::<TILE>(first, y),
                            4.. => tile.put::<4>(first, y),
                            2.. => tile.put::<2>(first, y),
                            _ => tile.put::<1>(first, y),
                        };
                    }
                }
            }
        }
    }
}

/// Copies the first elements of w to `to` as f32, and prefetches those that lie `ahead` elements behind them.
#[inline(always)]
fn copy<S: Simd>(simd: S, w: Elements<'_>, to: &mut [f32], ahead: usize) {
    match (w, w.packed(simd)) {
        (Elements::F32(elements), _) => {
            let from = &elements[..to.len()];
            from.chunks(LINE).for_each(|line| fetch(line, ahead));
            to.copy_from_slice(from);
        }
        (Elements::F16(elements), Some(packed)) => {
            elements[..to.len()].chunks(2 * LINE).for_each(|line| fetch(line, ahead / 2));
            let (vectors, edge) = S::as_mut_simd_f32s(to);
            vectors.iter_mut().enumerate().for_each(|(v, to)| *to = Row::<S>::vector(packed, v));
            let done = vectors.len() * S::F32_LANES;
            elements[done..][..edge.len()].convert_to_f32_slice(edge);
        }
        (Elements::F16(elements), None) => elements[..to.len()].convert_to_f32_slice(to),
    }
}

/// Rows of x and a panel, whose products are columns of y from `column` on.
struct Tile<'a, S: Simd> {
    simd: S,
    x: &'a [f32],
    k: usize,
    panel: &'a [f32],
    column: usize,
    add: bool,
}

impl<S: Simd> Tile<'_, S> {
    /// Multiplies `R` rows of x from row `first` on, and returns `R`.
    #[inline(always)]
    fn put<const R: usize>(&self, first: usize, y: &mut [&mut [f32]]) -> usize {
        let Self { simd, x, k, panel, column, add } = *self;
        let panel = S::as_simd_f32s(panel).0.as_chunks::<VECTORS>().0;
        let rows: [&[f32]; R] = std::array::from_fn(|i| &x[(first + i) * k..][..panel.len()]);
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; R];
        for (d, w) in panel.iter().enumerate() {
            for (sums, row) in sums.iter_mut().zip(rows) {
                let x = simd.splat_f32s(row[d]);
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum = simd.mul_add_e_f32s(x, *w, *sum);
                }
            }
        }
        for (sums, y) in sums.iter().zip(&mut y[first..]) {
            let to = y.len().min(column + VECTORS * S::F32_LANES);
            let (whole, edge) = S::as_mut_simd_f32s(&mut y[column..to]);
            for (y, sum) in whole.iter_mut().zip(sums) {
                *y = if add { simd.add_f32s(*y, *sum) } else { *sum };
            }
            if !edge.is_empty() {
                let sum = sums[whole.len()];
                let sum = if add { simd.add_f32s(simd.partial_load_f32s(edge), sum) } else { sum };
                simd.partial_store_f32s(edge, sum);
            }
        }
        R
    }
}
