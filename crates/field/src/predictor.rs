//! The names and options of predictors of patch effects.

use std::fmt;
use std::str::FromStr;

use resolvent_engine::did_you_mean;

use crate::error::{Error, Result};
use crate::site_kind::SiteKind;

/// A method that predicts patch effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Predictor {
    /// Sensitivity times displacement.
    FirstOrder,
    /// First order, and the second-order term of every patch, by jets.
    Curvature,
    /// First order, and the second-order term of the patches that a cheaper estimate flags, by Hessian-vector products.
    Hvp,
    /// Sensitivities averaged between the prompts.
    Integrated,
    /// Sensitivities under the rules of relevance propagation.
    RelP,
}

impl Predictor {
    /// All predictors.
    pub const ALL: [Self; 5] = [Self::FirstOrder, Self::Curvature, Self::Hvp, Self::Integrated, Self::RelP];

    /// Returns first order, which comes with every patch sweep, followed by the rest of `others`.
    pub fn beside_first_order(others: &[Self]) -> Vec<Self> {
        let others = others.iter().copied().filter(|p| *p != Self::FirstOrder);
        std::iter::once(Self::FirstOrder).chain(others).collect()
    }

    /// Returns the name on the command line and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstOrder => "first_order",
            Self::Curvature => "curvature",
            Self::Hvp => "hvp",
            Self::Integrated => "integrated",
            Self::RelP => "relp",
        }
    }

    /// Returns why the predictor is zero at every site of a kind, whatever the model and the prompts; `None` if it
    /// predicts. Such zeros say nothing about the patches, so statistics leave them out.
    pub fn zero_at(self, kind: SiteKind) -> Option<&'static str> {
        match (self, kind) {
            (Self::RelP, SiteKind::Q | SiteKind::K | SiteKind::RotQ | SiteKind::RotK) => {
                Some("relp takes attention patterns as constants")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Predictor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|p| p.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let meant = did_you_mean(text, Self::ALL.map(Self::name));
            Error::Input(format!("invalid predictor `{text}`: expected one of {names}{meant}"))
        })
    }
}

/// Options of the predictors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictorOptions {
    /// Number of runs between the prompts, for `integrated`.
    pub steps: usize,
    /// Reliability ratio above which `hvp` corrects a patch.
    pub flag: f64,
}

impl Default for PredictorOptions {
    fn default() -> Self {
        Self { steps: 8, flag: 0.1 }
    }
}
