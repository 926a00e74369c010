//! Modes of a linearisation: the derivative itself, or that of the run with some of its factors taken as constants.

use resolvent_ops::Frozen;

use crate::error::{Error, Result};

/// Which derivative is taken. All but [`Mode::Exact`] take factors of the run as constants at their values ("frozen",
/// "detached", "stop-gradient"): switches of the same kernels. Layer norm's mean is subtracted in all of them, `ln_f` included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// The derivative of the model itself.
    #[default]
    Exact,
    /// The scale 1 / std of every layer norm is a constant.
    FrozenNorm,
    /// The attention patterns are constants, so queries and keys carry nothing.
    FrozenAttention,
    /// Both: the detached Jacobian, that of the MLPs alone between linear maps.
    Frozen,
    /// The rules of layer-wise relevance propagation (arXiv 2508.21258): as [`Mode::Frozen`], and GELU's `gelu(x) / x` is a
    /// constant too. What is left is an affine map: the run itself, but for its biases, is its product with `h[0]`.
    RelP,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Exact, Self::FrozenNorm, Self::FrozenAttention, Self::Frozen, Self::RelP];

    pub(crate) fn frozen(self) -> Frozen {
        Frozen {
            norm: matches!(self, Self::FrozenNorm | Self::Frozen | Self::RelP),
            pattern: matches!(self, Self::FrozenAttention | Self::Frozen | Self::RelP),
            ratio: self == Self::RelP,
        }
    }

    /// Refuses `what` in a mode that has no second order.
    pub(crate) fn second_order(self, what: &str) -> Result<()> {
        match self {
            Self::Exact => Ok(()),
            _ => Err(Error::Place(format!(
                "{what} in Mode::{self:?}: its constants have no derivative, so there is no second order; use Mode::Exact"
            ))),
        }
    }
}
