//! Hessian-vector products of a run: how sources turn the sensitivities of an observable. Forward over reverse.
//!
//! With `h + a s` the run in which `a` times every source of a superposition is added, `H s` is `d/da` at a = 0 of the
//! sensitivities `dJ/dh`. K superpositions pass up the list together, and back down it together with the one cotangent
//! of J that all of them share.

use std::collections::BTreeMap;

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::splice::RowSource;
use resolvent_ops::{Op, Paired, Residuals, Rows, Span};

use crate::batch::{Batch, PassDirection, Sequence};
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::jet::{Expansion, HEADS};
use crate::linear::{Fields, Linearization, Source};
use crate::observable::Observable;
use crate::passes::{DeviceSeeds, Tangents, adjoint, tangents};
use crate::run::scheduled;
use crate::site::Site;
use crate::sweep::{Chunk, most_rows, split};

/// The number of the sequence that carries the shared cotangent: no caller's.
const SHARED_COTANGENT: usize = usize::MAX;

impl Linearization<'_> {
    /// `H s` as fields `[L+1, T, d]`, one for each superposition of sources s: the derivative along s of `dJ/dh[l, t]` of
    /// every place, H being the Hessian of J by all places together. So `<u, H s>` is the second derivative of J along
    /// sources u and s, and `<s, H s>` is the one of [`Linearization::along`].
    ///
    /// # Errors
    /// Another mode than [`crate::Mode::Exact`], a source or an observable that does not fit the model or the prompt, or a
    /// device error.
    pub fn hvp<S: AsRef<[Source]>>(&self, sources: &[S], observable: &Observable) -> Result<Fields> {
        let mut fields = Fields::zeros(self.run, sources.len());
        let (tokens, d) = (self.run.tokens().len(), self.config().n_embd);
        self.hvp_at(sources, observable, &self.run.levels(), &mut |chunk| fields.put(chunk, tokens, d))?;
        Ok(fields)
    }

    /// `H s` at `sites`, one for each superposition of sources, handed to `visit` chunk by chunk as their batches are done.
    /// What is not visited is zero.
    ///
    /// # Errors
    /// As [`Linearization::hvp`], or a fused output that [`crate::RunOptions::sites`] did not name.
    pub fn hvp_at<S: AsRef<[Source]>>(
        &self,
        sources: &[S],
        observable: &Observable,
        sites: &[Site],
        visit: &mut dyn FnMut(Chunk<'_>),
    ) -> Result<()> {
        self.mode().second_order("hvp")?;
        let (run, config) = (self.run, self.config());
        observable.check(config, run.tokens().len())?;
        let wanted = run.values_of_sites(sites)?;
        let (expansion, end) = (self.expansion(observable)?, observable.position() + 1);
        let top = run.program().field[observable.level(config)];
        let mut sequences = self.sequences(sources, end)?;
        // Who joins above the level of J does not touch it.
        sequences.retain(|m| m.join <= top);
        // A tangent reaches back to all tokens, so its rows are those of the backward pass from the start.
        sequences.iter_mut().for_each(|m| m.span = run.span(0, end));
        sequences.sort_by_key(|m| m.join);
        if matches!(observable, Observable::Logits { terms, .. } if terms.is_empty()) {
            return Ok(());
        }
        // A row of all logits for each sequence, and one for the cotangent.
        let heads = if expansion.is_curved() { HEADS - 1 } else { usize::MAX };
        let groups = split(self.most_hvps(wanted.len(), end), sequences);
        for group in groups.iter().flat_map(|group| group.chunks(heads)) {
            let batch = Batch::new(self.device(), group, PassDirection::Forward)?;
            let (mut rec, trace) = (self.device().record(), &run.base.trace);
            let dots = tangents(run.program(), &mut rec, &batch, trace, top)?;
            let back = self.back(group, observable, top);
            let linear = self.back_linear(&back)?;
            let [back, linear] = [&back, &linear].map(|m| Batch::new(self.device(), m, PassDirection::Backward));
            let (back, linear) = (back?, linear?);
            let point = (trace, Some((&dots, batch.rows.count())));
            let seeds = match observable {
                Observable::Field { .. } => None,
                _ => self.turned(&mut rec, (&dots, &batch), observable, &expansion)?,
            };
            let place = |sequence: &Sequence, t: usize| match &seeds {
                Some((_, rows)) if t + 1 == end => {
                    rows.get(&sequence.id).map_or(RowSource::Zero, |&row| RowSource::Base(row))
                }
                _ => RowSource::Zero,
            };
            let extra = seeds.as_ref().map(|(seeds, _)| DeviceSeeds { at: top, seeds, place: &place });
            let bars = adjoint(run.program(), &mut rec, [&back, &linear], point, extra.as_ref(), &wanted)?;
            self.device().submit(rec)?;
            run.visit(&back, &bars, ("the product with the Hessian", sites), &mut |chunk| {
                if chunk.sequence != SHARED_COTANGENT {
                    visit(chunk);
                }
            })?;
        }
        Ok(())
    }

    /// The sequences of the backward pass: those of `group`, and one for the shared cotangent.
    fn back(&self, group: &[Sequence], observable: &Observable, top: usize) -> Vec<Sequence> {
        let turned = group.iter().map(|m| Sequence { join: top, scheduled: Vec::new(), ..m.clone() });
        let seeds = match observable {
            Observable::Field { level, token, direction } => {
                vec![self.seed_edit((*level, *token), direction)]
            }
            _ => Vec::new(),
        };
        let span = self.run.span(0, observable.position() + 1);
        turned.chain([Sequence { id: SHARED_COTANGENT, span, join: top, scheduled: seeds }]).collect()
    }

    /// The same sequences with the linear parts of the run's edits as scheduled edits.
    fn back_linear(&self, sequences: &[Sequence]) -> Result<Vec<Sequence>> {
        let mut linear = scheduled(self.config(), self.run.program(), self.run.edits(), Edit::linear)?;
        linear.reverse();
        Ok(sequences.iter().map(|m| Sequence { scheduled: linear.clone(), ..m.clone() }).collect())
    }

    /// The cotangent of h\[L\] for an observable of the logits, and its tangent for each sequence: `[rows, d]`, and the row of
    /// each sequence that has one. `None` where no tangent has reached h\[L\].
    fn turned(
        &self,
        rec: &mut Recording,
        (dots, batch): (&Tangents, &Batch),
        observable: &Observable,
        expansion: &Expansion,
    ) -> Result<Option<(Tensor, BTreeMap<usize, usize>)>> {
        let Some(h_dot) = &dots.last else { return Ok(None) };
        let (base, device, position) = (&self.run.base, self.device(), observable.position());
        let weights = &base.model.0.weights;
        let reached = h_dot.shape().lengths()[0];
        let here: Vec<usize> = (0..batch.len()).map(|i| batch.range(i).end).filter(|&e| e <= reached).collect();
        let n = here.len();
        rec.scope("unembed");
        let h_dot = base.picked(rec, h_dot, &here.iter().map(|end| end - 1).collect::<Vec<usize>>())?;
        let spans: Vec<Span> = vec![self.run.span(position, position + 1); n + 1];
        let rows = Rows::new(device, &spans)?;
        let mut bar = vec![0.0; n * expansion.len()];
        if expansion.is_curved() {
            // The cotangent of the logits turns where J is no linear function of them.
            let rows = Rows::new(device, &spans[1..])?;
            let x_dot = weights.ln_f.jvp(rec, &rows, &base.head_residuals, &[&h_dot])?;
            let dots = std::mem::replace(rec, device.record());
            rec.scope("unembed");
            let logits_dot = base.all_logits(dots, &x_dot, &(0..n).collect::<Vec<usize>>())?;
            bar = logits_dot.chunks(expansion.len()).flat_map(|y_dot| expansion.turned(y_dot)).collect();
        }
        bar.extend(expansion.slope());
        let ids = observable.entries().unwrap_or_else(|| (0..expansion.len() as u32).collect());
        let ids = device.upload("wanted", &[("wanted", ids.len())], &ids)?;
        let bar = device.upload("logits.bar", &[("rows", n + 1), ("wanted", expansion.len())], &bar)?;
        let bar = weights.unembed.vjp(rec, &bar, &ids)?;
        let residuals = Residuals::new(&[&h_dot]);
        let paired = Paired { residuals: &residuals, rows: n, shared_cotangent: n };
        let bars = weights.ln_f.hvp(rec, &rows, (&base.head_residuals, paired), &bar, &[None])?;
        let bar = bars.into_iter().next().ok_or_else(|| Error::Place("layer norm has one input".to_owned()))?;
        let ids = (0..n).map(|i| batch.sequence(i).id).chain([SHARED_COTANGENT]);
        Ok(Some((bar, ids.zip(0..).collect())))
    }

    /// Rows of a batch of tangents that fit beside the `shared_cotangent` rows of the cotangent, when each keeps `extra` numbers of width
    /// d to the end, and what the backward pass needs of every block: the inputs of both norms, q, k, v, z, and the hidden layer.
    fn most_hvps(&self, extra: usize, shared_cotangent: usize) -> usize {
        let config = self.config();
        let block = 6 + config.n_inner().div_ceil(config.n_embd);
        most_rows(self.run.model(), extra + block * config.n_layer).saturating_sub(shared_cotangent).max(1)
    }
}
