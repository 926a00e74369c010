//! Observables: scalars of a run.

use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::error::{Error, Result};

/// A scalar J of a run, read from its logits or from its field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Observable {
    /// `sum_i weight_i logit[position, id_i]`: a logit, or a difference of two.
    Logits {
        /// Token position, from 0.
        position: usize,
        /// Vocabulary entries and their weights.
        terms: Vec<(u32, f32)>,
    },
    /// `ln softmax(logits[position])[target]`, in nats.
    LogProb {
        /// Token position, from 0.
        position: usize,
        /// Vocabulary entry.
        target: u32,
    },
    /// `KL(base || run)` of the next token at `position`, in nats: 0 if the run predicts what the base run predicts.
    Divergence {
        /// Token position, from 0.
        position: usize,
        /// The base run's distribution there.
        base: Distribution,
    },
    /// `<h[level, token], direction>`
    Field {
        /// Level, 0 to L.
        level: usize,
        /// Token position, from 0.
        token: usize,
        /// Direction `[d]`.
        direction: Vec<f32>,
    },
}

/// The next-token distribution of a run at one position, as log-probabilities `[V]`. Cloning shares it.
#[derive(Clone, PartialEq)]
pub struct Distribution(Arc<[f64]>);

impl Distribution {
    /// Returns `ln softmax(logits)` of logits `[V]`.
    pub fn of(logits: &[f32]) -> Self {
        let total = log_sum_exp(logits);
        Self(logits.iter().map(|&l| f64::from(l) - total).collect())
    }

    /// Returns the log-probabilities `[V]`, in nats.
    pub fn log_probabilities(&self) -> &[f64] {
        &self.0
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0.len())
    }
}

impl Observable {
    /// Returns the observable that is the logit of `target` at `position`.
    pub fn logit(target: u32, position: usize) -> Self {
        Self::Logits { position, terms: vec![(target, 1.0)] }
    }

    /// Returns the observable that is the logit of `target` minus that of `against` at `position`.
    pub fn logit_diff(target: u32, against: u32, position: usize) -> Self {
        Self::Logits { position, terms: vec![(target, 1.0), (against, -1.0)] }
    }

    /// Returns the observable that is the log-probability of `target` at `position`.
    pub fn log_prob(target: u32, position: usize) -> Self {
        Self::LogProb { position, target }
    }

    /// Returns the last token of the prompt that the observable depends on.
    pub fn position(&self) -> usize {
        match self {
            Self::Logits { position, .. } | Self::LogProb { position, .. } | Self::Divergence { position, .. } => {
                *position
            }
            Self::Field { token, .. } => *token,
        }
    }

    /// Returns the level of the field from which it is read, which is L for logits.
    pub fn level(&self, config: &Config) -> usize {
        match self {
            Self::Field { level, .. } => *level,
            _ => config.n_layer,
        }
    }

    /// Checks positions, ids and lengths against the model and a prompt of `tokens` tokens.
    pub(crate) fn check(&self, config: &Config, tokens: usize) -> Result<()> {
        if self.position() >= tokens {
            let (position, last) = (self.position(), tokens - 1);
            return Err(Error::Place(format!("position {position}: the prompt has tokens 0 to {last}")));
        }
        let vocab = config.vocab_size;
        let known = |id: u32| match (id as usize) < vocab {
            true => Ok(()),
            false => Err(Error::Place(format!("token #{id}: the vocabulary ends at #{}", vocab - 1))),
        };
        match self {
            Self::Logits { terms, .. } => terms.iter().try_for_each(|(id, _)| known(*id)),
            Self::LogProb { target, .. } => known(*target),
            Self::Divergence { base, .. } if base.0.len() != vocab => {
                let have = base.0.len();
                Err(Error::Place(format!("a distribution over {have} entries: the vocabulary has {vocab}")))
            }
            Self::Divergence { .. } => Ok(()),
            Self::Field { level, .. } if *level > config.n_layer => {
                Err(Error::Place(format!("level {level}: the field has levels 0 to {}", config.n_layer)))
            }
            Self::Field { direction, .. } if direction.len() != config.n_embd => {
                let (have, want) = (direction.len(), config.n_embd);
                Err(Error::Place(format!("a direction of {have} elements: the field is {want} wide")))
            }
            Self::Field { .. } => Ok(()),
        }
    }

    /// Returns the vocabulary entries whose logits it reads; `None` means all of them.
    pub(crate) fn entries(&self) -> Option<Vec<u32>> {
        match self {
            Self::Logits { terms, .. } => Some(terms.iter().map(|(id, _)| *id).collect()),
            Self::LogProb { .. } | Self::Divergence { .. } => None,
            Self::Field { .. } => Some(Vec::new()),
        }
    }

    /// Returns J from the logits of its [`Observable::entries`], in their order.
    pub(crate) fn of_logits(&self, logits: &[f32]) -> f64 {
        match self {
            Self::Logits { terms, .. } => {
                terms.iter().zip(logits).map(|(&(_, w), &l)| f64::from(w) * f64::from(l)).sum()
            }
            Self::LogProb { target, .. } => f64::from(logits[*target as usize]) - log_sum_exp(logits),
            Self::Divergence { base, .. } => {
                let total = log_sum_exp(logits);
                let each = base.0.iter().zip(logits);
                each.map(|(&b, &l)| b.exp() * (b - (f64::from(l) - total))).sum()
            }
            Self::Field { .. } => 0.0,
        }
    }

    /// Returns dJ/dlogit of its entries, at these logits.
    pub(crate) fn slope(&self, logits: &[f32]) -> Vec<f64> {
        let probabilities = || {
            let total = log_sum_exp(logits);
            logits.iter().map(move |&l| (f64::from(l) - total).exp())
        };
        match self {
            Self::Logits { terms, .. } => terms.iter().map(|&(_, w)| f64::from(w)).collect(),
            Self::LogProb { target, .. } => {
                let mut slope: Vec<f64> = probabilities().map(|p| -p).collect();
                slope[*target as usize] += 1.0;
                slope
            }
            Self::Divergence { base, .. } => probabilities().zip(base.0.iter()).map(|(p, b)| p - b.exp()).collect(),
            Self::Field { .. } => Vec::new(),
        }
    }

    /// Returns the factor c of `d2J/dlogits2 = c (diag p - p p^T)`, with `p = softmax(logits)`.
    ///
    /// The matrix is the covariance of a draw from p.
    pub(crate) fn second_derivative(&self) -> f64 {
        match self {
            Self::LogProb { .. } => -1.0,
            Self::Divergence { .. } => 1.0,
            Self::Logits { .. } | Self::Field { .. } => 0.0,
        }
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
    most + logits.iter().map(|&l| (f64::from(l) - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The divisors are the steps that the f32 logits really take.
    #[test]
    fn slopes_match_central_differences() {
        let logits: Vec<f32> = (0..9).map(|i| ((i * 7 % 9) as f32).sin() * 2.0).collect();
        let base = Distribution::of(&logits.iter().map(|l| 1.5 - l).collect::<Vec<f32>>());
        for j in [
            Observable::Logits { position: 0, terms: (0..9).map(|i| (i, 0.5 - i as f32)).collect() },
            Observable::log_prob(4, 0),
            Observable::Divergence { position: 0, base },
        ] {
            for (i, slope) in j.slope(&logits).into_iter().enumerate() {
                let at = |step: f32| {
                    let mut moved = logits.clone();
                    moved[i] += step;
                    (j.of_logits(&moved), f64::from(moved[i]))
                };
                let ((up, high), (down, low)) = (at(0.0625), at(-0.0625));
                let quotient = (up - down) / (high - low);
                assert!((quotient - slope).abs() < 2e-3 * slope.abs().max(1.0), "{j:?} {i}: {quotient} {slope}");
            }
        }
    }

    #[test]
    fn a_run_does_not_diverge_from_itself() {
        let logits = [3.0, -80.0, 1.5, 2.0];
        let same = Observable::Divergence { position: 0, base: Distribution::of(&logits) };
        assert!(same.of_logits(&logits).abs() < 1e-15);
        assert!(same.of_logits(&[0.0; 4]) > 0.1);
        let total: f64 = Distribution::of(&logits).log_probabilities().iter().map(|l| l.exp()).sum();
        assert!((total - 1.0).abs() < 1e-12);
    }
}
