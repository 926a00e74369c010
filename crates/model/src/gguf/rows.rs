//! Reads rows of a tensor, in pieces, and releases the mapped pages of each piece.

use std::ops::Range;

use rayon::prelude::*;

use super::dequantise::elements;
use super::layout::{Entry, Layout};
use crate::mapped::{Mapped, PIECE, WINDOW};

/// Reads `rows` of a tensor into `out`, which has exactly their elements.
pub(super) fn read(file: &Mapped, entry: &Entry, rows: Range<usize>, out: &mut [f32]) {
    match entry.layout {
        Layout::Same => contiguous(file, entry, rows.start * entry.width(), out),
        Layout::Transposed => columns(file, entry, rows, out),
        _ => permuted(file, entry, rows, out),
    }
    if entry.plus_one {
        for x in out {
            *x -= 1.0;
        }
    }
}

fn contiguous(file: &Mapped, entry: &Entry, first: usize, out: &mut [f32]) {
    for (i, window) in out.chunks_mut(WINDOW).enumerate() {
        let first = first + i * WINDOW;
        let pieces = window.par_chunks_mut(PIECE).enumerate();
        pieces.for_each(|(j, piece)| {
            elements(entry.kind, &file.bytes()[entry.bytes.clone()], first + j * PIECE, piece);
        });
        file.release(pages(entry, first..first + window.len()));
    }
}

fn permuted(file: &Mapped, entry: &Entry, rows: Range<usize>, out: &mut [f32]) {
    let width = entry.width();
    let together = (WINDOW / width).max(1);
    for (i, window) in out.chunks_mut(together * width).enumerate() {
        let stored = |j: usize| entry.layout.stored_row(rows.start + i * together + j);
        let count = window.len() / width;
        window.par_chunks_mut(width).enumerate().for_each(|(j, out)| {
            elements(entry.kind, &file.bytes()[entry.bytes.clone()], stored(j) * width, out);
        });
        let (least, most) = (0..count).map(stored).fold((usize::MAX, 0), |(a, b), row| (a.min(row), b.max(row + 1)));
        file.release(pages(entry, least * width..most * width));
    }
}

/// Reads stored columns as rows: `out` is `[rows, n]` for n stored rows.
fn columns(file: &Mapped, entry: &Entry, rows: Range<usize>, out: &mut [f32]) {
    let (count, [height, n]) = (rows.len(), [0, 1].map(|i| entry.shape.get(i).copied().unwrap_or(1)));
    if count == 0 {
        return;
    }
    let mut stage = vec![0.0; count];
    let together = (PIECE / height).max(1);
    for column in 0..n {
        let first = column * height + rows.start;
        elements(entry.kind, &file.bytes()[entry.bytes.clone()], first, &mut stage);
        for (row, x) in out.chunks_mut(n).zip(&stage) {
            row[column] = *x;
        }
        if (column + 1) % together == 0 || column + 1 == n {
            let start = column - column % together;
            file.release(pages(entry, start * height..(column + 1) * height));
        }
    }
}

/// Returns where some elements are in the file, with the blocks that they cut.
fn pages(entry: &Entry, elements: Range<usize>) -> Range<usize> {
    let (block, size) = (entry.kind.block(), entry.kind.block_bytes());
    let at = |block: usize| (entry.bytes.start + block * size).min(entry.bytes.end);
    at(elements.start / block)..at(elements.end.div_ceil(block))
}
