//! f16 weights, widened to f32 in registers.
//!
//! AVX-512 widens a vector in one instruction. Elsewhere, words of two elements are widened by a few operations.
//!
//! A 32-bit word contains two neighbouring elements, so a vector of words gives a vector of even elements and a vector
//! of odd elements. Widened rows stay in that order: in each stretch of two vectors, evens come before odds. The order
//! does not matter to sums over the elements, nor to separate sums for each of them. [`deinterleave`] and
//! [`interleave`] convert to this order and back. Elements that fill no such stretch stay in the usual order.

use std::any::Any;

use half::f16;
use pulp::Simd;

use super::fetch::fetch;
use super::weights::Elements;

impl<'a> Elements<'a> {
    /// Returns the elements from index `at` on.
    pub(super) fn from(self, at: usize) -> Self {
        match self {
            Self::F32(elements) => Self::F32(&elements[at..]),
            Self::F16(packed) => Self::F16(&packed[at..]),
        }
    }

    /// Returns element `i` as f32.
    pub(super) fn at(self, i: usize) -> f32 {
        match self {
            Self::F32(elements) => elements[i],
            Self::F16(packed) => packed[i].to_f32(),
        }
    }

    /// Returns whether [`Self::rows`] changes the order of the elements.
    #[inline(always)]
    pub(super) fn is_reordered<S: Simd>(self, simd: S) -> bool {
        matches!(self, Self::F16(_)) && Converter::of(simd).is_none()
    }

    /// Allocates room for `count` elements that [`Self::rows`] widens.
    pub(super) fn room<S: Simd>(self, simd: S, count: usize) -> Vec<f32> {
        if self.is_reordered(simd) { vec![0.0; count] } else { Vec::new() }
    }

    /// Returns `width` elements of each of `rows` rows that lie `stride` apart, and the stride of the returned rows.
    /// f16 elements are widened into `wide`; meanwhile as many following rows are prefetched.
    #[inline(always)]
    pub(super) fn rows<'b, S: Simd>(
        self,
        simd: S,
        rows: usize,
        (stride, width): (usize, usize),
        wide: &'b mut [f32],
    ) -> (&'b [f32], usize)
    where
        'a: 'b,
    {
        match self {
            Self::F32(elements) => (elements, stride),
            Self::F16(packed) => {
                for (row, wide) in wide.chunks_mut(width).take(rows).enumerate() {
                    widen(simd, &packed[row * stride..][..width], wide, rows * stride);
                }
                (wide, width)
            }
        }
    }
}

/// Instructions that widen f16 elements in the order of memory: those of AVX-512.
#[derive(Clone, Copy)]
pub(super) struct Converter {
    #[cfg(target_arch = "x86_64")]
    simd: pulp::x86::V4,
    #[cfg(not(target_arch = "x86_64"))]
    simd: std::convert::Infallible,
}

impl Converter {
    /// Returns the instructions, if `simd` has them. The compiler knows the answer.
    #[inline(always)]
    pub(super) fn of<S: Simd>(simd: S) -> Option<Self> {
        (&simd as &dyn Any).downcast_ref().map(|&simd| Self { simd })
    }

    /// Widens the first elements to a vector of the instructions.
    #[inline(always)]
    pub(super) fn widen<S: Simd>(self, packed: &[f16]) -> S::f32s {
        #[cfg(target_arch = "x86_64")]
        {
            let words: [f16; 16] = packed[..16].try_into().expect("16 elements");
            let widened = self.simd.avx512f._mm512_cvtph_ps(pulp::cast(words));
            bytemuck::cast::<pulp::f32x16, S::f32s>(pulp::cast(widened))
        }
        #[cfg(not(target_arch = "x86_64"))]
        match (self.simd, packed) {}
    }
}

/// Widens `packed` to f32, evens before odds. After the shift, the exponent is 112 too low. The factor 2^112 corrects
/// it, and makes denormal f16 values normal.
#[inline(always)]
fn widen<S: Simd>(simd: S, packed: &[f16], wide: &mut [f32], ahead: usize) {
    let lanes = S::F32_LANES;
    let [three, thirteen, sixteen] = [3, 13, 16].map(|n| simd.splat_u32s(n));
    let (magnitude, sign) = (simd.splat_u32s(0x0fff_e000), simd.splat_u32s(0x8000_0000));
    let scale = simd.splat_f32s(f32::from_bits((127 + 112) << 23));
    let done = packed.len() / (2 * lanes) * 2 * lanes;
    let (stretches, rest) = packed.split_at(done);
    let words = S::as_simd_u32s(bytemuck::cast_slice(stretches)).0;
    let (vectors, left) = wide.split_at_mut(done);
    let vectors = S::as_mut_simd_f32s(vectors).0.as_chunks_mut::<2>().0;
    for (v, (&word, [evens, odds])) in words.iter().zip(vectors).enumerate() {
        fetch(&packed[2 * lanes * v..], ahead / 2);
        let low = simd.or_u32s(
            simd.and_u32s(simd.wrapping_dyn_shl_u32s(word, thirteen), magnitude),
            simd.and_u32s(simd.wrapping_dyn_shl_u32s(word, sixteen), sign),
        );
        let high =
            simd.or_u32s(simd.and_u32s(simd.wrapping_dyn_shr_u32s(word, three), magnitude), simd.and_u32s(word, sign));
        *evens = simd.mul_f32s(simd.transmute_f32s_u32s(low), scale);
        *odds = simd.mul_f32s(simd.transmute_f32s_u32s(high), scale);
    }
    for (wide, x) in left.iter_mut().zip(rest) {
        *wide = x.to_f32();
    }
}

/// Returns rows of `width` elements with evens before odds.
pub(super) fn deinterleave<S: Simd>(rows: &[f32], width: usize) -> Vec<f32> {
    let (lanes, mut all) = (S::F32_LANES, rows.to_vec());
    for (row, from) in all.chunks_exact_mut(width).zip(rows.chunks_exact(width)) {
        for (to, from) in row.chunks_exact_mut(2 * lanes).zip(from.chunks_exact(2 * lanes)) {
            for (i, pair) in from.as_chunks::<2>().0.iter().enumerate() {
                [to[i], to[lanes + i]] = *pair;
            }
        }
    }
    all
}

/// Restores the usual order in a row whose evens come before its odds.
pub(super) fn interleave<S: Simd>(row: &mut [f32]) {
    let (lanes, mut buffered) = (S::F32_LANES, [0.0f32; 64]);
    for to in row.chunks_exact_mut(2 * lanes) {
        let from = &mut buffered[..2 * lanes];
        from.copy_from_slice(to);
        for (i, pair) in to.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *pair = [from[i], from[lanes + i]];
        }
    }
}
