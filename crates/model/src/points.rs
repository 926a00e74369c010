//! Observables by the places that they are read from: one function of one row of the field for each.

use std::collections::BTreeMap;

use resolvent_ops::observe::Coefficients;

use crate::arch::Sizes;
use crate::error::{Error, Result};
use crate::observable::{Distribution, Observable, Quantity};

/// A place of the field, and the part of an observable that is read there.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) level: usize,
    pub(crate) token: usize,
    pub(crate) part: Part,
}

/// A function of one row of the field.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// The projection on a vector `[d]`.
    Projection(Vec<f32>),
    /// A function of the row's logits.
    Logits(HeadFunction),
}

/// A function of the logits `l [V]` at one position: a weighted sum of logits, and of what observe computes of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HeadFunction {
    /// Weights of logits, by entry.
    pub(crate) logits: BTreeMap<u32, f64>,
    /// Weights of log-probabilities, by entry.
    pub(crate) log_probs: BTreeMap<u32, f64>,
    /// Weights u of probabilities, by entry.
    pub(crate) probabilities: BTreeMap<u32, f64>,
    /// Weight of the mean of log p.
    pub(crate) log_p: f64,
    /// Weight of KL(p || base).
    pub(crate) to_base: f64,
    /// Weight of KL(base || p).
    pub(crate) from_base: f64,
    /// The base of both divergences.
    pub(crate) base: Option<Distribution>,
}

impl HeadFunction {
    /// Whether it is a weighted sum of logits.
    pub(crate) fn is_linear(&self) -> bool {
        self.log_probs.is_empty() && !self.needs_moments()
    }

    /// Whether it depends on more than logits and their log-sum-exp.
    pub(crate) fn needs_moments(&self) -> bool {
        !self.probabilities.is_empty() || [self.log_p, self.to_base, self.from_base].iter().any(|c| *c != 0.0)
    }

    /// Returns the weight of the log-sum-exp of the logits.
    pub(crate) fn log_sum_exp(&self) -> f64 {
        -self.log_probs.values().sum::<f64>()
    }

    /// Returns its coefficients, with the rows of its base and of its weights of probabilities and log-probabilities.
    pub(crate) fn coefficients(&self, base: Option<u32>, set: Option<u32>, targets: Option<u32>) -> Coefficients {
        Coefficients {
            log_sum_exp: self.log_sum_exp() as f32,
            log_p: self.log_p as f32,
            to_base: self.to_base as f32,
            from_base: self.from_base as f32,
            base,
            set,
            targets,
        }
    }

    /// Returns the entries whose logits its value needs.
    pub(crate) fn entries(&self) -> impl Iterator<Item = u32> {
        self.logits.keys().chain(self.log_probs.keys()).copied()
    }

    /// Returns its value, from the logits that `logit` looks up, the largest logit and the log-sum-exp above it, and
    /// the moments of observe.
    pub(crate) fn value(&self, logit: impl Fn(u32) -> f32, [most, rest]: [f32; 2], moments: [f32; 3]) -> f64 {
        let [mean, to_base, from_base] = moments.map(f64::from);
        let linear: f64 = self.logits.iter().map(|(id, weight)| weight * f64::from(logit(*id))).sum();
        let log_prob = |id: u32| (f64::from(logit(id)) - f64::from(most)) - f64::from(rest);
        let log_probs: f64 = self.log_probs.iter().map(|(id, weight)| weight * log_prob(*id)).sum();
        linear + log_probs + mean + self.to_base * to_base + self.from_base * from_base
    }

    /// Adds `weight` times `quantity` to the function.
    pub(crate) fn add(&mut self, weight: f64, quantity: &Quantity) -> Result<()> {
        match quantity {
            Quantity::Logit(id) => *self.logits.entry(*id).or_default() += weight,
            Quantity::LogProb(id) => *self.log_probs.entry(*id).or_default() += weight,
            Quantity::Prob(ids) => {
                let mut distinct = ids.clone();
                distinct.sort_unstable();
                distinct.dedup();
                distinct.into_iter().for_each(|id| *self.probabilities.entry(id).or_default() += weight);
            }
            Quantity::Entropy => self.log_p -= weight,
            Quantity::Kl(base) => {
                self.set_base(base)?;
                self.from_base += weight;
            }
            Quantity::KlFrom(base) => {
                self.set_base(base)?;
                self.to_base += weight;
            }
            Quantity::Project { .. } | Quantity::Continuation(_) => {}
        }
        Ok(())
    }

    fn set_base(&mut self, base: &Distribution) -> Result<()> {
        match self.base.get_or_insert_with(|| base.clone()) == base {
            true => Ok(()),
            false => Err(Error::Place(
                "divergences from two base distributions at one position: read them as two observables".to_owned(),
            )),
        }
    }

    /// Adds another function.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        other.base.as_ref().map_or(Ok(()), |base| self.set_base(base))?;
        for (mine, theirs) in [
            (&mut self.logits, &other.logits),
            (&mut self.log_probs, &other.log_probs),
            (&mut self.probabilities, &other.probabilities),
        ] {
            theirs.iter().for_each(|(id, weight)| *mine.entry(*id).or_default() += weight);
        }
        self.log_p += other.log_p;
        self.to_base += other.to_base;
        self.from_base += other.from_base;
        Ok(())
    }
}

impl Observable {
    /// Returns the places that it is read from, each once, in order.
    pub(crate) fn points(&self, sizes: &Sizes) -> Result<Vec<Point>> {
        let mut projections: BTreeMap<(usize, usize), Vec<f32>> = BTreeMap::new();
        let mut heads: BTreeMap<usize, HeadFunction> = BTreeMap::new();
        for term in self.terms() {
            let weight = f64::from(term.weight);
            match &term.quantity {
                Quantity::Project { level, direction } => {
                    let sum = projections.entry((*level, term.position)).or_insert_with(|| vec![0.0; direction.len()]);
                    sum.iter_mut().zip(direction).for_each(|(sum, u)| *sum += term.weight * u);
                }
                Quantity::Continuation(ids) => {
                    for (i, id) in ids.iter().enumerate() {
                        heads.entry(term.position + i).or_default().add(weight, &Quantity::LogProb(*id))?;
                    }
                }
                quantity => heads.entry(term.position).or_default().add(weight, quantity)?,
            }
        }
        let projected = |((level, token), u)| Point { level, token, part: Part::Projection(u) };
        let read = |(token, function)| Point { level: sizes.layers, token, part: Part::Logits(function) };
        Ok(projections.into_iter().map(projected).chain(heads.into_iter().map(read)).collect())
    }
}
