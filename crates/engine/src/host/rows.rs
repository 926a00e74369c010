//! Rows of weights, read vector by vector.

use half::f16;
use pulp::Simd;

use super::f16_weights::Converter;
use super::fetch::fetch;
use super::weights::Elements;

/// A row of weights.
pub(super) trait Row<S: Simd>: Copy {
    /// Returns vector `v`.
    fn vector(self, v: usize) -> S::f32s;

    /// Prefetches what lies `ahead` elements after the start of vector `v`.
    fn fetch(self, v: usize, ahead: usize);
}

/// A row of f32 elements.
impl<S: Simd> Row<S> for &[S::f32s] {
    #[inline(always)]
    fn vector(self, v: usize) -> S::f32s {
        self[v]
    }

    #[inline(always)]
    fn fetch(self, v: usize, ahead: usize) {
        fetch(&self[v..], ahead);
    }
}

/// A row of f16 elements, which the processor widens while it reads them.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) elements: &'a [f16],
    pub(super) converter: Converter,
}

impl<'a> Elements<'a> {
    /// Returns the elements if they are f16 and the processor widens them in the order of memory.
    #[inline(always)]
    pub(super) fn packed<S: Simd>(self, simd: S) -> Option<Packed<'a>> {
        match self {
            Self::F32(_) => None,
            Self::F16(elements) => Converter::of(simd).map(|converter| Packed { elements, converter }),
        }
    }
}

impl Packed<'_> {
    /// Returns the row of `width` elements that begins at element `at`.
    #[inline(always)]
    pub(super) fn from(self, at: usize, width: usize) -> Self {
        Self { elements: &self.elements[at..][..width], ..self }
    }
}

impl<S: Simd> Row<S> for Packed<'_> {
    #[inline(always)]
    fn vector(self, v: usize) -> S::f32s {
        self.converter.widen::<S>(&self.elements[v * S::F32_LANES..])
    }

    #[inline(always)]
    fn fetch(self, v: usize, ahead: usize) {
        fetch(&self.elements[v * S::F32_LANES..], ahead / 2);
    }
}
