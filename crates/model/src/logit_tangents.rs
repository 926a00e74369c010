//! Logits to first order: how they change along vectors at the last level, at positions of one run or of several.

use std::collections::BTreeSet;

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::{Rows, Span};

use crate::batch::{Batch, PassDirection};
use crate::checkpoint::first_non_finite;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::grouped::group_by;
use crate::linear::{Linearization, Source, SourcedRun};
use crate::mode::Mode;
use crate::order::Order;
use crate::passes::tangent;
use crate::run::Run;
use crate::site::Site;

/// A vector at the last level of a run, along which the logits of its position change.
#[derive(Clone, Copy)]
pub struct LogitTangent<'a> {
    /// The run.
    pub run: &'a Run,
    /// Token position, from 0.
    pub position: usize,
    /// `[d]`
    pub vector: &'a [f32],
}

/// Returns the first-order change of all logits along each vector, `[n, V]`; see [`Linearization::logit_tangents`].
///
/// Runs of one call of [`crate::Model::run_all`] share passes.
///
/// # Errors
/// As [`Linearization::logit_tangents`], for any of the runs.
pub fn logit_tangents_of(mode: Mode, tangents: &[LogitTangent<'_>]) -> Result<Vec<f32>> {
    let Some(vocab) = tangents.first().map(|one| one.run.sizes().vocab) else { return Ok(Vec::new()) };
    let mut logits = vec![0.0; tangents.len() * vocab];
    for part in group_by(tangents, |a, b| a.run.shares_batch(b.run)) {
        let found = part.items[0].run.linearize(mode).logit_tangents_in(&part.items)?;
        for (place, row) in part.places.iter().zip(found.chunks(vocab)) {
            logits[place * vocab..][..vocab].copy_from_slice(row);
        }
    }
    Ok(logits)
}

impl Linearization<'_> {
    /// Returns the first-order change of all logits at `position`, `[n, V]`, along each of n vectors `[d]` at
    /// h\[L, position\].
    ///
    /// The vectors pass through the final norm, linearised at the run in this mode.
    ///
    /// # Errors
    /// A position outside of the prompt, vectors of another width, or a device error.
    pub fn logit_tangents(&self, position: usize, vectors: &[Vec<f32>]) -> Result<Vec<f32>> {
        let at = |vector| LogitTangent { run: self.run, position, vector };
        self.logit_tangents_in(&vectors.iter().map(|vector| at(&vector[..])).collect::<Vec<_>>())
    }

    /// Computes the tangents in runs of this run's base.
    fn logit_tangents_in(&self, tangents: &[LogitTangent<'_>]) -> Result<Vec<f32>> {
        let (sizes, n) = (self.sizes(), tangents.len());
        let site = Site::level(sizes.layers, sizes);
        for LogitTangent { run, position, vector } in tangents {
            Edit::add(site, *position, vector.to_vec()).check(sizes, run.tokens().len())?;
        }
        if n == 0 {
            return Ok(Vec::new());
        }
        let vectors: Vec<f32> = tangents.iter().flat_map(|at| at.vector).copied().collect();
        let spans: Vec<Span> = tangents.iter().map(|at| at.run.span(at.position, at.position + 1)).collect();
        let rows = Rows::new(self.device(), &spans)?;
        let mut rec = self.device().record();
        let x = match self.program().divides_final_norm() {
            true => self.tangents_at_head(&mut rec, tangents)?,
            false => self.device().upload("source", &[("rows", n), ("d", sizes.d)], &vectors)?,
        };
        rec.scope("ln_f");
        let x = self.program().final_norm.jvp(&mut rec, &rows, &self.run.base.head_residuals, &[&x])?;
        let points: Vec<usize> = spans.iter().map(|span| span.primal + span.start).collect();
        let logits = self.run.base.all_logits(rec, &x, &(0..n).collect::<Vec<usize>>(), Some(&points))?;
        match first_non_finite(&logits) {
            Some(at) => {
                let LogitTangent { run, position, .. } = tangents[at / sizes.vocab];
                Err(run.not_finite("a tangent of the logits", logits[at], &format!("token {position}")))
            }
            None => Ok(logits),
        }
    }

    /// Records the tangents of what the head reads, `[n, d]`, where parts of the final norm are in the list.
    fn tangents_at_head(&self, rec: &mut Recording, tangents: &[LogitTangent<'_>]) -> Result<Tensor> {
        let (program, top, sizes) = (self.program(), self.program().head_input, self.sizes());
        let at = |t: &LogitTangent<'_>| Source {
            site: Site::level(sizes.layers, sizes),
            token: t.position,
            vector: t.vector.to_vec(),
        };
        let sources: Vec<[Source; 1]> = tangents.iter().map(|t| [at(t)]).collect();
        let sourced = tangents.iter().zip(&sources).map(|(t, sources)| SourcedRun { run: t.run, sources });
        let sequences = self.sequences(&sourced.collect::<Vec<_>>(), |i| tangents[i].position + 1)?;
        let batch = Batch::new(self.device(), &sequences, PassDirection::Forward)?;
        let wanted = BTreeSet::from([top]);
        let dots = tangent(program, rec, &batch, &self.run.base.trace, (&wanted, Order::First))?;
        dots[top].clone().ok_or_else(|| Error::Place("a source at the last level reaches the head".to_owned()))
    }
}
