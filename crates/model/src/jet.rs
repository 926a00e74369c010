//! Jets of a run: its response to sources to first and second order, over one shared primal.
//!
//! Let `h + a s` be the run in which `a` times every source of a superposition s is added. A jet is the pair of `d/da`
//! and `d2/da2` at a = 0, of the field or of an observable.

use std::collections::BTreeSet;

use resolvent_engine::Tensor;
use resolvent_ops::{Op, Rows, Span};

use crate::batch::{Batch, Order, PassDirection};
use crate::error::Result;
use crate::head::Curvature;
use crate::linear::{Fields, Linearization, Source};
use crate::model::Model;
use crate::observable::Observable;
use crate::passes::tangent;
use crate::points::{Part, Point};
use crate::read::dot;
use crate::sweep::{most_rows, split};

/// Responses `[L+1, T, d]` to each superposition of sources, by order.
#[derive(Clone, Debug)]
pub struct Jets {
    /// `dh/da`, as [`Linearization::jvp`] returns it.
    pub first: Fields,
    /// `d2h/da2`
    pub second: Fields,
}

/// Derivatives of an observable J along a superposition of sources, `J(h + a s)` at a = 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Along {
    /// `dJ/da`
    pub first: f64,
    /// `d2J/da2`
    pub second: f64,
}

impl Linearization<'_> {
    /// Returns the response field to first and second order, for each superposition of sources.
    ///
    /// The field of the run in which `a` times the sources is added is `h + a first + a^2/2 second`, up to terms of
    /// order `a^3`. Both orders are exactly zero outside of the causal cone.
    ///
    /// # Errors
    /// Another mode than [`crate::Mode::Exact`], a source that does not fit the model or the prompt, or a device error.
    pub fn jet<S: AsRef<[Source]>>(&self, sources: &[S]) -> Result<Jets> {
        self.mode().second_order("jet")?;
        let (run, sites) = (self.run, self.run.levels());
        let zeros = || Fields::zeros(run, sources.len());
        let mut jets = Jets { first: zeros(), second: zeros() };
        let (tokens, d) = (run.tokens().len(), self.config().n_embd);
        let wanted = run.values_of_sites(&sites)?;
        for group in split(self.most_jets(wanted.len()), self.sequences(sources, tokens)?) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            let (mut rec, trace) = (self.device().record(), &run.base.trace);
            let results = tangent(run.program(), &mut rec, &batch, trace, (&wanted, Order::Second))?;
            self.device().submit(rec)?;
            run.visit_orders(&batch, &results, ("the response", &sites, Order::Second), &mut |order, chunk| {
                let fields = if order == 0 { &mut jets.first } else { &mut jets.second };
                fields.put(chunk, tokens, d);
            })?;
        }
        Ok(jets)
    }

    /// Returns the first and second derivative of `observable` along each superposition of sources.
    ///
    /// Only rows up to the observable's position are computed, and only its own row passes through the final norm and
    /// the unembedding.
    ///
    /// # Errors
    /// Another mode than [`crate::Mode::Exact`], a source or an observable that does not fit the model or the prompt,
    /// or a device error.
    pub fn along<S: AsRef<[Source]>>(&self, sources: &[S], observable: &Observable) -> Result<Vec<Along>> {
        self.mode().second_order("along")?;
        let (run, mut along) = (self.run, vec![Along::default(); sources.len()]);
        observable.check(self.config(), run.tokens())?;
        let expansion = self.expansion(observable)?;
        let wanted: BTreeSet<usize> = expansion.points.iter().map(|p| run.program().field[p.level]).collect();
        if wanted.is_empty() {
            return Ok(along);
        }
        for group in split(self.most_jets(wanted.len()), self.sequences(sources, observable.position() + 1)?) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            let (mut rec, trace) = (self.device().record(), &run.base.trace);
            let results = tangent(run.program(), &mut rec, &batch, trace, (&wanted, Order::Second))?;
            self.device().submit(rec)?;
            for (n, point) in expansion.points.iter().enumerate() {
                let value = run.program().field[point.level];
                let Some(jets) = &results[value] else { continue };
                // A sequence that joins above the level, or starts after the token, does not change it.
                let active = batch.active(value, PassDirection::Forward);
                let owns = |i: &usize| batch.range(*i).end <= active && batch.sequence(*i).span.start <= point.token;
                let reached: Vec<usize> = (0..batch.len()).filter(owns).collect();
                for reached in reached.chunks(expansion.most_rows(n, run.model())) {
                    let row = |&i: &usize| batch.range(i).start + point.token - batch.sequence(i).span.start;
                    let rows: Vec<usize> = reached.iter().map(row).collect();
                    let derivatives = self.along_point((jets, &rows), &expansion, n)?;
                    for (&i, derivative) in reached.iter().zip(derivatives) {
                        let sum = &mut along[batch.sequence(i).id];
                        sum.first += derivative.first;
                        sum.second += derivative.second;
                    }
                }
            }
        }
        for (derivatives, sources) in along.iter().zip(sources) {
            let each = || sources.as_ref().iter().map(|s| format!("{}, token {}", s.site, s.token));
            let place = || format!("a source at {}", each().collect::<Vec<_>>().join(" and "));
            for derivative in [derivatives.first, derivatives.second] {
                if !derivative.is_finite() {
                    return Err(run.not_finite("the derivative of J", derivative as f32, &place()));
                }
            }
        }
        Ok(along)
    }

    /// Returns the most batch rows that fit if the jet of each stores `extra` vectors of width d to the end.
    fn most_jets(&self, extra: usize) -> usize {
        most_rows(self.run.model(), extra) / Order::Second.rows()
    }

    /// Computes the derivatives of the `n`-th part of an observable along some rows of the jets of its level.
    fn along_point(&self, (jets, rows): (&Tensor, &[usize]), expansion: &Expansion, n: usize) -> Result<Vec<Along>> {
        let (base, device, mut rec) = (&self.run.base, self.device(), self.device().record());
        let (point, model) = (&expansion.points[n], &base.model);
        let both: Vec<usize> = rows.iter().flat_map(|row| [2 * row, 2 * row + 1]).collect();
        let mut jet = model.select_rows(&mut rec, jets, &both)?;
        let mut turning = None;
        if let Part::Logits(_) = point.part {
            rec.scope("ln_f");
            let spans: Vec<Span> = vec![self.run.span(point.token, point.token + 1); rows.len()];
            let table = Rows::new(device, &spans)?;
            jet = model.0.weights.ln_f.jet(&mut rec, &table, &base.head_residuals, &[&jet])?;
            if let Some((curvature, place)) = expansion.curvature(n) {
                let pairs: Vec<(usize, u32)> = (0..rows.len()).map(|i| (2 * i, place)).collect();
                turning = Some((curvature, place, curvature.spread(&mut rec, model, &jet, &pairs)?));
            }
        }
        device.submit(rec)?;
        let moments = turning.as_ref().map(|(.., turning)| &turning.spread.moments);
        let mut read = device.read_many(&[&jet].into_iter().chain(moments).collect::<Vec<&Tensor>>())?.into_iter();
        let (slope, jet) = (&expansion.slopes[n], read.next().unwrap_or_default());
        let along = |pair: &[f32]| {
            let (dot_row, ddot_row) = pair.split_at(slope.len());
            Along { first: dot(slope, dot_row), second: dot(slope, ddot_row) }
        };
        let mut along: Vec<Along> = jet.chunks(2 * slope.len()).map(along).collect();
        if let (Some((curvature, place, _)), Some(moments)) = (&turning, read.next()) {
            for (along, moments) in along.iter_mut().zip(moments.chunks(4)) {
                along.second += curvature.second(*place, moments);
            }
        }
        Ok(along)
    }

    /// Expands `observable` around this run.
    pub(crate) fn expansion(&self, observable: &Observable) -> Result<Expansion> {
        let points = observable.points(self.config())?;
        let mut slopes: Vec<Vec<f32>> = Vec::with_capacity(points.len());
        let first = self.run.span(0, 0).primal;
        let (mut places, mut reads) = (Vec::new(), Vec::new());
        for (n, point) in points.iter().enumerate() {
            match &point.part {
                Part::Projection(u) => slopes.push(u.clone()),
                Part::Logits(function) => {
                    slopes.push(Vec::new());
                    places.push(n);
                    reads.push((first + point.token, function));
                }
            }
        }
        let mut curvature = None;
        if !reads.is_empty() {
            let (model, mut rec) = (self.run.model(), self.device().record());
            rec.scope("unembed");
            let (bars, curved) = model.normed_vjp(&mut rec, &self.run.base.normed, &reads)?;
            self.device().submit(rec)?;
            let bars = self.device().read(&bars)?;
            places.iter().zip(bars.chunks(self.config().n_embd)).for_each(|(&n, bar)| slopes[n] = bar.to_vec());
            curvature = curved;
        }
        Ok(Expansion { points, slopes, places, curvature })
    }
}

/// An observable to second order around the run.
pub(crate) struct Expansion {
    pub(crate) points: Vec<Point>,
    /// The derivative of each part by its row: of the field, or of the final norm's output.
    slopes: Vec<Vec<f32>>,
    /// The parts that read logits, in the order in which the curvature numbers them.
    places: Vec<usize>,
    curvature: Option<Curvature>,
}

impl Expansion {
    /// Returns the curvature of a part and its place in there, if the part has any.
    fn curvature(&self, n: usize) -> Option<(&Curvature, u32)> {
        let curvature = self.curvature.as_ref()?;
        let read = self.places.binary_search(&n).ok()?;
        Some((curvature, curvature.point(read)?))
    }

    /// Returns how many rows of a part fit one batch.
    fn most_rows(&self, n: usize, model: &Model) -> usize {
        if self.curvature(n).is_some() { model.most_logit_rows() } else { usize::MAX }
    }
}
