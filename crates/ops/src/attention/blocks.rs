//! Blocks of rows of keys, values and scores, which the caches contain: how they are copied, and sums over them.

use std::ops::Range;

use resolvent_engine::host;

/// Most rows of an item. All of them use what is packed of a block of the other side.
pub(super) const ROWS: usize = 128;

/// Most keys of a block, or most queries in sums over queries.
pub(super) const BLOCK: usize = 64;

/// Elements that are computed together, on every processor. Rows of blocks are padded to a multiple of it.
pub(super) const LANES: usize = 16;

/// Returns the length of a row of `width` elements in a block.
pub(super) fn padded(width: usize) -> usize {
    width.next_multiple_of(LANES)
}

/// The part of a block that a row sees. Neither end decreases from a row to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Band {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Band {
    /// Returns the part of `range` in the block of `count` from `at` on.
    pub(super) fn new(range: Range<usize>, at: usize, count: usize) -> Self {
        let [from, to] = [range.start, range.end].map(|end| end.clamp(at, at + count) - at);
        Self { from, to }
    }

    /// Returns the part from `at` on.
    pub(super) fn since(self, at: usize) -> Self {
        Self { from: self.from.max(at).min(self.to), to: self.to }
    }

    pub(super) fn is_empty(self) -> bool {
        self.from == self.to
    }

    /// Returns the range of chunks of [`LANES`] elements that contain the band.
    #[inline(always)]
    pub(super) fn chunks(self) -> Range<usize> {
        self.from / LANES..self.to.div_ceil(LANES)
    }
}

/// Prefetches both rows of each index: those of the next block, while this one is computed.
#[inline(always)]
pub(super) fn fetch<'a>(indices: Range<usize>, rows: impl Fn(usize) -> [&'a [f32]; 2]) {
    for i in indices {
        for line in rows(i).iter().flat_map(|row| row.chunks(LANES)) {
            host::fetch(line, 0);
        }
    }
}

/// Copies the rows of some indices to a block `[padded / LANES, BLOCK, LANES]`.
#[inline(always)]
pub(super) fn pack<'a>(rows: Range<usize>, row: impl Fn(usize) -> &'a [f32], block: &mut [f32]) {
    for i in rows {
        for (row, panel) in row(i).chunks(LANES).zip(block.chunks_exact_mut(BLOCK * LANES)) {
            let to = &mut panel.as_chunks_mut::<LANES>().0[i];
            match row.try_into() {
                Ok(whole) => *to = whole,
                Err(_) => {
                    to.fill(0.0);
                    to[..row.len()].copy_from_slice(row);
                }
            }
        }
    }
}

/// Returns `f` over the elements of a band, in a fixed order: each lane over the chunks, then the lanes. `start` is
/// what `f` leaves as it is.
#[inline(always)]
pub(super) fn over_band(row: &[f32], band: Band, start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    for chunk in band.chunks() {
        let all = &row.as_chunks::<LANES>().0[chunk];
        let inside = Band::new(band.from..band.to, chunk * LANES, LANES);
        let mut some = [start; LANES];
        let chunk = if inside.to - inside.from == LANES {
            all
        } else {
            some[inside.from..inside.to].copy_from_slice(&all[inside.from..inside.to]);
            &some
        };
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, *x);
        }
    }
    let eight: [f32; 8] = std::array::from_fn(|i| f(lanes[i], lanes[8 + i]));
    let four: [f32; 4] = std::array::from_fn(|i| f(eight[i], eight[4 + i]));
    let two = [f(four[0], four[2]), f(four[1], four[3])];
    f(two[0], two[1])
}

/// Memory of a thread for the blocks of its items.
#[derive(Default)]
pub(super) struct Scratch(Vec<f32>);

impl Scratch {
    /// Returns blocks of these sizes, whole cache lines each, with any content.
    pub(super) fn blocks<const N: usize>(&mut self, sizes: [usize; N]) -> [&mut [f32]; N] {
        let all: usize = sizes.iter().map(|size| padded(*size)).sum();
        if self.0.len() < all + LANES {
            self.0.resize(all + LANES, 0.0);
        }
        let first = self.0.as_ptr().align_offset(4 * LANES).min(LANES);
        let mut left = &mut self.0[first..];
        sizes.map(|size| {
            let (block, rest) = std::mem::take(&mut left).split_at_mut(padded(size));
            left = rest;
            block
        })
    }
}
