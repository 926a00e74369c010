//! Weights as host bodies receive them.

use half::f16;

/// How much of k a product sums before it adds the sum to y. The crates for many rows split k too, but none splits so
/// little.
pub(super) const DEPTH: usize = 256;

/// A right-hand operand stored row-major: `[k, n]`, or `[n, k]` to be used transposed.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// The elements, row-major.
    pub elements: Elements<'a>,
    /// Whether they are `[n, k]`.
    pub transposed: bool,
}

/// Elements of a weight.
#[derive(Clone, Copy)]
pub enum Elements<'a> {
    /// f32 elements.
    F32(&'a [f32]),
    /// f16 elements, widened while they are read. They are aligned to words of four bytes; rows have an even length.
    F16(&'a [f16]),
}

impl Elements<'_> {
    /// Returns the number of elements.
    pub(super) fn len(self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::F16(elements) => elements.len(),
        }
    }
}
