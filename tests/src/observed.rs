//! Observables of the model, read from runs of the reference.

use resolvent_model::{Distribution, Observable, Quantity};
use resolvent_reference::ops::{Observe, log_softmax, observe};
use resolvent_reference::{Scalar, Trace};

use crate::truth::wide;

/// Reads an observable from a reference run, on any scalar.
pub fn read<S: Scalar>(j: &Observable, trace: &Trace<S>) -> S {
    let mut sum = S::from_f64(0.0);
    for term in j.terms() {
        sum += S::from_f64(f64::from(term.weight)) * quantity(&term.quantity, term.position, trace);
    }
    sum
}

fn quantity<S: Scalar>(quantity: &Quantity, position: usize, trace: &Trace<S>) -> S {
    let logits = || trace.logits_at(position);
    let log_prob = |id: u32, position: usize| log_softmax(trace.logits_at(position)).1[id as usize];
    let total = |terms: Vec<S>| terms.into_iter().fold(S::from_f64(0.0), |sum, term| sum + term);
    match quantity {
        Quantity::Logit(id) => logits()[*id as usize],
        Quantity::LogProb(id) => log_prob(*id, position),
        Quantity::Prob(ids) => total(ids.iter().map(|id| log_prob(*id, position).exp()).collect()),
        Quantity::Entropy => observe(logits(), &Observe { log_p: -1.0, ..Default::default() }),
        Quantity::Kl(base) => {
            observe(logits(), &Observe { from_base: 1.0, log_b: Some(&log_b(base)), ..Default::default() })
        }
        Quantity::KlFrom(base) => {
            observe(logits(), &Observe { to_base: 1.0, log_b: Some(&log_b(base)), ..Default::default() })
        }
        Quantity::Continuation(ids) => {
            total(ids.iter().enumerate().map(|(i, id)| log_prob(*id, position + i)).collect())
        }
        Quantity::Project { level, direction } => {
            let row = trace.h(*level, position).iter();
            total(row.zip(direction).map(|(&h, &u)| h * S::from_f64(f64::from(u))).collect())
        }
        other => panic!("{other:?} has no reference here"),
    }
}

fn log_b(base: &Distribution) -> Vec<f64> {
    log_softmax(&wide(base.logits())).1
}
