//! Weights in halves, widened on their way through the registers.
//!
//! A word holds two neighbours, so a vector of words gives a vector of the even numbers and one of the odd ones. They are left in
//! that order, evens before odds in each stretch of two vectors, as long as only sums over them, or sums beside them, are
//! wanted: [`apart`] and [`interleaved`] go there and back. What fills no such stretch stays in turn.

use half::f16;
use pulp::Simd;

use super::fetch::fetch;
use super::weights::Elements;

impl<'a> Elements<'a> {
    /// Those from number `at` on.
    pub(super) fn from(self, at: usize) -> Self {
        match self {
            Self::F32(elements) => Self::F32(&elements[at..]),
            Self::F16(f16s) => Self::F16(&f16s[at..]),
        }
    }

    /// One of them.
    pub(super) fn at(self, i: usize) -> f32 {
        match self {
            Self::F32(elements) => elements[i],
            Self::F16(f16s) => f16s[i].to_f32(),
        }
    }

    pub(super) fn is_f16(self) -> bool {
        matches!(self, Self::F16(_))
    }

    /// Room for so many numbers, if they have to be widened.
    pub(super) fn room(self, count: usize) -> Vec<f32> {
        if self.is_f16() { vec![0.0; count] } else { Vec::new() }
    }

    /// `width` of them in each of `rows` rows that lie `stride` apart, and how far apart the rows of what is returned lie: halves
    /// are widened into `wide`, while the memory is asked for as many rows more.
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
            Self::F16(f16s) => {
                for (row, wide) in wide.chunks_mut(width).take(rows).enumerate() {
                    widen(simd, &f16s[row * stride..][..width], wide, rows * stride);
                }
                (wide, width)
            }
        }
    }
}

/// `f16s` as f32, evens and odds apart. A half's exponent ends up 112 too low; the factor 2^112 mends that, and makes denormal
/// halves normal.
#[inline(always)]
fn widen<S: Simd>(simd: S, f16s: &[f16], wide: &mut [f32], ahead: usize) {
    let lanes = S::F32_LANES;
    let [three, thirteen, sixteen] = [3, 13, 16].map(|n| simd.splat_u32s(n));
    let (magnitude, sign) = (simd.splat_u32s(0x0fff_e000), simd.splat_u32s(0x8000_0000));
    let scale = simd.splat_f32s(f32::from_bits((127 + 112) << 23));
    let done = f16s.len() / (2 * lanes) * 2 * lanes;
    let (stretches, rest) = f16s.split_at(done);
    let words = S::as_simd_u32s(bytemuck::cast_slice(stretches)).0;
    let (vectors, left) = wide.split_at_mut(done);
    let vectors = S::as_mut_simd_f32s(vectors).0.as_chunks_mut::<2>().0;
    for (v, (&word, [evens, odds])) in words.iter().zip(vectors).enumerate() {
        fetch(&f16s[2 * lanes * v..], ahead / 2);
        let low = simd.or_u32s(
            simd.and_u32s(simd.wrapping_dyn_shl_u32s(word, thirteen), magnitude),
            simd.and_u32s(simd.wrapping_dyn_shl_u32s(word, sixteen), sign),
        );
        let high =
            simd.or_u32s(simd.and_u32s(simd.wrapping_dyn_shr_u32s(word, three), magnitude), simd.and_u32s(word, sign));
        *evens = simd.mul_f32s(simd.transmute_f32s_u32s(low), scale);
        *odds = simd.mul_f32s(simd.transmute_f32s_u32s(high), scale);
    }
    for (wide, half) in left.iter_mut().zip(rest) {
        *wide = half.to_f32();
    }
}

/// Rows of `width` numbers, evens and odds apart.
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

/// A row that is [`apart`], back in turn.
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
