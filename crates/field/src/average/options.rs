//! Options of the averaged operator.

/// Options of [`crate::average`]: the positions of each prompt that are left out of the average, on both sides of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AverageOptions {
    /// First positions that are left out: attention uses them as sinks, so that their statistics differ.
    pub skip_first: usize,
    /// Last positions that are left out.
    pub skip_last: usize,
}

/// The positions that TransformerLens and the published lenses leave out.
impl Default for AverageOptions {
    fn default() -> Self {
        Self { skip_first: 16, skip_last: 1 }
    }
}
