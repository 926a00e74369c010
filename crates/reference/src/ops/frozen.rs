//! What a run's derivatives take as constant: stop-gradients, by op.

/// Factors that are numbers without derivatives. Values do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// Layer norm: `1 / sqrt(var + eps)`.
    pub norm: bool,
    /// Attention: the softmax of the scores.
    pub pattern: bool,
    /// GELU: `gelu(x) / x`.
    pub ratio: bool,
}
