//! The head: final norm, unembedding and the functions of the logits that observables read, with all derivatives.
//!
//! Everything works on chosen rows of the field's last level, each with a [`HeadFunction`]. A weighted sum of logits
//! reads its own entries of the vocabulary. Other functions take all logits of a row, which stay on the device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::observe::{self, Coefficients, Observed, Sources};
use resolvent_ops::softcap::{CapPoints, SoftCap};
use resolvent_ops::splice::{RowPlan, RowSource};
use resolvent_ops::{Op, Residuals, Rows, Span, add};

use crate::curvature::Curvature;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::points::HeadFunction;

/// A row of a tensor `[_, d]`, and the function that is read there.
pub(crate) type HeadRow<'a> = (usize, &'a HeadFunction);

/// Rows of one pass through the final norm.
#[derive(Clone, Copy)]
pub(crate) struct NormRows<'a> {
    /// The final norm, in the mode of the pass.
    pub(crate) final_norm: &'a Arc<dyn Op>,
    /// The residuals of the run's final norm.
    pub(crate) residuals: &'a Residuals,
    /// The token of each row.
    pub(crate) spans: &'a [Span],
}

impl Model {
    /// Returns some rows of a `[_, d]` tensor.
    pub(crate) fn select_rows(&self, rec: &mut Recording, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let [all, d] = [0, 1].map(|i| x.shape().lengths()[i]);
        if rows.len() == all && rows.iter().enumerate().all(|(i, &row)| i == row) {
            return Ok(x.clone());
        }
        let sources: Vec<RowSource> = rows.iter().map(|&row| RowSource::X(row)).collect();
        Ok(RowPlan::new(self.device(), d, &sources, &[])?.primal(rec, x, x)?)
    }

    /// Returns the largest number of rows of which all logits, and what observe makes of them, fit a batch.
    pub(crate) fn most_logit_rows(&self) -> usize {
        let row = 4 * self.sizes().vocab as u64;
        // With a cap, the logits before it and the turned cotangents are rows too.
        let tensors = if self.cap().is_some() { 10 } else { 6 };
        let by_memory = self.device().batch_bytes() / (tensors * row + self.0.weights.unembed.bytes_of_sums() as u64);
        (self.device().info().max_binding / row).min(by_memory).max(1) as usize
    }

    /// Returns the soft-cap of the logits, if the model has one.
    pub(crate) fn cap(&self) -> Option<SoftCap> {
        self.architecture().logit_cap.map(|cap| SoftCap { cap: cap as f32 })
    }

    /// Returns whether a function of a row is more than a weighted sum of what the unembedding gives.
    pub(crate) fn is_curved(&self, function: &HeadFunction) -> bool {
        self.cap().is_some() || !function.is_linear()
    }

    /// Records functions of some rows of `x [_, d]`, the final norm's output.
    pub(crate) fn record_head(&self, rec: &mut Recording, x: &Tensor, reads: &[HeadRow<'_>]) -> Result<PendingHead> {
        let (linear, curved): (Vec<usize>, Vec<usize>) = (0..reads.len()).partition(|&i| reads[i].1.is_linear());
        rec.scope("unembed");
        let part = |places: &[usize]| -> Vec<HeadRow<'_>> { places.iter().map(|&i| reads[i]).collect() };
        let mut parts = Vec::new();
        if !linear.is_empty() {
            let reading = self.read_linear(rec, x, &part(&linear))?;
            parts.push((linear, reading));
        }
        for places in curved.chunks(self.most_logit_rows()) {
            let reading = self.read_curved(rec, x, &part(places))?;
            parts.push((places.to_vec(), reading));
        }
        Ok(PendingHead { parts })
    }

    /// Records what weighted sums of logits are read from: only the entries that they name.
    fn read_linear(&self, rec: &mut Recording, x: &Tensor, reads: &[HeadRow<'_>]) -> Result<Reading> {
        let ids = entries(reads);
        let rows: Vec<usize> = reads.iter().map(|read| read.0).collect();
        let x = self.select_rows(rec, x, &rows)?;
        let named = self.device().upload("wanted", &[("wanted", ids.len())], &ids)?;
        let logits = self.0.weights.unembed.primal(rec, &x, &named)?;
        let logits = self.cap().map_or(Ok(logits.clone()), |cap| cap.primal(rec, &logits))?;
        Ok(Reading { ids, logits, totals: None, moments: None })
    }

    /// Records what functions of all logits of a row are read from.
    fn read_curved(&self, rec: &mut Recording, x: &Tensor, reads: &[HeadRow<'_>]) -> Result<Reading> {
        let ids = entries(reads);
        let rows: Vec<usize> = reads.iter().map(|read| read.0).collect();
        let functions: Vec<&HeadFunction> = reads.iter().map(|read| read.1).collect();
        let logits = self.logits(rec, x, &rows)?;
        let totals = observe::log_sum_exp(rec, &logits)?;
        let named = self.device().upload("wanted", &[("wanted", ids.len())], &ids)?;
        // From the same product as the log-sum-exp: their difference cancels where an entry is nearly certain.
        let picked = observe::pick(rec, &logits, &named)?;
        let moments = match functions.iter().any(|f| f.needs_moments()) {
            true => Some(self.observe(rec, (&logits, &totals), &functions)?.moments),
            false => None,
        };
        Ok(Reading { ids, logits: picked, totals: Some(totals), moments })
    }

    /// Records the cotangents of h\[L\] `[rows, d]` for functions of rows of `x`, the final norm's output of the run.
    pub(crate) fn head_vjp(
        &self,
        rec: &mut Recording,
        x: &Tensor,
        reads: &[HeadRow<'_>],
        norm: &NormRows<'_>,
    ) -> Result<Tensor> {
        rec.scope("unembed");
        let x_bar = self.normed_vjp(rec, x, reads)?.0;
        self.through_norm(rec, norm, &x_bar)
    }

    /// Records the cotangents of the final norm's output `[rows, d]`, and keeps what second order needs.
    pub(crate) fn normed_vjp(
        &self,
        rec: &mut Recording,
        x: &Tensor,
        reads: &[HeadRow<'_>],
    ) -> Result<(Tensor, Option<Curvature>)> {
        if let Some(cap) = self.cap() {
            return self.capped_vjp(rec, x, reads, cap);
        }
        let (unembed, n) = (&self.0.weights.unembed, reads.len());
        let linear = self.linear_vjp(rec, reads)?;
        let curved: Vec<usize> = (0..n).filter(|&i| !reads[i].1.is_linear()).collect();
        if let (Some(linear), true) = (&linear, curved.is_empty()) {
            return Ok((linear.clone(), None));
        }
        let rows: Vec<usize> = curved.iter().map(|&i| reads[i].0).collect();
        let functions: Vec<&HeadFunction> = curved.iter().map(|&i| reads[i].1).collect();
        let logits = self.logits(rec, x, &rows)?;
        let total = observe::log_sum_exp(rec, &logits)?;
        let observed = self.observe(rec, (&logits, &total), &functions)?;
        let sloped = observed.slope(rec)?;
        let curved_bar = unembed.vjp_all(rec, &sloped.slope)?;
        let curved_bar = self.spread_rows(rec, &curved_bar, &curved, n)?;
        let functions = functions.into_iter().cloned().collect();
        let x_bar = linear.map_or(Ok(curved_bar.clone()), |linear| add::add(rec, &linear, &curved_bar))?;
        Ok((x_bar, Some(Curvature { observed, sloped, functions, reads: curved, capped: None })))
    }

    /// Records the same where logits have a soft-cap: every function is then curved.
    fn capped_vjp(
        &self,
        rec: &mut Recording,
        x: &Tensor,
        reads: &[HeadRow<'_>],
        cap: SoftCap,
    ) -> Result<(Tensor, Option<Curvature>)> {
        let (device, vocab, n) = (self.device(), self.sizes().vocab, reads.len());
        let (rows, functions): (Vec<usize>, Vec<&HeadFunction>) = reads.iter().copied().unzip();
        let raw = self.raw_logits(rec, x, &rows)?;
        let logits = cap.primal(rec, &raw)?;
        let total = observe::log_sum_exp(rec, &logits)?;
        let observed = self.observe(rec, (&logits, &total), &functions)?;
        let sloped = observed.slope(rec)?;
        let mut weights = vec![0.0; n * vocab];
        for (function, row) in functions.iter().zip(weights.chunks_mut(vocab)) {
            function.logits.iter().for_each(|(id, weight)| row[*id as usize] = *weight as f32);
        }
        let dims = [("rows", n), ("vocab", vocab)];
        let slope = add::add(rec, &sloped.slope, &device.upload("logits.bar", &dims, &weights)?)?;
        let own: Vec<u32> = (0..n as u32).collect();
        let points = &device.upload("points", &[("rows", n)], &own)?;
        let raw_bar = cap.slope(rec, CapPoints { x: &raw, points }, &slope)?;
        let x_bar = self.0.weights.unembed.vjp_all(rec, &raw_bar)?;
        let functions = functions.into_iter().cloned().collect();
        let capped = Some((cap, [raw, slope]));
        Ok((x_bar, Some(Curvature { observed, sloped, functions, reads: (0..n).collect(), capped })))
    }

    /// Records the cotangents `[rows, d]` of the weighted logits of functions; nothing if all of them are curved and
    /// none has any.
    fn linear_vjp(&self, rec: &mut Recording, reads: &[HeadRow<'_>]) -> Result<Option<Tensor>> {
        let ids: BTreeSet<u32> = reads.iter().flat_map(|(_, function)| function.logits.keys().copied()).collect();
        if ids.is_empty() && reads.iter().all(|(_, function)| !function.is_linear()) {
            return Ok(None);
        }
        // A function without any term is linear: entry 0 of weight 0 gives it a row of zeros.
        let ids: Vec<u32> = if ids.is_empty() { vec![0] } else { ids.into_iter().collect() };
        let mut weights = vec![0.0; reads.len() * ids.len()];
        for ((_, function), row) in reads.iter().zip(weights.chunks_mut(ids.len())) {
            for (id, weight) in &function.logits {
                if let Ok(column) = ids.binary_search(id) {
                    row[column] = *weight as f32;
                }
            }
        }
        let device = self.device();
        let named = device.upload("wanted", &[("wanted", ids.len())], &ids)?;
        let bar = device.upload("logits.bar", &[("rows", reads.len()), ("wanted", ids.len())], &weights)?;
        Ok(Some(self.0.weights.unembed.vjp(rec, &bar, &named)?))
    }

    /// Puts the rows of `x [m, d]` at `places` among `n` rows, with zeros elsewhere.
    fn spread_rows(&self, rec: &mut Recording, x: &Tensor, places: &[usize], n: usize) -> Result<Tensor> {
        if places.len() == n {
            return Ok(x.clone());
        }
        let mut sources = vec![RowSource::Zero; n];
        places.iter().enumerate().for_each(|(i, &place)| sources[place] = RowSource::X(i));
        Ok(RowPlan::new(self.device(), x.shape().lengths()[1], &sources, &[])?.primal(rec, x, x)?)
    }

    /// Records the vjp of the final norm.
    fn through_norm(&self, rec: &mut Recording, norm: &NormRows<'_>, x_bar: &Tensor) -> Result<Tensor> {
        let rows = Rows::new(self.device(), norm.spans)?;
        single(norm.final_norm.vjp(rec, &rows, norm.residuals, x_bar, &[None])?)
    }

    /// Records the logits `[rows, V]` of some rows of `x`.
    pub(crate) fn logits(&self, rec: &mut Recording, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let logits = self.raw_logits(rec, x, rows)?;
        self.cap().map_or(Ok(logits.clone()), |cap| Ok(cap.primal(rec, &logits)?))
    }

    /// Records tangents of the logits `[rows, V]`. `points` names the row of `normed`, the final norm's output, of
    /// which each row has a tangent.
    pub(crate) fn logit_tangents(
        &self,
        rec: &mut Recording,
        (x_dot, rows): (&Tensor, &[usize]),
        (normed, points): (&Tensor, &[usize]),
    ) -> Result<Tensor> {
        let tangents = self.raw_logits(rec, x_dot, rows)?;
        let Some(cap) = self.cap() else { return Ok(tangents) };
        let mut distinct = Vec::new();
        let points: Vec<u32> = points.iter().map(|point| place_of(&mut distinct, point)).collect();
        let distinct: Vec<usize> = distinct.into_iter().copied().collect();
        let x = &self.raw_logits(rec, normed, &distinct)?;
        let points = &self.device().upload("points", &[("rows", rows.len())], &points)?;
        Ok(cap.slope(rec, CapPoints { x, points }, &tangents)?)
    }

    /// Records the same before the soft-cap, if there is one.
    pub(crate) fn raw_logits(&self, rec: &mut Recording, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let x = self.select_rows(rec, x, rows)?;
        Ok(self.0.weights.unembed.primal_all(rec, &x)?)
    }

    /// Observes functions of rows of logits, one each.
    fn observe(
        &self,
        rec: &mut Recording,
        (logits, total): (&Tensor, &Tensor),
        functions: &[&HeadFunction],
    ) -> Result<Observed> {
        let (device, vocab) = (self.device(), self.sizes().vocab);
        let (mut bases, mut sets, mut coefficients) = (Vec::new(), Vec::new(), Vec::<Coefficients>::new());
        for function in functions {
            let base = function.base.as_ref().map(|base| place_of(&mut bases, base));
            let mut set = |weights| -> Option<u32> {
                let weights: &BTreeMap<u32, f64> = weights;
                (!weights.is_empty()).then(|| place_of(&mut sets, weights))
            };
            let (set, targets) = (set(&function.probabilities), set(&function.log_probs));
            coefficients.push(function.coefficients(base, set, targets));
        }
        let log_p = observe::log_p(rec, logits, total)?;
        let rows =
            |name: &str, data: Vec<f32>| device.upload(name, &[("rows", data.len() / vocab), ("vocab", vocab)], &data);
        // Bindings may not be empty: where no function needs a source, log p is bound and not read.
        let log_b = match bases.is_empty() {
            true => log_p.clone(),
            false => {
                let bases: Vec<f32> = bases.iter().flat_map(|base| base.logits()).copied().collect();
                let bases = rows("base", bases)?;
                let total = observe::log_sum_exp(rec, &bases)?;
                observe::log_p(rec, &bases, &total)?
            }
        };
        let u = match sets.is_empty() {
            true => log_p.clone(),
            false => {
                let mut u = vec![0.0; sets.len() * vocab];
                for (row, set) in u.chunks_mut(vocab).zip(&sets) {
                    set.iter().for_each(|(id, weight)| row[*id as usize] = *weight as f32);
                }
                rows("set", u)?
            }
        };
        Ok(Observed::new(rec, &log_p, &coefficients, &Sources { log_b, u })?)
    }
}

/// Returns the entries that functions name, each once, in order. Without any it is entry 0: a binding may not be empty.
fn entries(reads: &[HeadRow<'_>]) -> Vec<u32> {
    let ids: BTreeSet<u32> = reads.iter().flat_map(|(_, function)| function.entries()).collect();
    if ids.is_empty() { vec![0] } else { ids.into_iter().collect() }
}

/// What functions of some rows are read from, on the device.
struct Reading {
    /// Entries of the vocabulary.
    ids: Vec<u32>,
    /// Their logits `[rows, ids]`.
    logits: Tensor,
    /// The largest logit of each row and the log-sum-exp above it, `[rows, 2]`.
    totals: Option<Tensor>,
    /// The moments of observe, `[rows, 4]`.
    moments: Option<Tensor>,
}

impl Reading {
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        [&self.logits].into_iter().chain(&self.totals).chain(&self.moments)
    }

    /// Returns the values of the functions. `read` has the contents of the tensors, in their order.
    fn values(&self, functions: &[&HeadFunction], read: &mut dyn Iterator<Item = Vec<f32>>) -> Vec<f64> {
        let logits = read.next().unwrap_or_default();
        let totals = self.totals.as_ref().and_then(|_| read.next());
        let moments = self.moments.as_ref().and_then(|_| read.next());
        let value = |(i, function): (usize, &&HeadFunction)| {
            let of_row = &logits[i * self.ids.len()..][..self.ids.len()];
            let logit = |id: u32| self.ids.binary_search(&id).map_or(f32::NAN, |at| of_row[at]);
            let total = totals.as_ref().map_or([0.0; 2], |t| [t[2 * i], t[2 * i + 1]]);
            let moments = moments.as_ref().map_or([0.0; 3], |m| [m[4 * i], m[4 * i + 1], m[4 * i + 2]]);
            function.value(logit, total, moments)
        };
        functions.iter().enumerate().map(value).collect()
    }
}

/// Functions of rows that are recorded, before they are read.
pub(crate) struct PendingHead {
    /// Which of the rows, and what they are read from.
    parts: Vec<(Vec<usize>, Reading)>,
}

impl PendingHead {
    /// Returns the tensors to read, in the order in which [`PendingHead::values`] expects them.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parts.iter().flat_map(|(_, reading)| reading.tensors())
    }

    /// Returns the values of the functions that were recorded.
    pub(crate) fn values(&self, functions: &[&HeadFunction], read: &mut dyn Iterator<Item = Vec<f32>>) -> Vec<f64> {
        let mut values = vec![0.0; functions.len()];
        for (places, reading) in &self.parts {
            let of_part: Vec<&HeadFunction> = places.iter().map(|&i| functions[i]).collect();
            places.iter().zip(reading.values(&of_part, read)).for_each(|(&i, value)| values[i] = value);
        }
        values
    }
}

/// Returns the place of `item` in `list`, to which it is added if it is new.
fn place_of<'a, T: PartialEq>(list: &mut Vec<&'a T>, item: &'a T) -> u32 {
    let place = list.iter().position(|known| *known == item).unwrap_or(list.len());
    if place == list.len() {
        list.push(item);
    }
    place as u32
}

/// Returns the one cotangent of an op with one input.
pub(crate) fn single(bars: Vec<Tensor>) -> Result<Tensor> {
    bars.into_iter().next().ok_or_else(|| Error::Place("layer norm has one input".to_owned()))
}
