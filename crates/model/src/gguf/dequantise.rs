//! Conversion of stored blocks to f32, with the bits that the `gguf` Python package gives.

mod blocks;
mod k_blocks;

use super::kind::GgmlType;
use crate::floats;

/// Most elements of one block.
const LARGEST: usize = 256;

/// Converts whole blocks. `bytes` encode `out.len()` elements, and may have any alignment.
pub(super) fn dequantise(kind: GgmlType, bytes: &[u8], out: &mut [f32]) {
    match kind {
        GgmlType::F32 => floats::from_f32(bytes, out),
        GgmlType::F16 => floats::from_f16(bytes, out),
        GgmlType::Bf16 => floats::from_bf16(bytes, out),
        GgmlType::Q4_0 => each(bytes, out, blocks::q4_0),
        GgmlType::Q4_1 => each(bytes, out, blocks::q4_1),
        GgmlType::Q5_0 => each(bytes, out, blocks::q5_0),
        GgmlType::Q5_1 => each(bytes, out, blocks::q5_1),
        GgmlType::Q8_0 => each(bytes, out, blocks::q8_0),
        GgmlType::Q4K => each(bytes, out, k_blocks::q4_k),
        GgmlType::Q5K => each(bytes, out, k_blocks::q5_k),
        GgmlType::Q6K => each(bytes, out, k_blocks::q6_k),
    }
}

/// Converts blocks of `B` bytes to `N` elements each.
fn each<const B: usize, const N: usize>(bytes: &[u8], out: &mut [f32], convert: fn(&[u8; B], &mut [f32; N])) {
    for (out, block) in out.as_chunks_mut::<N>().0.iter_mut().zip(bytes.as_chunks::<B>().0) {
        convert(block, out);
    }
}

/// Converts `out.len()` elements from element `first` on, which need not begin or end a block. `bytes` are those of the
/// whole tensor.
pub(super) fn elements(kind: GgmlType, bytes: &[u8], first: usize, out: &mut [f32]) {
    let (block, size) = (kind.block(), kind.block_bytes());
    let stored = |first: usize, blocks: usize| &bytes[first / block * size..][..blocks * size];
    // The elements up to the end of a block that the range cuts.
    let head = (first.next_multiple_of(block) - first).min(out.len());
    let (head, rest) = out.split_at_mut(head);
    let whole = rest.len() - rest.len() % block;
    let (middle, tail) = rest.split_at_mut(whole);
    let mut stage = [0.0; LARGEST];
    if !head.is_empty() {
        dequantise(kind, stored(first, 1), &mut stage[..block]);
        head.copy_from_slice(&stage[first % block..][..head.len()]);
    }
    let first = first + head.len();
    dequantise(kind, stored(first, whole / block), middle);
    if !tail.is_empty() {
        dequantise(kind, stored(first + whole, 1), &mut stage[..block]);
        tail.copy_from_slice(&stage[..tail.len()]);
    }
}
