//! Observables: scalars of a run.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Add, Mul, Neg, Sub};
use std::sync::Arc;

use crate::arch::Sizes;
use crate::error::{Error, Result};

/// A scalar J of a run: a weighted sum of terms, each read at one token.
///
/// ```
/// use resolvent_model::Observable;
///
/// let j = Observable::log_prob(5, 3) - 0.5 * Observable::log_prob(7, 3);
/// assert_eq!(j.to_string(), "logprob(#5)@3 - 0.5 * logprob(#7)@3");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observable {
    terms: Vec<Term>,
}

/// One term of an observable.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Factor of the quantity.
    pub weight: f32,
    /// The quantity.
    pub quantity: Quantity,
    /// Token position, from 0, at which it is read. Logits at a position predict the next token.
    pub position: usize,
}

/// What a term reads at its position. Probabilities are those of the next token; logarithms are natural.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Quantity {
    /// The logit of an entry of the vocabulary.
    Logit(u32),
    /// The log-probability of an entry.
    LogProb(u32),
    /// The probability of a set of entries together.
    Prob(Vec<u32>),
    /// The entropy of the distribution, in nats.
    Entropy,
    /// `KL(base || run)`, in nats: what is lost if the run stands in for the base.
    Kl(Distribution),
    /// `KL(run || base)`, in nats.
    KlFrom(Distribution),
    /// `<h[level, position], direction>`, a projection of the field.
    Project {
        /// Level, 0 to L.
        level: usize,
        /// Direction `[d]`.
        direction: Vec<f32>,
    },
    /// The log-probability of several entries, one after another: the sum of the log-probability of each where the
    /// prompt has those before it ("teacher-forced"). The prompt must contain all but the last: see
    /// [`Observable::extend`].
    Continuation(Vec<u32>),
}

/// The next-token distribution of a run at one position, as its logits `[V]`. Cloning shares it.
#[derive(Clone, PartialEq)]
pub struct Distribution(Arc<[f32]>);

impl Distribution {
    /// Returns the softmax of logits `[V]`.
    pub fn of(logits: &[f32]) -> Self {
        Self(logits.into())
    }

    /// Returns the logits.
    pub fn logits(&self) -> &[f32] {
        &self.0
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0.len())
    }
}

impl Observable {
    /// Returns the sum of `terms`; 0 without any.
    pub fn new(terms: Vec<Term>) -> Self {
        Self { terms }
    }

    /// Returns the observable of one quantity.
    pub fn of(quantity: Quantity, position: usize) -> Self {
        Self { terms: vec![Term { weight: 1.0, quantity, position }] }
    }

    /// Returns the logit of `target` at `position`.
    pub fn logit(target: u32, position: usize) -> Self {
        Self::of(Quantity::Logit(target), position)
    }

    /// Returns the logit of `target` minus that of `against` at `position`.
    pub fn logit_diff(target: u32, against: u32, position: usize) -> Self {
        Self::logit(target, position) - Self::logit(against, position)
    }

    /// Returns the mean of the logits of `targets` minus that of `against`, if there are any.
    pub fn mean_logit_diff(targets: &[u32], against: &[u32], position: usize) -> Self {
        let mean = |ids: &[u32], sign: f32| {
            let weight = sign / ids.len() as f32;
            ids.iter().map(|&id| Term { weight, quantity: Quantity::Logit(id), position }).collect::<Vec<Term>>()
        };
        Self { terms: [mean(targets, 1.0), mean(against, -1.0)].concat() }
    }

    /// Returns the log-probability of `target` at `position`.
    pub fn log_prob(target: u32, position: usize) -> Self {
        Self::of(Quantity::LogProb(target), position)
    }

    /// Returns the probability of the entries `targets` together, at `position`.
    pub fn prob(targets: &[u32], position: usize) -> Self {
        Self::of(Quantity::Prob(targets.to_vec()), position)
    }

    /// Returns the entropy at `position`.
    pub fn entropy(position: usize) -> Self {
        Self::of(Quantity::Entropy, position)
    }

    /// Returns `KL(base || run)` at `position`.
    pub fn kl(base: Distribution, position: usize) -> Self {
        Self::of(Quantity::Kl(base), position)
    }

    /// Returns `KL(run || base)` at `position`.
    pub fn kl_from(base: Distribution, position: usize) -> Self {
        Self::of(Quantity::KlFrom(base), position)
    }

    /// Returns the projection of h\[level, token\] on `direction`.
    pub fn projection(level: usize, token: usize, direction: Vec<f32>) -> Self {
        Self::of(Quantity::Project { level, direction }, token)
    }

    /// Returns the log-probability of the entries `ids` after `position`, one after another.
    pub fn continuation(ids: &[u32], position: usize) -> Self {
        Self::of(Quantity::Continuation(ids.to_vec()), position)
    }

    /// Returns the entries of the vocabulary that its terms name, each once, in order.
    pub fn entries(&self) -> Vec<u32> {
        let of = |term: &Term| match &term.quantity {
            Quantity::Logit(id) | Quantity::LogProb(id) => vec![*id],
            Quantity::Prob(ids) | Quantity::Continuation(ids) => ids.clone(),
            Quantity::Entropy | Quantity::Kl(_) | Quantity::KlFrom(_) | Quantity::Project { .. } => Vec::new(),
        };
        let ids: BTreeSet<u32> = self.terms.iter().flat_map(of).collect();
        ids.into_iter().collect()
    }

    /// Returns the terms.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Returns whether it is a weighted sum of logits and of projections of the field.
    pub fn is_linear(&self) -> bool {
        self.terms.iter().all(|term| matches!(term.quantity, Quantity::Logit(_) | Quantity::Project { .. }))
    }

    /// Returns the last token of the prompt that the observable depends on.
    pub fn position(&self) -> usize {
        self.terms.iter().map(Term::last).max().unwrap_or(0)
    }

    /// Returns the highest level of the field that it is read from: L if any term is read from logits.
    pub fn level(&self, sizes: &Sizes) -> usize {
        self.terms.iter().map(|term| term.level(sizes)).max().unwrap_or(0)
    }

    /// Returns the places of the field, level and token, that the observable is read from; each once, in order.
    pub fn places(&self, sizes: &Sizes) -> Vec<(usize, usize)> {
        let each = self.terms.iter().flat_map(|term| (term.position..=term.last()).map(|t| (term.level(sizes), t)));
        each.collect::<BTreeSet<(usize, usize)>>().into_iter().collect()
    }

    /// Returns a prompt with what a continuation at its last token needs after it: all entries but the last.
    ///
    /// Prompts of one pair are extended alike. Without such a term, this is the prompt itself.
    pub fn extend(&self, tokens: &[u32]) -> Vec<u32> {
        let mut more: &[u32] = &[];
        for term in &self.terms {
            if let Quantity::Continuation(ids) = &term.quantity
                && term.position + 1 == tokens.len()
                && ids.len() > more.len() + 1
            {
                more = &ids[..ids.len() - 1];
            }
        }
        [tokens, more].concat()
    }

    /// Checks positions, ids and lengths against the model and a prompt.
    pub(crate) fn check(&self, sizes: &Sizes, tokens: &[u32]) -> Result<()> {
        self.terms.iter().try_for_each(|term| term.check(sizes, tokens))
    }
}

impl Term {
    /// Returns the last token that the term reads.
    fn last(&self) -> usize {
        match &self.quantity {
            Quantity::Continuation(ids) => self.position + ids.len().max(1) - 1,
            _ => self.position,
        }
    }

    fn level(&self, sizes: &Sizes) -> usize {
        match self.quantity {
            Quantity::Project { level, .. } => level,
            _ => sizes.layers,
        }
    }

    fn check(&self, sizes: &Sizes, tokens: &[u32]) -> Result<()> {
        let fail = |message: String| Err(Error::Place(message));
        let (last, vocab) = (tokens.len() - 1, sizes.vocab);
        if self.position > last {
            return fail(format!("position {}: the prompt has tokens 0 to {last}", self.position));
        }
        if !self.weight.is_finite() {
            return fail(format!("a term of the observable has the weight {}: expected a finite number", self.weight));
        }
        let known = |ids: &[u32]| match ids.iter().find(|id| **id as usize >= vocab) {
            None if ids.is_empty() => fail("an observable of no tokens: name at least one".to_owned()),
            None => Ok(()),
            Some(id) => fail(format!("token #{id}: the vocabulary ends at #{}", vocab - 1)),
        };
        match &self.quantity {
            Quantity::Logit(id) | Quantity::LogProb(id) => known(&[*id]),
            Quantity::Prob(ids) => known(ids),
            Quantity::Kl(base) | Quantity::KlFrom(base) if base.0.len() != vocab => {
                fail(format!("a distribution over {} entries: the vocabulary has {vocab}", base.0.len()))
            }
            Quantity::Entropy | Quantity::Kl(_) | Quantity::KlFrom(_) => Ok(()),
            Quantity::Project { level, .. } if *level > sizes.layers => {
                fail(format!("level {level}: the field has levels 0 to {}", sizes.layers))
            }
            Quantity::Project { direction, .. } if direction.len() != sizes.d => {
                fail(format!("a direction of {} elements: the field is {} wide", direction.len(), sizes.d))
            }
            Quantity::Project { .. } => Ok(()),
            Quantity::Continuation(ids) => {
                known(ids)?;
                let needed = &ids[..ids.len() - 1];
                match tokens[self.position + 1..].starts_with(needed) {
                    true => Ok(()),
                    false => fail(format!(
                        "a continuation of {} tokens at position {}: the prompt does not have the first {} of them there; \
                         extend it with Observable::extend",
                        ids.len(),
                        self.position,
                        needed.len()
                    )),
                }
            }
        }
    }
}

impl Add for Observable {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.terms.extend(other.terms);
        self
    }
}

impl Neg for Observable {
    type Output = Self;

    fn neg(mut self) -> Self {
        self.terms.iter_mut().for_each(|term| term.weight = -term.weight);
        self
    }
}

impl Sub for Observable {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Mul<Observable> for f32 {
    type Output = Observable;

    fn mul(self, mut observable: Observable) -> Observable {
        observable.terms.iter_mut().for_each(|term| term.weight *= self);
        observable
    }
}
