//! Items of the host bodies of attention: a head of a block of rows. Threads share the items.

use std::cell::RefCell;
use std::ops::Range;

use pulp::WithSimd;
use rayon::prelude::*;
use resolvent_engine::host::instructions;

use super::blocks::{BLOCK, Band, ROWS, Scratch};
use super::{first_key, last_query};
use crate::rows::Row;

thread_local! {
    /// Memory for the blocks of an item.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Items for each thread, below which blocks are smaller.
const ENOUGH: usize = 4;

/// Consecutive rows of one sequence.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// The first row, as the table has it.
    r: Row,
    /// Its index in the batch.
    pub(super) row: usize,
    pub(super) rows: usize,
}

impl Block {
    /// Returns the tokens of the rows.
    pub(super) fn tokens(&self) -> Range<usize> {
        let first = self.r.token(self.row);
        first..first + self.rows
    }

    /// Returns the first token that the sequence owns.
    pub(super) fn start(&self) -> usize {
        self.r.start
    }

    /// Returns the base row of token `t`.
    pub(super) fn base(&self, t: usize) -> usize {
        self.r.base(self.row, t)
    }

    /// Returns the batch row of token `t`, which the sequence owns.
    pub(super) fn own(&self, t: usize) -> usize {
        self.r.own(t)
    }

    /// Returns the blocks of keys that the rows see, as the first token and the count. They begin at multiples of
    /// [`BLOCK`], so that sums over them do not depend on which rows a block has.
    pub(super) fn keys(&self, window: u32) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Range { start, end } = self.tokens();
        let first = first_key(start, window) / BLOCK * BLOCK;
        (first..end).step_by(BLOCK).map(move |at| (at, BLOCK.min(end - at)))
    }

    /// Returns the keys that the rows see in the block after that of the `count` from `at` on.
    pub(super) fn next_keys(&self, (at, count): (usize, usize)) -> Range<usize> {
        at + count..(at + count + BLOCK).min(self.tokens().end)
    }

    /// Returns the keys that each row sees, of the `count` from `at` on.
    pub(super) fn keys_of_rows(&self, window: u32, (at, count): (usize, usize)) -> [Band; ROWS] {
        self.bands(|t| Band::new(first_key(t, window)..t + 1, at, count))
    }

    /// Returns the blocks of queries that see the rows, as the first token and the count.
    pub(super) fn queries(&self, window: u32) -> impl Iterator<Item = (usize, usize)> + use<> {
        let tokens = self.tokens();
        let end = last_query(tokens.end - 1, window, self.r.end);
        (tokens.start..end).step_by(BLOCK).map(move |at| (at, BLOCK.min(end - at)))
    }

    /// Returns the queries that see the rows in the block after that of the `count` from `at` on.
    pub(super) fn next_queries(&self, window: u32, (at, count): (usize, usize)) -> Range<usize> {
        let end = last_query(self.tokens().end - 1, window, self.r.end);
        at + count..(at + count + BLOCK).min(end)
    }

    /// Returns the queries that see each row, of the `count` from `at` on.
    pub(super) fn queries_of_rows(&self, window: u32, (at, count): (usize, usize)) -> [Band; ROWS] {
        self.bands(|t| Band::new(t..last_query(t, window, self.r.end), at, count))
    }

    /// Returns the rows that each of `count` queries from `at` on sees.
    pub(super) fn rows_of_queries(&self, window: u32, (at, count): (usize, usize)) -> [Band; BLOCK] {
        let tokens = self.tokens();
        let band = |t: usize| Band::new(first_key(t, window)..t + 1, tokens.start, self.rows);
        std::array::from_fn(|i| if i < count { band(at + i) } else { Band::default() })
    }

    fn bands(&self, band: impl Fn(usize) -> Band) -> [Band; ROWS] {
        let first = self.tokens().start;
        std::array::from_fn(|i| if i < self.rows { band(first + i) } else { Band::default() })
    }
}

/// Splits rows of a batch into blocks of one sequence each. They have up to [`ROWS`] rows, and fewer if `heads` items
/// for each block do not occupy all threads.
pub(super) fn blocks(table: &[u32], rows: Range<usize>, heads: usize) -> Vec<Block> {
    let enough = |size: &usize| rows.len().div_ceil(*size) * heads >= ENOUGH * rayon::current_num_threads();
    let size = [ROWS, ROWS / 2, ROWS / 4, ROWS / 8].into_iter().find(enough).unwrap_or(ROWS / 16);
    let (mut all, mut row) = (Vec::new(), rows.start);
    while row < rows.end {
        let r = Row::read(table, row);
        let count = size.min(r.end - r.token(row)).min(rows.end - row);
        all.push(Block { r, row, rows: count });
        row += count;
    }
    all
}

/// The columns of one head in the rows of one block.
pub(super) type Part<'a> = Vec<&'a mut [f32]>;

/// Splits the rows of blocks into the columns of each head, as [block, head].
pub(super) fn parts<'a>(
    mut rows: impl Iterator<Item = &'a mut [f32]>,
    blocks: &[Block],
    [heads, width]: [usize; 2],
) -> Vec<Part<'a>> {
    let mut all = Vec::with_capacity(blocks.len() * heads);
    for block in blocks {
        let first = all.len();
        all.extend((0..heads).map(|_| Vec::with_capacity(block.rows)));
        for row in rows.by_ref().take(block.rows) {
            all[first..].iter_mut().zip(row.chunks_mut(width)).for_each(|(part, columns)| part.push(columns));
        }
    }
    all
}

/// One item, and what it writes: one head of two arrays.
pub(super) struct Item<'a, 'y, Args> {
    pub(super) args: Args,
    pub(super) block: Block,
    pub(super) head: usize,
    pub(super) y: [Part<'y>; 2],
    pub(super) scratch: &'a mut Scratch,
}

/// Computes all items over all threads.
pub(super) fn each<'y, Args: Copy + Sync>(
    args: Args,
    (blocks, heads): (&[Block], usize),
    [y, other]: [Vec<Part<'y>>; 2],
) where
    for<'a> Item<'a, 'y, Args>: WithSimd<Output = ()>,
{
    let arch = instructions();
    let items = y.into_par_iter().zip(other).enumerate();
    items.for_each(|(i, (y, other))| {
        let (block, head) = (blocks[i / heads], i % heads);
        SCRATCH.with_borrow_mut(|scratch| arch.dispatch(Item { args, block, head, y: [y, other], scratch }));
    });
}
