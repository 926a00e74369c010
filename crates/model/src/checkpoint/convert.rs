//! Conversion of stored elements to f32.

use super::Dtype;
use crate::floats;
pub(crate) use crate::floats::first_non_finite;

/// Converts `bytes` to f32. They encode `out.len()` elements, and may have any alignment.
pub(super) fn to_f32(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        Dtype::F32 => floats::from_f32(bytes, out),
        Dtype::Bf16 => floats::from_bf16(bytes, out),
        Dtype::F16 => floats::from_f16(bytes, out),
    }
}
