//! Blocks of 256 elements: groups with small scales of their own, which an f16 scales again.

use super::blocks::scale;

/// Returns the six-bit scale and minimum of group g of 8, from the 12 bytes at `at`.
///
/// Bytes 0 to 3 have the scales of groups 0 to 3 in their low six bits, and bytes 4 to 7 the minima. Bytes 8 to 11 have
/// the low four bits of the scales (low) and minima (high) of groups 4 to 7. Their upper two bits are the upper two of
/// bytes 0 to 3 and of bytes 4 to 7.
fn scale_and_minimum<const B: usize>(block: &[u8; B], at: usize, g: usize) -> (f32, f32) {
    let byte = |i: usize| block[at + i];
    let (scale, minimum) = match g {
        0..4 => (byte(g) & 63, byte(g + 4) & 63),
        _ => (byte(g + 4) & 15 | byte(g - 4) >> 6 << 4, byte(g + 4) >> 4 | byte(g) >> 6 << 4),
    };
    (f32::from(scale), f32::from(minimum))
}

/// Returns the four bits of element i of group g of 32, from the 128 bytes at `at`: two groups share 32 bytes.
fn nibble<const B: usize>(block: &[u8; B], at: usize, g: usize, i: usize) -> u8 {
    block[at + g / 2 * 32 + i] >> (g % 2 * 4) & 15
}

pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, d_min) = (scale(block, 0), scale(block, 2));
    for (g, group) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (s, m) = scale_and_minimum(block, 4, g);
        let (d, m) = (d * s, d_min * m);
        for (i, x) in group.iter_mut().enumerate() {
            *x = d * f32::from(nibble(block, 16, g, i)) - m;
        }
    }
}

pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, d_min) = (scale(block, 0), scale(block, 2));
    for (g, group) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (s, m) = scale_and_minimum(block, 4, g);
        let (d, m) = (d * s, d_min * m);
        for (i, x) in group.iter_mut().enumerate() {
            let fifth = (block[16 + i] >> g & 1) << 4;
            *x = d * f32::from(nibble(block, 48, g, i) | fifth) - m;
        }
    }
}

pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = scale(block, 208);
    for (g, group) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        // Four groups share 64 bytes of low bits and 32 bytes of high bits.
        let (half, g) = (g / 4, g % 4);
        for (i, x) in group.iter_mut().enumerate() {
            let low = block[half * 64 + g % 2 * 32 + i] >> (g / 2 * 4) & 15;
            let high = block[128 + half * 32 + i] >> (g * 2) & 3;
            let s = f32::from(block[192 + half * 8 + g * 2 + i / 16] as i8);
            *x = d * s * f32::from((low | high << 4) as i8 - 32);
        }
    }
}
