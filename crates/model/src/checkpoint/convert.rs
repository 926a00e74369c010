//! Stored little-endian numbers to f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::Dtype;

/// Converts `bytes`, of `out.len()` elements and any alignment.
pub(super) fn to_f32(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::F32 => {
            for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *x = f32::from_le_bytes(*b);
            }
        }
        Dtype::Bf16 => {
            for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *x = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
            }
        }
        Dtype::F16 => {
            // Staged, since half converts whole slices with the processor's instructions.
            let mut stage = [f16::ZERO; 256];
            for (out, bytes) in out.chunks_mut(stage.len()).zip(bytes.chunks(2 * stage.len())) {
                let stage = &mut stage[..out.len()];
                for (x, b) in stage.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *x = f16::from_le_bytes(*b);
                }
                stage.convert_to_f32_slice(out);
            }
        }
    }
}

/// Index of the first NaN or infinity.
pub(crate) fn first_non_finite(values: &[f32]) -> Option<usize> {
    const EXPONENT: u32 = 0x7f80_0000;
    // Most pieces are clean: the largest exponent over a block tells, without a branch an element.
    values.chunks(4096).enumerate().find_map(|(i, block)| {
        let largest = block.iter().fold(0, |m, x| (x.to_bits() & EXPONENT).max(m));
        (largest == EXPONENT).then(|| block.iter().position(|x| !x.is_finite()).map(|at| i * 4096 + at))?
    })
}
