//! The names of predictors of edges.

use std::fmt;
use std::str::FromStr;

use resolvent_engine::did_you_mean;

use crate::error::{Error, Result};

/// A method that predicts the effects of patching edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EdgePredictor {
    /// The derivative by what the reader reads, times the displacement of the writer.
    FirstOrder,
    /// The mean derivative over runs whose embeddings lie between those of both prompts.
    Integrated,
    /// The mean derivative over runs in which the output of the writer's site lies between those of both prompts.
    IntegratedActivations,
    /// The derivative under the rules of relevance propagation.
    RelP,
}

impl EdgePredictor {
    /// All predictors.
    pub const ALL: [Self; 4] = [Self::FirstOrder, Self::Integrated, Self::IntegratedActivations, Self::RelP];

    /// Returns the name on the command line and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstOrder => "first_order",
            Self::Integrated => "integrated",
            Self::IntegratedActivations => "integrated_activations",
            Self::RelP => "relp",
        }
    }

    /// Returns the name of the array of its scores at each token.
    pub fn by_token(self) -> &'static str {
        match self {
            Self::FirstOrder => "first_order_by_token",
            Self::Integrated => "integrated_by_token",
            Self::IntegratedActivations => "integrated_activations_by_token",
            Self::RelP => "relp_by_token",
        }
    }
}

impl fmt::Display for EdgePredictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EdgePredictor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|p| p.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let meant = did_you_mean(text, names);
            Error::Input(format!("edges have no predictor `{text}`: expected one of {}{meant}", names.join(", ")))
        })
    }
}
