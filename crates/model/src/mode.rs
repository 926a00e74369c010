//! Modes of a linearisation: the exact derivative, or the derivative with some factors of the run frozen.

use resolvent_ops::Frozen;

use crate::error::{Error, Result};

/// Selects the derivative.
///
/// All modes but [`Mode::Exact`] freeze factors of the run at their values ("detached", "stop-gradient"). The same
/// kernels serve all modes. Every mode subtracts the mean in layer norms, the final one included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The derivative of the model itself.
    #[default]
    Exact,
    /// The scale of every norm is frozen: 1 / std, or 1 / rms.
    FrozenNorm,
    /// The attention patterns are frozen, so queries and keys carry no derivative.
    FrozenAttention,
    /// Both are frozen: the detached Jacobian. Only the MLPs are nonlinear.
    Frozen,
    /// The rules of layer-wise relevance propagation (arXiv 2508.21258): [`Mode::Frozen`], and GELU's ratio
    /// `gelu(x) / x` is frozen too. The two factors of a gated MLP get half of the derivative each. The frozen run is
    /// an affine map, unless its logits have a soft-cap. Its linear part applied to `h[0]` gives the run, except for
    /// biases.
    RelP,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 5] = [Self::Exact, Self::FrozenNorm, Self::FrozenAttention, Self::Frozen, Self::RelP];

    pub(crate) fn frozen(self) -> Frozen {
        Frozen {
            norm: matches!(self, Self::FrozenNorm | Self::Frozen | Self::RelP),
            pattern: matches!(self, Self::FrozenAttention | Self::Frozen | Self::RelP),
            ratio: self == Self::RelP,
        }
    }

    /// Returns an error about `what` in a mode that has no second order.
    pub(crate) fn second_order(self, what: &str) -> Result<()> {
        match self {
            Self::Exact => Ok(()),
            _ => Err(Error::Place(format!(
                "{what} in Mode::{self:?}: frozen factors have no derivative, and so no second order; use Mode::Exact"
            ))),
        }
    }
}
