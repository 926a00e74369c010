//! Factors that the derivatives of a run treat as constant: stop-gradients, by op.

/// Switches for factors without derivatives. They do not change values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// Layer norm: `1 / sqrt(var + eps)`. RMS norm: `1 / sqrt(mean of x^2 + eps)`.
    pub norm: bool,
    /// Attention: the softmax of the scores.
    pub pattern: bool,
    /// GELU: `gelu(x) / x`. Gate: `act(a) / a`, and in each half of the product the other factor.
    pub ratio: bool,
}
