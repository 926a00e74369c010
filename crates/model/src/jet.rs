//! Jets of a run: its response to sources to first and second order, over one shared primal.
//!
//! With `h + a s` the run in which `a` times every source of a superposition is added, a jet is the pair of `d/da` and
//! `d2/da2` at a = 0: of the field, or of an observable along the source.

use std::collections::BTreeSet;

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::{Op, Rows, Span};

use crate::batch::{Batch, Direction, Order};
use crate::error::Result;
use crate::linear::{Fields, Linearization, Source};
use crate::observable::Observable;
use crate::program::ValueId;
use crate::run::{dot, groups, weighted};
use crate::walk::tangent;

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
    /// A source that does not fit the model or the prompt, or a device error.
    pub fn jet<S: AsRef<[Source]>>(&self, sources: &[S]) -> Result<Jets> {
        let program = &self.run.program;
        let wanted: BTreeSet<ValueId> = program.field.iter().copied().collect();
        let mut jets = Jets { first: self.zeros(sources.len()), second: self.zeros(sources.len()) };
        let members = self.members(sources, self.run.tokens().len())?;
        let levels = (program.field.len(), Order::Second);
        for group in groups(self.device(), self.config(), levels, members) {
            let batch = Batch::new(self.device(), &group, Direction::Forward)?;
            let mut rec = self.device().record();
            let walked = tangent(program, &mut rec, &batch, &self.run.trace, (&wanted, Order::Second))?;
            self.device().submit(rec)?;
            self.collect(&batch, &walked, &mut [&mut jets.first, &mut jets.second])?;
        }
        Ok(jets)
    }

    /// First and second derivative of `observable` along each superposition of sources. Only rows up to the observable's
    /// position are computed, and its row alone goes through the final norm and the unembedding.
    ///
    /// # Errors
    /// A source or an observable that does not fit the model or the prompt, or a device error.
    pub fn along<S: AsRef<[Source]>>(&self, sources: &[S], observable: &Observable) -> Result<Vec<Along>> {
        observable.check(self.config(), self.run.tokens().len())?;
        let program = &self.run.program;
        let level = match observable {
            Observable::Logits { .. } => self.config().n_layer,
            Observable::Field { level, .. } => *level,
        };
        let value = program.field[level];
        let wanted = BTreeSet::from([value]);
        let mut along = vec![Along::default(); sources.len()];
        let members = self.members(sources, observable.position() + 1)?;
        for group in groups(self.device(), self.config(), (0, Order::Second), members) {
            let batch = Batch::new(self.device(), &group, Direction::Forward)?;
            // Who joins above the level does not touch it: both derivatives are zero.
            let active = batch.active(value, Direction::Forward);
            let reached: Vec<usize> = (0..batch.len()).filter(|&i| batch.range(i).end <= active).collect();
            let mut rec = self.device().record();
            let walked = tangent(program, &mut rec, &batch, &self.run.trace, (&wanted, Order::Second))?;
            let Some(jets) = walked[value].as_ref().filter(|_| !reached.is_empty()) else { continue };
            let last = reached.iter().map(|&i| 2 * (batch.range(i).end - 1));
            let rows: Vec<usize> = last.flat_map(|row| [row, row + 1]).collect();
            let h_jet = self.run.picked(&mut rec, jets, rows.into_iter())?;
            for (&i, read) in reached.iter().zip(self.read_along(rec, &h_jet, observable)?) {
                along[batch.member(i).id] = read;
            }
        }
        Ok(along)
    }

    /// The observable's derivatives for each jet of `h_jet [2 rows, d]` at its place. Submits what is recorded.
    fn read_along(&self, mut rec: Recording, h_jet: &Tensor, observable: &Observable) -> Result<Vec<Along>> {
        let device = self.device();
        match observable {
            Observable::Logits { position, terms } => {
                rec.scope("unembed");
                let span = Span { primal: 0, start: *position, end: position + 1 };
                let rows = Rows::new(device, &vec![span; h_jet.shape().lengths()[0] / 2])?;
                let weights = &self.run.model.0.weights;
                let x_jet = weights.ln_f.jet(&mut rec, &rows, &self.run.head_kept, &[h_jet])?;
                let ids: Vec<u32> = terms.iter().map(|(id, _)| *id).collect();
                let ids = device.upload("wanted", &[("wanted", ids.len())], &ids)?;
                let logits = weights.unembed.primal(&mut rec, &x_jet, &ids)?;
                device.submit(rec)?;
                Ok(pairs(&device.read(&logits)?, terms.len(), |row| weighted(terms, row)))
            }
            Observable::Field { direction, .. } => {
                device.submit(rec)?;
                Ok(pairs(&device.read(h_jet)?, direction.len(), |row| dot(direction, row)))
            }
        }
    }
}

/// `read` of both orders of each jet in `data [2 rows, width]`.
fn pairs(data: &[f32], width: usize, read: impl Fn(&[f32]) -> f64) -> Vec<Along> {
    let jets = data.chunks(2 * width).map(|jet| jet.split_at(width));
    jets.map(|(first, second)| Along { first: read(first), second: read(second) }).collect()
}
