//! Which norm a model computes, and what its file has of each.

/// The kind of every norm of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Layer norm with the stored gain and bias that it has.
    Layer(Stored),
    /// Root mean square norm with a gain, which is the stored weight plus `offset`.
    Rms { offset: u8 },
}

impl NormKind {
    /// Returns what a file has of each norm.
    pub(crate) fn stored(self) -> Stored {
        match self {
            Self::Layer(stored) => stored,
            Self::Rms { .. } => Stored::Gain,
        }
    }
}

/// What a file has of a norm. A gain that it lacks is 1, and a bias 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    GainAndBias,
    Gain,
    Nothing,
}

impl Stored {
    pub(crate) fn has_gain(self) -> bool {
        self != Self::Nothing
    }

    pub(crate) fn has_bias(self) -> bool {
        self == Self::GainAndBias
    }
}
