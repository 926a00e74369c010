//! Scalars of a run.

use crate::{Scalar, Trace};

/// A scalar J of a run, readable on any scalar and so differentiable any number of times.
pub trait Observable {
    /// J of the run.
    fn read<S: Scalar>(&self, trace: &Trace<S>) -> S;
}

/// logit(target) - logit(against) at a position; without `against`, the logit itself.
#[derive(Clone, Copy, Debug)]
pub struct Logit {
    /// Token whose logit counts.
    pub target: usize,
    /// Token whose logit is taken off.
    pub against: Option<usize>,
    /// Row of the logits.
    pub position: usize,
}

impl Observable for Logit {
    fn read<S: Scalar>(&self, trace: &Trace<S>) -> S {
        let logits = trace.logits_at(self.position);
        let against = self.against.map_or(S::from_f64(0.0), |against| logits[against]);
        logits[self.target] - against
    }
}

/// `ln softmax(logits)[target]` at a position.
#[derive(Clone, Copy, Debug)]
pub struct LogProbability {
    /// Token whose probability counts.
    pub target: usize,
    /// Row of the logits.
    pub position: usize,
}

impl Observable for LogProbability {
    fn read<S: Scalar>(&self, trace: &Trace<S>) -> S {
        let logits = trace.logits_at(self.position);
        let largest = logits.iter().map(|x| x.value()).fold(f64::NEG_INFINITY, f64::max);
        let mut total = S::from_f64(0.0);
        for &x in logits {
            total += (x - S::from_f64(largest)).exp();
        }
        logits[self.target] - S::from_f64(largest) - total.ln()
    }
}

/// `<h[layer, token], direction>`.
#[derive(Clone, Copy, Debug)]
pub struct Projection<'a> {
    /// Layer of the field, 0..=L.
    pub layer: usize,
    /// Row of the field.
    pub token: usize,
    /// `[d]`.
    pub direction: &'a [f64],
}

impl Observable for Projection<'_> {
    fn read<S: Scalar>(&self, trace: &Trace<S>) -> S {
        let row = trace.h(self.layer, self.token);
        assert_eq!(row.len(), self.direction.len(), "projection: direction and row differ in length");
        let mut dot = S::from_f64(0.0);
        for (&h, &u) in row.iter().zip(self.direction) {
            dot += h * S::from_f64(u);
        }
        dot
    }
}
