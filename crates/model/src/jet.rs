//! Jets of a run: its response to sources to first and second order, over one shared primal.
//!
//! Let `h + a s` be the run in which `a` times every source of a superposition s is added. A jet is the pair of `d/da`
//! and `d2/da2` at a = 0, of the field. [`crate::along_of`] returns those of observables.

use resolvent_engine::stepped;

use crate::batch::{Batch, Order, PassDirection};
use crate::error::Result;
use crate::linear::{Fields, Linearization, Source, SourcedRun};
use crate::passes::tangent;
use crate::splits::{most_rows, split};

/// Responses `[L+1, T, d]` to each superposition of sources, by order.
#[derive(Clone, Debug)]
pub struct Jets {
    /// `dh/da`, as [`Linearization::jvp`] returns it.
    pub first: Fields,
    /// `d2h/da2`
    pub second: Fields,
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
        let (tokens, d) = (run.tokens().len(), self.sizes().d);
        let wanted = run.values_of_sites(&sites)?;
        let sequences = self.sequences(&SourcedRun::all_of(run, sources), |_| tokens)?;
        let sequences = sequences.into_iter().map(|s| s.within_cone(run.program())).collect();
        for group in stepped("jets", split(self.most_jets(wanted.len()), sequences), Vec::len) {
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

    /// Returns the most batch rows that fit if the jet of each stores `extra` vectors of width d to the end.
    pub(crate) fn most_jets(&self, extra: usize) -> usize {
        most_rows(self.run.model(), extra * self.sizes().d) / Order::Second.rows()
    }
}
