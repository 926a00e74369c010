//! Weights as host bodies get them.

use half::f16;

/// A right-hand operand stored row-major: `[k, n]`, or `[n, k]` to be used transposed.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// The numbers, row-major.
    pub elements: Elements<'a>,
    /// Whether they are `[n, k]`.
    pub transposed: bool,
}

/// Numbers of a weight.
#[derive(Clone, Copy)]
pub enum Elements<'a> {
    /// As they are.
    F32(&'a [f32]),
    /// Halves, widened while they are read: aligned to words of four bytes, and with rows of an even length.
    F16(&'a [f16]),
}

impl Elements<'_> {
    /// How many there are.
    pub(super) fn len(self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::F16(elements) => elements.len(),
        }
    }
}
