//! The logit lens: what the head would answer if it read an earlier level of the field.
//!
//! ```text
//! p[l, t] = softmax(head(h[l, t]))
//! ```
//!
//! head is the model's own final norm, unembedding and cap. So p\[L, t\] is the model's answer, and lower levels show
//! which tokens their residual stream points to already. This is a reading of the field, not an effect: the blocks
//! between level l and the head are left out.
//!
//! With averaged operators, `J[l] h[l, t]` takes the place of h\[l, t\]: the blocks above act by their mean derivative.

use resolvent_model::{Edit, Observable, Run, Site, ends_at_logits};

use crate::average::AveragedOperator;
use crate::certificate::{Certificate, same, worse};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::place::shape;

/// Options of [`lens`].
#[derive(Clone, Copy, Debug)]
pub struct LensOptions<'a> {
    /// How many of the most likely tokens each place has; 0 leaves the arrays out.
    pub top: usize,
    /// Operators through which the head reads each level; the level itself without them.
    pub averaged: Option<&'a AveragedOperator>,
}

impl Default for LensOptions<'_> {
    fn default() -> Self {
        Self { top: 5, averaged: None }
    }
}

/// Reads every level of a run by the head.
///
/// Arrays: `answer [L+1, T]` (the probability of the token that is most likely at level L), `rank [L+1, T]` (of that
/// token, from 0), `entropy [L+1, T]` (nats) and `kl [L+1, T]` (`KL(p[L, t] || p[l, t])`, nats); unless `top` is 0,
/// `top_tokens [L+1, T, K]` and `top_probability [L+1, T, K]` of the K most likely tokens; and with an observable
/// `value [L+1]`: J where the rows of level l take the place of those of level L. Levels without an averaged operator
/// are NaN.
///
/// Certificate: the logits of level L are those of the run (`last_level`).
///
/// # Errors
/// An observable that does not fit or reads the field below the last level, more tokens than the vocabulary has, a
/// device error, or a check that fails.
pub fn lens(run: &Run, observable: Option<&Observable>, options: LensOptions<'_>) -> Result<Labelled> {
    let ((levels, tokens, d), sizes) = (shape(run), *run.model().sizes());
    let (vocab, top) = (sizes.vocab, options.top);
    if top > vocab {
        return Err(Error::Input(format!("{top} most likely tokens: the vocabulary has {vocab}")));
    }
    let transported = options.averaged.map(|averaged| averaged.transported(run)).transpose()?;
    let own = run.logits()?;
    let answers: Vec<Answer> = own.chunks(vocab).map(Answer::new).collect();
    let scale = own.iter().fold(1.0f64, |most, x| most.max(f64::from(x.abs())));
    let (mut read, mut apart) = (Readings::new(levels * tokens, top), 0.0);
    let each = &mut |level: usize, token: usize, logits: &[f32]| {
        read.put(level * tokens + token, logits, &answers[token]);
        if level + 1 == levels {
            let differences = own[token * vocab..].iter().zip(logits).map(|(a, b)| f64::from((a - b).abs()) / scale);
            apart = differences.fold(apart, worse);
        }
    };
    match &transported {
        None => run.lens(each)?,
        Some((levels, rows)) => run.lens_of(levels, rows, each)?,
    }
    let axes = [("level", levels), ("token", tokens)];
    let mut result = Labelled::new("lens", run)
        .with("answer", &axes, read.answer)
        .with("rank", &axes, read.rank)
        .with("entropy", &axes, read.entropy)
        .with("kl", &axes, read.kl);
    if let Some(averaged) = options.averaged {
        result = result.note("averaged_over", averaged.prompts().to_string());
    }
    if top > 0 {
        let axes = [("level", levels), ("token", tokens), ("top", top)];
        result = result.with("top_tokens", &axes, read.tokens).with("top_probability", &axes, read.probability);
    }
    if let Some(observable) = observable {
        ends_at_logits(observable, &sizes)?;
        let (which, rows) = match transported {
            Some(found) => found,
            None => ((0..levels).collect(), run.field()?),
        };
        let site = Site::level(sizes.layers, &sizes);
        let put = |(t, row): (usize, &[f32])| Edit::put(site, t, row.to_vec());
        let edits: Vec<Vec<Edit>> =
            rows.chunks(tokens * d).map(|rows| rows.chunks(d).enumerate().map(put).collect()).collect();
        let mut values = vec![f32::NAN; levels];
        for (level, value) in which.into_iter().zip(run.values_under(&edits, observable)?) {
            values[level] = value as f32;
        }
        result = result.note("observable", observable.to_string()).with("value", &[("level", levels)], values);
    }
    result.certify(Certificate::new("last_level", apart, same(run.model())))
}

/// The answer of the last level at one token.
struct Answer {
    token: usize,
    /// Log-probabilities.
    log_p: Vec<f64>,
}

impl Answer {
    fn new(logits: &[f32]) -> Self {
        let token = logits.iter().enumerate().fold(0, |best, (i, x)| if *x > logits[best] { i } else { best });
        Self { token, log_p: log_softmax(logits) }
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let above = |x: f32| f64::from(x) - f64::from(most);
    let log_sum = logits.iter().map(|&x| above(x).exp()).sum::<f64>().ln();
    logits.iter().map(|&x| above(x) - log_sum).collect()
}

/// The arrays of the result; places that are not read are NaN.
struct Readings {
    top: usize,
    answer: Vec<f32>,
    rank: Vec<f32>,
    entropy: Vec<f32>,
    kl: Vec<f32>,
    tokens: Vec<f32>,
    probability: Vec<f32>,
}

impl Readings {
    fn new(places: usize, top: usize) -> Self {
        let gaps = |count: usize| vec![f32::NAN; count];
        let [answer, rank, entropy, kl] = [(); 4].map(|()| gaps(places));
        Self { top, answer, rank, entropy, kl, tokens: gaps(places * top), probability: gaps(places * top) }
    }

    fn put(&mut self, place: usize, logits: &[f32], answer: &Answer) {
        let (log_p, top) = (log_softmax(logits), self.top);
        self.answer[place] = log_p[answer.token].exp() as f32;
        self.rank[place] = logits.iter().filter(|x| **x > logits[answer.token]).count() as f32;
        // From 0 on: rounding may leave a divergence of equal distributions just below it.
        self.entropy[place] = log_p.iter().map(|x| -x.exp() * x).sum::<f64>().max(0.0) as f32;
        let kl: f64 = answer.log_p.iter().zip(&log_p).map(|(want, got)| want.exp() * (want - got)).sum();
        self.kl[place] = kl.max(0.0) as f32;
        if top == 0 {
            return;
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        let by_size = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
        order.select_nth_unstable_by(top - 1, by_size);
        order.truncate(top);
        order.sort_unstable_by(by_size);
        for (k, id) in order.into_iter().enumerate() {
            self.tokens[place * top + k] = id as f32;
            self.probability[place * top + k] = log_p[id].exp() as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_those_of_a_softmax() {
        let last = [0.0, 2.0, 1.0, -1.0];
        let answer = Answer::new(&last);
        assert_eq!(answer.token, 1);
        let mut read = Readings::new(3, 2);
        read.put(0, &last, &answer);
        read.put(1, &[0.0; 4], &answer);
        assert!(read.kl[2].is_nan() && read.tokens[4].is_nan());
        let sum: f32 = last.iter().map(|x: &f32| x.exp()).sum();
        assert!((read.answer[0] - 2f32.exp() / sum).abs() < 1e-6 && (read.answer[1] - 0.25).abs() < 1e-6);
        assert_eq!((read.rank[0], read.kl[0]), (0.0, 0.0));
        assert!((read.entropy[1] - 4f32.ln()).abs() < 1e-6);
        // KL to the uniform distribution is log n minus the entropy.
        assert!((read.kl[1] - (4f32.ln() - read.entropy[0])).abs() < 1e-6);
        assert_eq!(read.tokens[..4], [1.0, 2.0, 0.0, 1.0]);
        assert!(read.probability[0] > read.probability[1]);
    }
}
