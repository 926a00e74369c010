//! Logits, and values of observables, of runs.

use crate::checkpoint::first_non_finite;
use crate::error::{Error, Result};
use crate::grouped::group_by;
use crate::observable::Observable;
use crate::points::Point;
use crate::read::finish;
use crate::run::{Base, EditedPrompt, Run};

impl Run {
    /// Returns the logits `[T, V]` of every position.
    ///
    /// # Errors
    /// A value that is not finite, or a device error.
    pub fn logits(&self) -> Result<Vec<f32>> {
        logits_of(&(0..self.tokens().len()).map(|t| (self, t)).collect::<Vec<_>>())
    }

    /// Returns the logits `[V]` at one position.
    ///
    /// # Errors
    /// A position outside of the prompt, a value that is not finite, or a device error.
    pub fn logits_at(&self, position: usize) -> Result<Vec<f32>> {
        logits_of(&[(self, position)])
    }

    /// Returns the value of an observable.
    ///
    /// # Errors
    /// An observable that does not fit the model or the prompt, or a device error.
    pub fn value(&self, observable: &Observable) -> Result<f64> {
        Ok(values(&[(self, observable)])?[0])
    }

    /// Returns the operations of one more forward pass like this one that reads `observable`. The pass is only
    /// recorded.
    ///
    /// # Errors
    /// An observable that does not fit the model or the prompt, or a device error.
    pub fn pass_operations(&self, observable: &Observable) -> Result<f64> {
        observable.check(self.sizes(), self.tokens())?;
        let (mut rec, points) = (self.device().record(), observable.points(self.sizes())?);
        let prompt = EditedPrompt { tokens: self.tokens(), edits: self.edits() };
        let base = Base::record(&mut rec, self.model(), &[prompt], self.program().clone())?;
        base.record_parts(&mut rec, &[(0, 0, &points)])?;
        Ok(rec.work().flops)
    }
}

/// Returns the value of each observable in its run. Runs of one device wait once, for all of them.
///
/// # Errors
/// An observable that does not fit its run's model or prompt, or a device error.
pub fn values(readings: &[(&Run, &Observable)]) -> Result<Vec<f64>> {
    let parts = parts(readings)?;
    let mut values = Vec::with_capacity(readings.len());
    for ((run, observable), (_, parts)) in readings.iter().zip(parts) {
        values.push(run.finite_value(total(&parts), || format!("token {}", observable.position()))?);
    }
    Ok(values)
}

/// Returns the logits `[V]` at one position of each run, one after another. Runs of one call of
/// [`crate::Model::run_all`] share batches.
///
/// # Errors
/// A position outside of a prompt, a value that is not finite, or a device error.
pub fn logits_of(rows: &[(&Run, usize)]) -> Result<Vec<f32>> {
    let Some((first, _)) = rows.first() else { return Ok(Vec::new()) };
    let vocab = first.sizes().vocab;
    let mut logits = vec![0.0; rows.len() * vocab];
    for (run, position) in rows {
        let last = run.tokens().len() - 1;
        if *position > last {
            return Err(Error::Place(format!("position {position}: the prompt has tokens 0 to {last}")));
        }
    }
    for part in group_by(rows, |(a, _), (b, _)| a.shares_batch(b)) {
        let base = &part.items[0].0.base;
        let base_rows: Vec<usize> = part.items.iter().map(|(run, t)| run.span(0, 0).primal + t).collect();
        let found = base.all_logits(first.device().record(), &base.normed, &base_rows, None)?;
        for (&place, of_row) in part.places.iter().zip(found.chunks(vocab)) {
            logits[place * vocab..][..vocab].copy_from_slice(of_row);
        }
    }
    if let Some(at) = first_non_finite(&logits) {
        let ((run, token), id) = (rows[at / vocab], at % vocab);
        return Err(run.not_finite("the logit", logits[at], &format!("token {token}, entry #{id}")));
    }
    Ok(logits)
}

/// Returns J from the values of its parts; without any it is 0, where `sum` is -0.
pub(crate) fn total(parts: &[f64]) -> f64 {
    parts.iter().fold(0.0, |total, part| total + part)
}

/// Returns the points of each observable, with the values of its parts in its run.
pub(crate) fn parts(readings: &[(&Run, &Observable)]) -> Result<Vec<(Vec<Point>, Vec<f64>)>> {
    let mut all = Vec::with_capacity(readings.len());
    for (run, observable) in readings {
        observable.check(run.sizes(), run.tokens())?;
        all.push(observable.points(run.sizes())?);
    }
    let mut values: Vec<Vec<f64>> = all.iter().map(|points| vec![0.0; points.len()]).collect();
    let Some((first, _)) = readings.first() else { return Ok(Vec::new()) };
    let (mut rec, mut places, mut pending) = (first.device().record(), Vec::new(), Vec::new());
    let numbered: Vec<(usize, &Run)> = readings.iter().map(|(run, _)| *run).enumerate().collect();
    for part in group_by(&numbered, |(_, a), (_, b)| a.shares_batch(b)) {
        let points = part.items.iter().map(|&(n, run)| (n, run.span(0, 0).primal, &all[n][..]));
        for (of_level, reads) in part.items[0].1.base.record_parts(&mut rec, &points.collect::<Vec<_>>())? {
            places.push(of_level);
            pending.push(reads);
        }
    }
    first.device().submit(rec)?;
    for (of_level, found) in places.into_iter().zip(finish(first.device(), &pending)?) {
        of_level.into_iter().zip(found).for_each(|((n, i), value)| values[n][i] = value);
    }
    Ok(all.into_iter().zip(values).collect())
}
