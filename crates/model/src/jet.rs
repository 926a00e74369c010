//! Jets of a run: its response to sources to first and second order, over one shared primal.
//!
//! Let `h + a s` be the run in which `a` times every source of a superposition s is added. A jet is the pair of `d/da`
//! and `d2/da2` at a = 0, of the field or of an observable.

use std::collections::BTreeSet;

use resolvent_engine::Tensor;
use resolvent_ops::{Op, Rows, Span};

use crate::batch::{Batch, Order, PassDirection};
use crate::error::Result;
use crate::linear::{Fields, Linearization, Source};
use crate::observable::{Distribution, Observable};
use crate::passes::tangent;
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
        observable.check(self.config(), run.tokens().len())?;
        let expansion = self.expansion(observable)?;
        let value = run.program().field[observable.level(self.config())];
        let wanted = BTreeSet::from([value]);
        for group in split(self.most_jets(1), self.sequences(sources, observable.position() + 1)?) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            // A sequence that joins above the level does not change it: both derivatives are zero.
            let active = batch.active(value, PassDirection::Forward);
            let reached: Vec<usize> = (0..batch.len()).filter(|&i| batch.range(i).end <= active).collect();
            if reached.is_empty() {
                continue;
            }
            let (mut rec, trace) = (self.device().record(), &run.base.trace);
            let results = tangent(run.program(), &mut rec, &batch, trace, (&wanted, Order::Second))?;
            self.device().submit(rec)?;
            let Some(jets) = &results[value] else { continue };
            let step = if observable.entries().is_none() { MAX_LOGIT_ROWS } else { reached.len() };
            for reached in reached.chunks(step) {
                let last = reached.iter().map(|&i| 2 * (batch.range(i).end - 1));
                let rows: Vec<usize> = last.flat_map(|row| [row, row + 1]).collect();
                let y_jets = self.read_jets((jets, &rows), observable)?;
                let each = y_jets.chunks(y_jets.len() / reached.len());
                for (&i, y_jet) in reached.iter().zip(each) {
                    along[batch.sequence(i).id] = expansion.along(y_jet);
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

    /// Computes the jets of the inputs of `observable`, which are logits or a row of the field.
    ///
    /// `jets` are those of the observable's level, and `rows` selects rows of them. Returns `[rows, inputs]`.
    fn read_jets(&self, (jets, rows): (&Tensor, &[usize]), observable: &Observable) -> Result<Vec<f32>> {
        let (base, device, mut rec) = (&self.run.base, self.device(), self.device().record());
        let (weights, position) = (&base.model.0.weights, observable.position());
        let h_jet = base.select_rows(&mut rec, jets, rows)?;
        if matches!(observable, Observable::Field { .. }) {
            device.submit(rec)?;
            return Ok(device.read(&h_jet)?);
        }
        rec.scope("unembed");
        let spans: Vec<Span> = vec![self.run.span(position, position + 1); rows.len() / Order::Second.rows()];
        let table = Rows::new(device, &spans)?;
        let x_jet = weights.ln_f.jet(&mut rec, &table, &base.head_residuals, &[&h_jet])?;
        let Some(ids) = observable.entries() else {
            return base.all_logits(rec, &x_jet, &(0..rows.len()).collect::<Vec<usize>>());
        };
        let ids = device.upload("wanted", &[("wanted", ids.len())], &ids)?;
        let logits = weights.unembed.primal(&mut rec, &x_jet, &ids)?;
        device.submit(rec)?;
        Ok(device.read(&logits)?)
    }

    /// Expands `observable` around this run.
    pub(crate) fn expansion(&self, observable: &Observable) -> Result<Expansion> {
        Ok(match observable {
            Observable::Field { direction, .. } => Expansion {
                slope: direction.iter().map(|&u| f64::from(u)).collect(),
                second_derivative: 0.0,
                p: Vec::new(),
            },
            _ if observable.entries().is_some() => Expansion {
                slope: observable.slope(&[]),
                second_derivative: observable.second_derivative(),
                p: Vec::new(),
            },
            _ => {
                let logits = self.run.logits_at(observable.position())?;
                let p = Distribution::of(&logits).log_probabilities().iter().map(|l| l.exp()).collect();
                Expansion { slope: observable.slope(&logits), second_derivative: observable.second_derivative(), p }
            }
        })
    }
}

/// Most sequences whose rows of all logits are computed at once. These are the widest rows of all.
pub(crate) const MAX_LOGIT_ROWS: usize = 64;

/// An observable J to second order around the run, in its inputs y: logits, or a row of the field.
///
/// `dJ/dy = slope` and `d2J/dy2 = second_derivative (diag p - p p^T)`.
pub(crate) struct Expansion {
    slope: Vec<f64>,
    second_derivative: f64,
    p: Vec<f64>,
}

impl Expansion {
    /// Returns the number of inputs of J.
    pub(crate) fn len(&self) -> usize {
        self.slope.len()
    }

    /// Returns whether J is not linear in its inputs.
    pub(crate) fn is_curved(&self) -> bool {
        self.second_derivative != 0.0
    }

    /// Returns `dJ/dy`.
    pub(crate) fn slope(&self) -> impl Iterator<Item = f32> {
        self.slope.iter().map(|&slope| slope as f32)
    }

    /// Returns `d2J/dy2 y_dot`, the tangent of the slope.
    pub(crate) fn slope_tangent(&self, y_dot: &[f32]) -> Vec<f32> {
        let mean: f64 = self.p.iter().zip(y_dot).map(|(p, &y)| p * f64::from(y)).sum();
        let each = self.p.iter().zip(y_dot);
        each.map(|(p, &y)| (self.second_derivative * p * (f64::from(y) - mean)) as f32).collect()
    }

    /// Returns the derivatives of J along the jet `y_jet [2, inputs]`.
    ///
    /// They are `<slope, y_dot>` and `<slope, y_ddot> + second_derivative Var_p(y_dot)`.
    fn along(&self, y_jet: &[f32]) -> Along {
        let (y_dot, y_ddot) = y_jet.split_at(y_jet.len() / 2);
        let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum::<f64>();
        let mean = dot(&self.p, y_dot);
        let spread = self.p.iter().zip(y_dot).map(|(p, &y)| p * (f64::from(y) - mean).powi(2));
        let second = dot(&self.slope, y_ddot) + self.second_derivative * spread.sum::<f64>();
        Along { first: dot(&self.slope, y_dot), second }
    }
}
