//! Observables: scalars of a run.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::linear::Seed;

/// A scalar J of a run, linear in its logits or in its field.
#[derive(Clone, Debug, PartialEq)]
pub enum Observable {
    /// `sum_i weight_i logit[position, id_i]`: a logit, or a difference of two.
    Logits {
        /// Token position, from 0.
        position: usize,
        /// Vocabulary entries and their weights.
        terms: Vec<(u32, f32)>,
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

impl Observable {
    /// The logit of `target` at `position`.
    pub fn logit(target: u32, position: usize) -> Self {
        Self::Logits { position, terms: vec![(target, 1.0)] }
    }

    /// The logit of `target` minus that of `against` at `position`.
    pub fn logit_diff(target: u32, against: u32, position: usize) -> Self {
        Self::Logits { position, terms: vec![(target, 1.0), (against, -1.0)] }
    }

    /// The token after which nothing in the prompt matters to it.
    pub fn position(&self) -> usize {
        match self {
            Self::Logits { position, .. } => *position,
            Self::Field { token, .. } => *token,
        }
    }

    /// Its derivative by logits or field: where the adjoint starts.
    pub fn seeds(&self) -> Vec<Seed> {
        match self {
            Self::Logits { position, terms } => {
                terms.iter().map(|&(id, weight)| Seed::Logit { position: *position, id, weight }).collect()
            }
            Self::Field { level, token, direction } => {
                vec![Seed::Field { level: *level, token: *token, vector: direction.clone() }]
            }
        }
    }

    /// Checks positions, ids and lengths against the model and a prompt of `tokens` tokens.
    pub(crate) fn check(&self, config: &Config, tokens: usize) -> Result<()> {
        if self.position() >= tokens {
            let (position, last) = (self.position(), tokens - 1);
            return Err(Error::Place(format!("position {position}: the prompt has tokens 0 to {last}")));
        }
        match self {
            Self::Logits { terms, .. } => {
                match terms.iter().find(|(id, _)| *id as usize >= config.vocab_size) {
                    Some((id, _)) => {
                        let last = config.vocab_size - 1;
                        Err(Error::Place(format!("token #{id}: the vocabulary ends at #{last}")))
                    }
                    None => Ok(()),
                }
            }
            Self::Field { level, direction, .. } => {
                if *level > config.n_layer {
                    return Err(Error::Place(format!(
                        "level {level}: the field has levels 0 to {}",
                        config.n_layer
                    )));
                }
                if direction.len() != config.n_embd {
                    let (have, want) = (direction.len(), config.n_embd);
                    return Err(Error::Place(format!(
                        "a direction of {have} numbers: the field is {want} wide"
                    )));
                }
                Ok(())
            }
        }
    }
}
