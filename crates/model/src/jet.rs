//! Jets of a run: its response to sources to first and second order, over one shared primal.
//!
//! With `h + a s` the run in which `a` times every source of a superposition is added, a jet is the pair of `d/da` and
//! `d2/da2` at a = 0: of the field, or of an observable along the source.

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
    /// `dh/da`: what [`Linearization::jvp`] gives.
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
    /// First and second order of the response field, for each superposition of sources: the field of the run in which `a`
    /// times the sources is added is `h + a first + a^2/2 second` up to `a^3`. Exactly zero outside of the causal cone.
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
            let harvest = tangent(run.program(), &mut rec, &batch, trace, (&wanted, Order::Second))?;
            self.device().submit(rec)?;
            run.visit_orders(&batch, &harvest, ("the response", &sites, Order::Second), &mut |order, chunk| {
                let fields = if order == 0 { &mut jets.first } else { &mut jets.second };
                fields.put(chunk, tokens, d);
            })?;
        }
        Ok(jets)
    }

    /// First and second derivative of `observable` along each superposition of sources. Only rows up to the observable's
    /// position are computed, and its row alone goes through the final norm and the unembedding.
    ///
    /// # Errors
    /// Another mode than [`crate::Mode::Exact`], a source or an observable that does not fit the model or the prompt, or a
    /// device error.
    pub fn along<S: AsRef<[Source]>>(&self, sources: &[S], observable: &Observable) -> Result<Vec<Along>> {
        self.mode().second_order("along")?;
        let (run, mut along) = (self.run, vec![Along::default(); sources.len()]);
        observable.check(self.config(), run.tokens().len())?;
        let expansion = self.expansion(observable)?;
        let value = run.program().field[observable.level(self.config())];
        let wanted = BTreeSet::from([value]);
        for group in split(self.most_jets(1), self.sequences(sources, observable.position() + 1)?) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            // Who joins above the level does not touch it: both derivatives are zero.
            let active = batch.active(value, PassDirection::Forward);
            let reached: Vec<usize> = (0..batch.len()).filter(|&i| batch.range(i).end <= active).collect();
            if reached.is_empty() {
                continue;
            }
            let (mut rec, trace) = (self.device().record(), &run.base.trace);
            let harvest = tangent(run.program(), &mut rec, &batch, trace, (&wanted, Order::Second))?;
            self.device().submit(rec)?;
            let Some(jets) = &harvest[value] else { continue };
            let step = if observable.entries().is_none() { HEADS } else { reached.len() };
            for reached in reached.chunks(step) {
                let last = reached.iter().map(|&i| 2 * (batch.range(i).end - 1));
                let rows: Vec<usize> = last.flat_map(|row| [row, row + 1]).collect();
                let numbers = self.read_jets((jets, &rows), observable)?;
                let each = numbers.chunks(numbers.len() / reached.len());
                for (&i, jet) in reached.iter().zip(each) {
                    along[batch.sequence(i).id] = expansion.along(jet);
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

    /// Rows of a batch of jets that fit, when each keeps `extra` numbers of width d to the end.
    fn most_jets(&self, extra: usize) -> usize {
        most_rows(self.run.model(), extra) / Order::Second.rows()
    }

    /// Jets `[2 rows, numbers]` of the numbers that `observable` is read from, for some rows of jets of its level.
    fn read_jets(&self, (jets, rows): (&Tensor, &[usize]), observable: &Observable) -> Result<Vec<f32>> {
        let (base, device, mut rec) = (&self.run.base, self.device(), self.device().record());
        let (weights, position) = (&base.model.0.weights, observable.position());
        let h_jet = base.picked(&mut rec, jets, rows)?;
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

    /// `observable` around this run.
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

/// Jets of which all logits are read at once: the widest rows that there are.
pub(crate) const HEADS: usize = 64;

/// An observable J of the numbers y that it is read from, a row of the field or logits, to second order at the run:
/// `dJ/dy = slope` and `d2J/dy2 = second_derivative (diag p - p p^T)`.
pub(crate) struct Expansion {
    slope: Vec<f64>,
    second_derivative: f64,
    p: Vec<f64>,
}

impl Expansion {
    /// How many numbers J is read from.
    pub(crate) fn len(&self) -> usize {
        self.slope.len()
    }

    /// Whether J is no linear function of them.
    pub(crate) fn is_curved(&self) -> bool {
        self.second_derivative != 0.0
    }

    /// `dJ/dy`.
    pub(crate) fn slope(&self) -> impl Iterator<Item = f32> {
        self.slope.iter().map(|&slope| slope as f32)
    }

    /// `d2J/dy2 y_dot`.
    pub(crate) fn turned(&self, y_dot: &[f32]) -> Vec<f32> {
        let mean: f64 = self.p.iter().zip(y_dot).map(|(p, &y)| p * f64::from(y)).sum();
        let each = self.p.iter().zip(y_dot);
        each.map(|(p, &y)| (self.second_derivative * p * (f64::from(y) - mean)) as f32).collect()
    }

    /// J along the jet `y_jet [2, numbers]`: `<slope, y_dot>`, and `<slope, y_ddot> + second_derivative Var_p(y_dot)`.
    fn along(&self, y_jet: &[f32]) -> Along {
        let (y_dot, y_ddot) = y_jet.split_at(y_jet.len() / 2);
        let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum::<f64>();
        let mean = dot(&self.p, y_dot);
        let spread = self.p.iter().zip(y_dot).map(|(p, &y)| p * (f64::from(y) - mean).powi(2));
        let second = dot(&self.slope, y_ddot) + self.second_derivative * spread.sum::<f64>();
        Along { first: dot(&self.slope, y_dot), second }
    }
}
