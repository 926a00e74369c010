//! How effects are reduced: sensitivities, ranks and prompts.

use std::fmt;
use std::str::FromStr;

use resolvent_engine::did_you_mean;

use crate::error::{Error, Result};

/// The sensitivities chi\[m, t\] that predict effects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sensitivities {
    /// Those of the corrupted run.
    FirstOrder,
    /// Those of the corrupted run in [`resolvent_model::Mode::RelP`].
    RelP,
    /// The mean over runs whose level m lies on the line from the corrupted to the clean one.
    #[default]
    Averaged,
}

impl Sensitivities {
    const ALL: [Self; 3] = [Self::FirstOrder, Self::RelP, Self::Averaged];

    /// Returns its name on the command line and in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstOrder => "first_order",
            Self::RelP => "relp",
            Self::Averaged => "averaged",
        }
    }
}

impl fmt::Display for Sensitivities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Sensitivities {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| {
            let meant = did_you_mean(text, Self::ALL.map(Self::name));
            Error::Input(format!("invalid sensitivities `{text}`: expected first_order, relp or averaged{meant}"))
        })
    }
}

/// Options of [`super::reduce`].
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceOptions {
    /// The level m at which effects are reduced; `None` selects the middle one.
    pub level: Option<usize>,
    /// Number of prompts, the first ones, from which the directions come; `None` selects half of them.
    pub train: Option<usize>,
    /// Numbers of directions, ascending. Those above the width of the field are left out.
    pub ranks: Vec<usize>,
    /// The sensitivities that predict effects.
    pub sensitivities: Sensitivities,
    /// Runs on the line between the prompts, of [`Sensitivities::Averaged`].
    pub steps: usize,
    /// Seed of everything that is drawn at random.
    pub seed: u64,
}

impl Default for ReduceOptions {
    fn default() -> Self {
        let ranks = vec![1, 2, 4, 8, 16, 32, 64];
        Self { level: None, train: None, ranks, sensitivities: Sensitivities::default(), steps: 8, seed: 0 }
    }
}

/// Smallest number of prompts from which directions come, and on which they are measured.
const LEAST: usize = 2;

impl ReduceOptions {
    /// Returns the level, and the number of training prompts out of `cases`.
    pub(super) fn resolved(&self, layers: usize, cases: usize) -> Result<(usize, usize)> {
        let input = |text: String| Err(Error::Input(text));
        let level = self.level.unwrap_or(layers / 2);
        if level > layers {
            return input(format!("level {level} is above the last one, {layers}"));
        }
        if self.ranks.is_empty() || self.ranks.contains(&0) || !self.ranks.is_sorted_by(|a, b| a < b) {
            return input(format!("invalid ranks {:?}: expected ascending numbers from 1", self.ranks));
        }
        if self.steps == 0 {
            return input("averaged sensitivities need one step or more".to_owned());
        }
        let train = self.train.unwrap_or(cases / 2);
        if train < LEAST || cases < train + LEAST {
            return input(format!(
                "{train} of {cases} prompts give the directions and the others measure them; both need {LEAST} or more"
            ));
        }
        Ok((level, train))
    }
}
