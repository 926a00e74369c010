//! Jets of a run: its response to sources to first and second order, over one shared primal.
//!
//! Let `h + a s` be the run in which `a` times every source of a superposition s is added. A jet is the pair of `d/da`
//! and `d2/da2` at a = 0, of the field. [`crate::along_of`] returns those of observables.

use resolvent_engine::stepped;

use crate::batch::{Batch, PassDirection};
use crate::error::Result;
use crate::grouped::group_by;
use crate::linear::{Fields, Linearization, Source, SourcedRun};
use crate::mode::Mode;
use crate::order::Order;
use crate::passes::tangent;
use crate::site::Site;
use crate::splits::{most_rows, split};
use crate::sweep::Chunk;

/// Responses `[L+1, T, d]` to each superposition of sources, by order.
#[derive(Clone, Debug)]
pub struct Jets {
    /// `dh/da`, as [`Linearization::jvp`] returns it.
    pub first: Fields,
    /// `d2h/da2`
    pub second: Fields,
}

/// A function that receives the rows of a jet, with their order: 0 for `dh/da`, 1 for `d2h/da2`.
pub type VisitOrder<'v> = &'v mut dyn FnMut(usize, Chunk<'_>);

/// Computes both orders of the responses at `sites` to superpositions of sources in several runs, and passes them to
/// `visit` in chunks.
///
/// Runs of one call of [`crate::Model::run_all`] share batches. Values that are not visited are zero.
///
/// # Errors
/// As [`Linearization::jet`], for any of the runs.
pub fn jet_of(sourced: &[SourcedRun<'_>], sites: &[Site], visit: VisitOrder<'_>) -> Result<()> {
    for part in group_by(sourced, |a, b| a.run.shares_batch(b.run)) {
        let linear = part.items[0].run.linearize(Mode::Exact);
        linear.push_jets(&part.items, sites, &mut |order, chunk| {
            visit(order, Chunk { sequence: part.places[chunk.sequence], ..chunk });
        })?;
    }
    Ok(())
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
        let zeros = || Fields::zeros(self.run, sources.len());
        let mut jets = Jets { first: zeros(), second: zeros() };
        let (tokens, d) = (self.run.tokens().len(), self.sizes().d);
        let sourced = SourcedRun::all_of(self.run, sources);
        self.push_jets(&sourced, &self.run.levels(), &mut |order, chunk| {
            let fields = if order == 0 { &mut jets.first } else { &mut jets.second };
            fields.put(chunk, tokens, d);
        })?;
        Ok(jets)
    }

    /// Computes the jets of superpositions in runs of this run's base.
    fn push_jets(&self, sourced: &[SourcedRun<'_>], sites: &[Site], visit: VisitOrder<'_>) -> Result<()> {
        let (run, wanted) = (self.run, self.run.values_of_sites(sites)?);
        let sequences = self.sequences(sourced, |_| usize::MAX)?;
        let sequences = sequences.into_iter().map(|s| s.within_cone(run.program())).collect();
        for group in stepped("jets", split(self.most_jets(wanted.len()), sequences), Vec::len) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            let (mut rec, trace) = (self.device().record(), &run.base.trace);
            let results = tangent(run.program(), &mut rec, &batch, trace, (&wanted, Order::Second))?;
            self.device().submit(rec)?;
            run.visit_orders(&batch, &results, ("the response", sites, Order::Second), visit)?;
        }
        Ok(())
    }

    /// Returns the most batch rows that fit if the jet of each stores `extra` vectors of width d to the end.
    pub(crate) fn most_jets(&self, extra: usize) -> usize {
        most_rows(self.run.model(), extra * self.sizes().d) / Order::Second.rows()
    }
}
