//! Models whose weights are replaced: the same shape, tokenizer and families, without what training has found.
//!
//! They are null models: what holds for them too is no result of training.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::arch::{Architecture, NormKind};
use crate::error::{Error, Result, shown};
use crate::random::{below, nearly_normal, stream};
use crate::source::WeightSource;

/// What takes the place of the weights of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Replacement {
    /// Weights as before training: every element of a matrix or an embedding is normal with standard deviation 0.02,
    /// biases are 0, and norms have no effect besides the normalisation.
    Random {
        /// The seed.
        seed: u64,
    },
    /// The elements of each matrix and each embedding in random order. Biases and the gains of norms stay.
    Permuted {
        /// The seed.
        seed: u64,
    },
}

/// Standard deviation of the elements of [`Replacement::Random`], as GPT-2 is initialised.
const STD: f32 = 0.02;

impl Replacement {
    /// Splits the name of a replaced model, such as `permuted:3@gpt2`, into the replacement and the name of the model.
    /// `None` if the name is another one.
    ///
    /// # Errors
    /// An invalid seed, or no name behind the `@`.
    pub fn split(name: &str) -> Result<Option<(Self, &str)>> {
        let Some((kind, model)) = name.split_once('@') else { return Ok(None) };
        if !["random", "permuted"].contains(&kind.split(':').next().unwrap_or(kind)) {
            return Ok(None);
        }
        if model.is_empty() {
            return Err(Error::Place(format!("no model behind `{}`: expected {kind}@MODEL", shown(name))));
        }
        Ok(Some((kind.parse()?, model)))
    }
}

impl FromStr for Replacement {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, seed) = text.split_once(':').unwrap_or((text, "0"));
        let seed = seed.parse().map_err(|_| {
            Error::Place(format!("invalid seed `{}`: expected {}:SEED with a whole number", shown(seed), shown(kind)))
        })?;
        match kind {
            "random" => Ok(Self::Random { seed }),
            "permuted" => Ok(Self::Permuted { seed }),
            _ => Err(Error::Place(format!("invalid replacement `{}`: expected random or permuted", shown(kind)))),
        }
    }
}

impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random { seed } => write!(f, "random:{seed}"),
            Self::Permuted { seed } => write!(f, "permuted:{seed}"),
        }
    }
}

/// A source whose weights are replaced.
pub(crate) struct Replaced<'a> {
    replacement: Replacement,
    source: &'a dyn WeightSource,
    /// Shapes of the tensors by name.
    shapes: BTreeMap<String, Vec<usize>>,
    /// The gain that a norm stores if it has no effect.
    gain: f32,
    /// The tensor that was permuted last. Its rows are read in several chunks.
    last: RefCell<Option<(String, Vec<f32>)>>,
}

impl<'a> Replaced<'a> {
    pub(crate) fn new(replacement: Replacement, source: &'a dyn WeightSource, architecture: &Architecture) -> Self {
        let gain = match architecture.norm {
            NormKind::Layer(_) => 1.0,
            NormKind::Rms { offset } => 1.0 - f32::from(offset),
        };
        let shapes = architecture.tensors().into_iter().collect();
        Self { replacement, source, shapes, gain, last: RefCell::new(None) }
    }

    /// Fills `out` with `rows` of a matrix of the given shape whose elements are permuted.
    fn permuted(&self, name: &str, shape: &[usize], rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let mut last = self.last.borrow_mut();
        let Replacement::Permuted { seed } = self.replacement else {
            return self.source.read(name, rows, out);
        };
        if last.as_ref().is_none_or(|(known, _)| known != name) {
            let mut elements = vec![0.0; shape.iter().product()];
            self.source.read(name, 0..shape[0], &mut elements)?;
            let mut state = stream(seed, name);
            for i in (1..elements.len()).rev() {
                elements.swap(i, below(&mut state, i + 1));
            }
            *last = Some((name.to_owned(), elements));
        }
        let width = out.len() / rows.len().max(1);
        if let Some((_, elements)) = last.as_ref() {
            out.copy_from_slice(&elements[rows.start * width..][..out.len()]);
        }
        Ok(())
    }
}

impl WeightSource for Replaced<'_> {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let shape = self.shapes.get(name).map_or(&[][..], Vec::as_slice);
        let is_matrix = shape.len() > 1;
        match self.replacement {
            Replacement::Permuted { .. } if is_matrix => self.permuted(name, shape, rows, out),
            Replacement::Permuted { .. } => self.source.read(name, rows, out),
            Replacement::Random { seed } if is_matrix => {
                let (stream, first) = (stream(seed, name), rows.start * (out.len() / rows.len().max(1)));
                for (i, out) in out.iter_mut().enumerate() {
                    *out = STD * nearly_normal(stream, (first + i) as u64);
                }
                Ok(())
            }
            Replacement::Random { .. } => {
                out.fill(if name.ends_with(".bias") { 0.0 } else { self.gain });
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{RandomWeights, tiny};

    fn all(source: &dyn WeightSource, name: &str, [rows, width]: [usize; 2]) -> Vec<f32> {
        let mut out = vec![0.0; rows * width];
        // In two parts, as an upload reads.
        let (head, tail) = out.split_at_mut(rows / 2 * width);
        source.read(name, 0..rows / 2, head).expect("rows");
        source.read(name, rows / 2..rows, tail).expect("rows");
        out
    }

    #[test]
    fn permuted_matrices_have_the_same_elements_in_another_order() {
        let (architecture, weights) = (Architecture::from(tiny()), RandomWeights::new(1));
        let permuted = |seed| Replaced::new(Replacement::Permuted { seed }, &weights, &architecture);
        let (name, shape) = ("h.0.mlp.c_fc.weight", [32, 128]);
        let before = all(&weights, name, shape);
        let after = all(&permuted(0), name, shape);
        assert_ne!(before, after);
        assert_ne!(after, all(&permuted(1), name, shape));
        assert_eq!(after, all(&permuted(0), name, shape));
        let sorted = |mut x: Vec<f32>| {
            x.sort_by(f32::total_cmp);
            x
        };
        assert_eq!(sorted(before), sorted(after));
        let gain = "h.0.ln_1.weight";
        assert_eq!(all(&permuted(0), gain, [32, 1]), all(&weights, gain, [32, 1]), "vectors stay");
    }

    #[test]
    fn random_weights_are_those_before_training() {
        let (architecture, weights) = (Architecture::from(tiny()), RandomWeights::new(1).with_std(3.0));
        let random = Replaced::new(Replacement::Random { seed: 0 }, &weights, &architecture);
        assert_eq!(all(&random, "h.0.ln_1.weight", [32, 1]), [1.0; 32]);
        assert_eq!(all(&random, "h.0.ln_1.bias", [32, 1]), [0.0; 32]);
        let w = all(&random, "h.0.mlp.c_fc.weight", [32, 128]);
        let deviation = (w.iter().map(|x| x * x).sum::<f32>() / w.len() as f32).sqrt();
        assert!((deviation / STD - 1.0).abs() < 0.05, "{deviation}");
    }

    #[test]
    fn names_of_replaced_models() {
        let split = |name| Replacement::split(name).map_err(|e| e.to_string());
        assert_eq!(split("permuted@gpt2"), Ok(Some((Replacement::Permuted { seed: 0 }, "gpt2"))));
        assert_eq!(split("random:7@a/b"), Ok(Some((Replacement::Random { seed: 7 }, "a/b"))));
        assert_eq!((split("gpt2@main"), split("random:7")), (Ok(None), Ok(None)));
        assert!(split("random:x@gpt2").is_err_and(|e| e.contains("random:SEED")));
        assert!(split("permuted@").is_err_and(|e| e.contains("permuted@MODEL")));
        let seven = Replacement::Random { seed: 7 };
        assert_eq!(seven.to_string().parse::<Replacement>().ok(), Some(seven));
    }
}
