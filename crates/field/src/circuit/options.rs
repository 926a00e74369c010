//! How circuits are chosen and measured.

use std::fmt;
use std::str::FromStr;

use resolvent_engine::did_you_mean;

use super::Selection;
use crate::edges::{EdgeOptions, EdgePredictor};
use crate::error::{Error, Result};

/// What edges outside of a circuit carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ablation {
    /// The output of the writer in the corrupted run.
    #[default]
    Corrupted,
    /// Zero.
    Zero,
    /// The mean output of the writer over all tokens of all clean prompts.
    Mean,
    /// The outputs of the writer on other clean prompts; everything is the mean over them.
    Resample,
}

impl Ablation {
    const ALL: [Self; 4] = [Self::Corrupted, Self::Zero, Self::Mean, Self::Resample];

    /// Returns its name on the command line and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Corrupted => "corrupted",
            Self::Zero => "zero",
            Self::Mean => "mean",
            Self::Resample => "resample",
        }
    }
}

impl fmt::Display for Ablation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Ablation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|ablation| ablation.name() == text);
        found.ok_or_else(|| {
            let meant = did_you_mean(text, Self::ALL.map(Self::name));
            Error::Input(format!("invalid ablation `{text}`: expected corrupted, zero, mean or resample{meant}"))
        })
    }
}

/// What ranks the edges of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EdgeScore {
    /// A prediction.
    Predicted(EdgePredictor),
    /// The effect of patching each edge.
    Exact,
}

impl EdgeScore {
    /// Returns its name on the command line and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Predicted(predictor) => predictor.name(),
            Self::Exact => "exact",
        }
    }
}

impl EdgeScore {
    /// Returns the options of [`crate::edges`] that compute it.
    pub(super) fn edges(self, steps: usize) -> EdgeOptions {
        let predictors = match self {
            Self::Predicted(predictor) if predictor != EdgePredictor::FirstOrder => vec![predictor],
            _ => Vec::new(),
        };
        EdgeOptions { predictors, steps, exact: self == Self::Exact, ..EdgeOptions::default() }
    }
}

impl FromStr for EdgeScore {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut known = EdgePredictor::ALL.into_iter().map(Self::Predicted).chain([Self::Exact]);
        known.find(|score| score.name() == text).ok_or_else(|| {
            let predictors = EdgePredictor::ALL.map(EdgePredictor::name);
            let meant = did_you_mean(text, predictors.into_iter().chain(["exact"]));
            Error::Input(format!("invalid score `{text}`: expected {} or exact{meant}", predictors.join(", ")))
        })
    }
}

/// Options of [`circuit`](super::circuit).
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitOptions {
    /// What ranks the edges.
    pub score: EdgeScore,
    /// Number of runs between the prompts, for the scores `integrated` and `integrated_activations`.
    pub steps: usize,
    /// How edges are chosen by their scores.
    pub selection: Selection,
    /// Removes edges one by one, as long as the mean of `|1 - faithfulness|` over the ranking prompts grows by less
    /// than this for each. What remains comes first in the order, and its size is one of the sizes.
    pub prune: Option<f64>,
    /// What edges outside of the circuit carry.
    pub ablation: Ablation,
    /// Number of other prompts that take the place, for [`Ablation::Resample`].
    pub resamples: usize,
    /// Shares of all edges that are included, from 0 to 1. Empty with [`CircuitOptions::thresholds`].
    pub shares: Vec<f64>,
    /// Sizes of scores, descending, in place of shares: each circuit includes the edges whose mean score is as large or
    /// larger. So the prompts decide how many these are.
    pub thresholds: Vec<f64>,
    /// Number of random circuits of each size.
    pub random: usize,
    /// Seed of the random circuits, and of the choice of other prompts.
    pub seed: u64,
    /// How many cases rank the edges; the others alone measure the circuits. With 0, all cases do both.
    pub ranked_on: usize,
}

impl Default for CircuitOptions {
    fn default() -> Self {
        Self {
            score: EdgeScore::Predicted(EdgePredictor::Integrated),
            steps: 8,
            selection: Selection::Top,
            prune: None,
            ablation: Ablation::Corrupted,
            resamples: 4,
            // Those of the MIB benchmark.
            shares: vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0],
            thresholds: Vec::new(),
            random: 2,
            seed: 0,
            ranked_on: 0,
        }
    }
}
