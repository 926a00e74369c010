//! Blocks of 32 elements with one scale, and with one minimum in the formats that end in 1.
//!
//! The low four bits of byte i belong to element i, and the high four bits to element i + 16.

use half::f16;

/// Reads an f16 at byte `at`.
pub(super) fn scale<const B: usize>(block: &[u8; B], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Returns the four bits of element i of 32, from the 16 bytes at `at`.
fn nibble<const B: usize>(block: &[u8; B], at: usize, i: usize) -> u8 {
    if i < 16 { block[at + i] & 15 } else { block[at + i - 16] >> 4 }
}

/// Returns the fifth bit of element i of 32, from the four bytes at `at`, in place.
fn fifth<const B: usize>(block: &[u8; B], at: usize, i: usize) -> u8 {
    (block[at + i / 8] >> (i % 8) & 1) << 4
}

pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (i, x) in out.iter_mut().enumerate() {
        *x = d * f32::from(nibble(block, 2, i) as i8 - 8);
    }
}

pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for (i, x) in out.iter_mut().enumerate() {
        *x = d * f32::from(nibble(block, 4, i)) + m;
    }
}

pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (i, x) in out.iter_mut().enumerate() {
        *x = d * f32::from((nibble(block, 6, i) | fifth(block, 2, i)) as i8 - 16);
    }
}

pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for (i, x) in out.iter_mut().enumerate() {
        *x = d * f32::from(nibble(block, 8, i) | fifth(block, 4, i)) + m;
    }
}

pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (x, &q) in out.iter_mut().zip(&block[2..]) {
        *x = d * f32::from(q as i8);
    }
}
