//! Panels of weights: a few columns of w, in the order in which tiles of y read them.

use std::any::Any;

use half::slice::HalfFloatSliceExt as _;
use pulp::Simd;

use super::fetch::fetch;
use super::lines::Line;
use super::rows::Row;
use super::weights::{DEPTH, Elements, Weights};

/// Floats of a cache line.
pub(super) const LINE: usize = size_of::<Line>() / size_of::<f32>();

/// Rows of w that are prefetched while others are packed.
const AHEAD: usize = 8;

/// Columns of w, or rows of w that is transposed, to be packed.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub(super) w: Weights<'a>,
    /// Shape of w, not transposed.
    pub(super) k: usize,
    pub(super) n: usize,
    /// The first column, and how many there are.
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Columns<'_> {
    /// Copies the columns from element `from` of k on to panels of `VECTORS` vectors of columns, `[blocks of k, panel,
    /// depth, columns]`. Columns of the last panel that w does not have are zero.
    #[inline(always)]
    pub(super) fn pack<S: Simd, const VECTORS: usize>(self, simd: S, from: usize, panels: &mut [f32]) {
        let width = VECTORS * S::F32_LANES;
        let padded = self.count.next_multiple_of(width);
        for (block, panels) in panels.chunks_mut(DEPTH * padded).enumerate() {
            let depth = panels.len() / padded;
            match self.w.transposed {
                true => self.pack_across::<S, VECTORS>(simd, from + block * DEPTH, depth, panels),
                false => self.pack_along::<S, VECTORS>(simd, from + block * DEPTH, depth, panels),
            }
        }
    }

    /// Packs rows `from..from + depth` of w: each row in stretches of a panel's width.
    #[inline(always)]
    fn pack_along<S: Simd, const VECTORS: usize>(self, simd: S, from: usize, depth: usize, panels: &mut [f32]) {
        let Self { w, n, first, count, .. } = self;
        let width = VECTORS * S::F32_LANES;
        for d in 0..depth {
            let row = w.elements.from((from + d) * n + first);
            for (panel, at) in panels.chunks_exact_mut(depth * width).zip((0..count).step_by(width)) {
                let to = &mut panel[d * width..][..width];
                let has = width.min(count - at);
                copy::<S, VECTORS>(simd, row.from(at), has, to, AHEAD * n);
            }
        }
    }

    /// Packs columns `from..from + depth` of the rows of w that are the panels' columns.
    #[inline(always)]
    fn pack_across<S: Simd, const VECTORS: usize>(self, simd: S, from: usize, depth: usize, panels: &mut [f32]) {
        let Self { w, k, first, count, .. } = self;
        let width = VECTORS * S::F32_LANES;
        let mut wide = match w.elements {
            Elements::F32(_) => Vec::new(),
            Elements::F16(_) => vec![0.0; SIDE * DEPTH],
        };
        for (panel, at) in panels.chunks_exact_mut(depth * width).zip((0..count).step_by(width)) {
            for side in (0..width).step_by(SIDE) {
                let mut rows: [&[f32]; SIDE] = [&ZEROS[..depth]; SIDE];
                let has = SIDE.min(count.saturating_sub(at + side));
                let start = |i: usize| (first + at + side + i) * k + from;
                match w.elements {
                    Elements::F32(elements) => {
                        for (i, row) in rows.iter_mut().take(has).enumerate() {
                            *row = &elements[start(i)..][..depth];
                        }
                    }
                    Elements::F16(elements) => {
                        for (i, (row, wide)) in rows.iter_mut().zip(wide.chunks_mut(DEPTH)).take(has).enumerate() {
                            elements[start(i)..][..depth].convert_to_f32_slice(&mut wide[..depth]);
                            *row = &wide[..depth];
                        }
                    }
                }
                transpose(simd, rows, panel, (width, side), width * k);
            }
        }
    }
}

/// Rows that are transposed together.
const SIDE: usize = 8;

const ZEROS: [f32; DEPTH] = [0.0; DEPTH];

/// Copies the first `has` elements of w to `to` as f32, with zeros behind them, and prefetches those that lie `ahead`
/// elements behind them.
#[inline(always)]
fn copy<S: Simd, const VECTORS: usize>(simd: S, w: Elements<'_>, has: usize, to: &mut [f32], ahead: usize) {
    match (w, w.packed(simd)) {
        (Elements::F32(elements), _) => {
            let from = &elements[..has];
            for line in from.chunks(LINE) {
                fetch(line, ahead);
            }
            if has == to.len() {
                let from: &[S::f32s; VECTORS] = S::as_simd_f32s(from).0.first_chunk().expect("a panel's width");
                *S::as_mut_simd_f32s(to).0.first_chunk_mut().expect("a panel's width") = *from;
                return;
            }
            to[..has].copy_from_slice(from);
        }
        (Elements::F16(elements), Some(packed)) => {
            elements[..has].chunks(2 * LINE).for_each(|line| fetch(line, ahead / 2));
            let (vectors, edge) = S::as_mut_simd_f32s(&mut to[..has]);
            vectors.iter_mut().enumerate().for_each(|(v, to)| *to = Row::<S>::vector(packed, v));
            let done = vectors.len() * S::F32_LANES;
            elements[done..][..edge.len()].convert_to_f32_slice(edge);
        }
        (Elements::F16(elements), None) => elements[..has].convert_to_f32_slice(&mut to[..has]),
    }
    to[has..].fill(0.0);
}

/// Writes rows to the columns of a panel from column `side` on, and prefetches what lies `ahead` elements behind them.
#[inline(always)]
fn transpose<S: Simd>(simd: S, rows: [&[f32]; SIDE], panel: &mut [f32], (width, side): (usize, usize), ahead: usize) {
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if let Some(&simd) = (&simd as &dyn Any).downcast_ref::<pulp::x86::V3>() {
        let [a, b, c, d, e, f, g, h] = rows;
        done = a.len() / SIDE * SIDE;
        for at in (0..done).step_by(SIDE) {
            if at % LINE == 0 {
                for row in rows {
                    fetch(&row[at..], ahead);
                }
            }
            macro_rules! square {
                ($($row:ident)*) => { [$(row_of($row, at)),*] };
            }
            let columns = transposed(simd, square!(a b c d e f g h));
            for (to, column) in panel[at * width + side..].chunks_mut(width).zip(&columns) {
                *to.first_chunk_mut().expect("columns of the panel") = *column;
            }
        }
    }
    for d in done..rows[0].len() {
        for (to, row) in panel[d * width + side..][..SIDE].iter_mut().zip(rows) {
            *to = row[d];
        }
    }
}

/// Returns a part of a row.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn row_of(row: &[f32], at: usize) -> &[f32; SIDE] {
    row[at..].first_chunk().expect("a whole part")
}

/// Returns the columns of a square. Macros, because a closure that is not inlined is compiled for old processors.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn transposed(simd: pulp::x86::V3, rows: [&[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    let avx = simd.avx;
    macro_rules! fours {
        ($a:expr, $b:expr, $c:expr, $d:expr) => {{
            let [a, b, c, d] = [pulp::cast(*$a), pulp::cast(*$b), pulp::cast(*$c), pulp::cast(*$d)];
            let (low, high) = (avx._mm256_unpacklo_ps(a, b), avx._mm256_unpackhi_ps(a, b));
            let (next_low, next_high) = (avx._mm256_unpacklo_ps(c, d), avx._mm256_unpackhi_ps(c, d));
            [
                avx._mm256_shuffle_ps::<0x44>(low, next_low),
                avx._mm256_shuffle_ps::<0xee>(low, next_low),
                avx._mm256_shuffle_ps::<0x44>(high, next_high),
                avx._mm256_shuffle_ps::<0xee>(high, next_high),
            ]
        }};
    }
    let [a, b, c, d, e, f, g, h] = rows;
    let (top, bottom) = (fours!(a, b, c, d), fours!(e, f, g, h));
    macro_rules! pairs {
        ($which:literal, $($i:literal)*) => {
            [$(pulp::cast(avx._mm256_permute2f128_ps::<$which>(top[$i], bottom[$i]))),*]
        };
    }
    let ([a, b, c, d], [e, f, g, h]) = (pairs!(0x20, 0 1 2 3), pairs!(0x31, 0 1 2 3));
    [a, b, c, d, e, f, g, h]
}
