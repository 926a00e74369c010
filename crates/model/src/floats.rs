//! Conversion of stored little-endian floats to f32. The bytes may have any alignment.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Copies `out.len()` f32 numbers.
pub(crate) fn from_f32(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *x = f32::from_le_bytes(*b);
    }
}

/// Converts `out.len()` bfloat16 numbers.
pub(crate) fn from_bf16(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *x = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
    }
}

/// Converts `out.len()` f16 numbers.
pub(crate) fn from_f16(bytes: &[u8], out: &mut [f32]) {
    // The `half` crate converts whole slices with the processor's instructions, so the elements are first collected
    // in one.
    let mut stage = [f16::ZERO; 256];
    for (out, bytes) in out.chunks_mut(stage.len()).zip(bytes.chunks(2 * stage.len())) {
        let stage = &mut stage[..out.len()];
        for (x, b) in stage.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *x = f16::from_le_bytes(*b);
        }
        stage.convert_to_f32_slice(out);
    }
}

/// Returns the index of the first NaN or infinity.
pub(crate) fn first_non_finite(values: &[f32]) -> Option<usize> {
    const EXPONENT: u32 = 0x7f80_0000;
    // Most blocks are finite. The largest exponent of a block shows that without a branch for each element.
    values.chunks(4096).enumerate().find_map(|(i, block)| {
        let largest = block.iter().fold(0, |m, x| (x.to_bits() & EXPONENT).max(m));
        (largest == EXPONENT).then(|| block.iter().position(|x| !x.is_finite()).map(|at| i * 4096 + at))?
    })
}
