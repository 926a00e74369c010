//! Products of many rows with AVX-512 or AVX2. Arithmetic bounds them: a thread copies a few columns of w into panels,
//! in the order in which they are read, and multiplies its rows of x with them. The panels stay in its L2 cache, and
//! the sums of a tile of y in registers while a block of k is added.
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
//!
//! On an Intel server, where multiply-adds reach 187 GFLOP/s a thread, one thread has 132 at 272 rows and 144 at 544.
//!
//! With AVX2, where these tiles compute products with transposed weights too, a thread of a Zen 3 server has 60 to 66
//! GFLOP/s at 64 rows and 71 to 78 at 256, straight and transposed, of 84 to 91.

use std::cell::RefCell;

use bytemuck::Zeroable;
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::lines::Line;
use super::panels::{Columns, LINE};
use super::skinny::shares;
use super::weights::{DEPTH, Weights};

/// Columns of a panel of vectors of 16, a multiple of those of shorter ones.
const WIDEST: usize = 48;

/// Elements of w that a thread packs at a time: most of an L2 cache. Processors without AVX-512 have smaller ones.
const fn packed<S: Simd>() -> usize {
    if S::F32_LANES >= 16 { 160 << 10 } else { 80 << 10 }
}

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
    (x, w): (&[f32], Weights<'_>),
    accumulate: bool,
    y: &mut [f32],
) {
    let threads = rayon::current_num_threads();
    let along = if S::F32_LANES >= 16 { k.max(1) } else { 2 * DEPTH };
    let most = (packed::<S>() / along / WIDEST * WIDEST).max(WIDEST);
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
    w: Weights<'a>,
    accumulate: bool,
    /// The columns of each row.
    y: Vec<&'y mut [f32]>,
}

impl WithSimd for Part<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // Taken, not borrowed in a closure: a closure that is not inlined is compiled for old processors.
        let mut lines = PANELS.take();
        // Sums of a tile, the vectors of a panel and an element of x fit the registers: 32, or 16. A sum waits for its
        // last step, so tiles of few rows have more columns.
        match (S::F32_LANES >= 16, self.y.len()) {
            (true, _) => self.compute::<S, 8, 3>(simd, &mut lines),
            (false, ..=3) => self.compute::<S, 2, 4>(simd, &mut lines),
            (false, _) => self.compute::<S, 6, 2>(simd, &mut lines),
        }
        PANELS.set(lines);
    }
}

impl Part<'_, '_> {
    /// Computes the part with tiles of `TILE` rows and `VECTORS` vectors of columns.
    #[inline(always)]
    fn compute<S: Simd, const TILE: usize, const VECTORS: usize>(&mut self, simd: S, lines: &mut Vec<Line>) {
        let (k, width, count) = (self.k, VECTORS * S::F32_LANES, self.y[0].len());
        let padded = count.next_multiple_of(width);
        // Few rows use a panel at once, while it is in the L1 cache. Stretches of w that is not transposed are longer.
        let few = self.w.transposed && self.y.len() <= ROWS;
        let (stretch, depth) =
            if few { (width, DEPTH) } else { (padded, (packed::<S>() / padded / DEPTH).max(1) * DEPTH) };
        let most = stretch * depth.min(k);
        lines.resize(most.div_ceil(LINE).max(lines.len()), Line::zeroed());
        let panels: &mut [f32] = bytemuck::cast_slice_mut(lines);
        for at in (0..count).step_by(stretch) {
            let (first, count) = (self.first + at, stretch.min(count - at));
            let columns = Columns { w: self.w, k, n: self.n, first, count };
            for from in (0..k).step_by(depth) {
                let panels = &mut panels[..depth.min(k - from) * count.next_multiple_of(width)];
                columns.pack::<S, VECTORS>(simd, from, panels);
                self.multiply::<S, TILE, VECTORS>(simd, panels, (from, at));
            }
        }
    }

    /// Adds the products with panels, from element `from` of k and column `at` on.
    #[inline(always)]
    fn multiply<S: Simd, const TILE: usize, const VECTORS: usize>(
        &mut self,
        simd: S,
        panels: &[f32],
        (from, at): (usize, usize),
    ) {
        let (k, width) = (self.k, VECTORS * S::F32_LANES);
        let depth = DEPTH.min(k - from);
        let padded = (self.y[0].len() - at).next_multiple_of(width).min(panels.len() / depth);
        for (x, y) in self.x.chunks(ROWS * k).zip(self.y.chunks_mut(ROWS)) {
            for (block, panels) in panels.chunks(DEPTH * padded).enumerate() {
                let (from, depth) = (from + block * DEPTH, panels.len() / padded);
                let add = self.accumulate || from > 0;
                for (p, panel) in panels.chunks_exact(depth * width).enumerate() {
                    let tile = Tile { simd, x: &x[from..], k, panel, column: at + p * width, add };
                    let mut first = 0;
                    while first < y.len() {
                        first += match y.len() - first {
                            left if left >= TILE => tile.put::<TILE, VECTORS>(first, y),
                            4.. => tile.put::<4, VECTORS>(first, y),
                            2.. => tile.put::<2, VECTORS>(first, y),
                            _ => tile.put::<1, VECTORS>(first, y),
                        };
                    }
                }
            }
        }
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
    fn put<const R: usize, const VECTORS: usize>(&self, first: usize, y: &mut [&mut [f32]]) -> usize {
        let Self { simd, x, k, panel, column, add } = *self;
        let panel = S::as_simd_f32s(panel).0.as_chunks::<VECTORS>().0;
        let rows: [&[f32]; R] = std::array::from_fn(|i| &x[(first + i) * k..][..panel.len()]);
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; R];
        // The indices of sums are literals, and what is stored below is a copy. With the index of a loop, the compiler
        // writes some of the sums to memory in each step.
        macro_rules! add {
            ($w:ident, $d:ident, $($i:literal)*) => {$(
                if $i < R {
                    let x = simd.splat_f32s(rows[$i][$d]);
                    add!($w, x, $i: 0 1 2 3);
                }
            )*};
            ($w:ident, $x:ident, $i:literal: $($v:literal)*) => {$(
                if $v < VECTORS {
                    sums[$i][$v] = simd.mul_add_e_f32s($x, $w[$v], sums[$i][$v]);
                }
            )*};
        }
        for (d, w) in panel.iter().enumerate() {
            add!(w, d, 0 1 2 3 4 5 6 7);
        }
        let sums = sums;
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
