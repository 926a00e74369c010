//! Reads rows of a tensor, in pieces, and releases the mapped pages of each piece.

use std::ops::Range;

use super::dequantise::elements;
use super::layout::{Entry, Layout};
use crate::mapped::Mapped;

/// Number of elements to convert before their pages are released: a megabyte of f32.
const PIECE: usize = 1 << 18;

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
    for (i, piece) in out.chunks_mut(PIECE).enumerate() {
        let first = first + i * PIECE;
        elements(entry.kind, &file.bytes()[entry.bytes.clone()], first, piece);
        file.release(pages(entry, first..first + piece.len()));
    }
}

fn permuted(file: &Mapped, entry: &Entry, rows: Range<usize>, out: &mut [f32]) {
    let width = entry.width();
    let together = (PIECE / width).max(1);
    for (i, piece) in out.chunks_mut(together * width).enumerate() {
        let (mut least, mut most) = (usize::MAX, 0);
        for (j, out) in piece.chunks_mut(width).enumerate() {
            let row = entry.layout.stored_row(rows.start + i * together + j);
            elements(entry.kind, &file.bytes()[entry.bytes.clone()], row * width, out);
            (least, most) = (least.min(row), most.max(row + 1));
        }
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
