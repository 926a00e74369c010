//! Hessian-vector products of a run: how sources change the sensitivities of an observable, by forward over reverse.
//!
//! Let `h + a s` be the run in which `a` times every source of a superposition s is added. `H s` is `d/da` at a = 0 of
//! the sensitivities `dJ/dh`. K superpositions share one tangent pass. They also share one backward pass, which has the
//! shared cotangent of J as one more sequence.

use std::collections::BTreeMap;

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::splice::RowSource;
use resolvent_ops::{Op, Paired, Residuals, Rows, Span};

use crate::batch::{Batch, PassDirection, Sequence};
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::jet::{Expansion, MAX_LOGIT_ROWS};
use crate::linear::{Fields, Linearization, Source};
use crate::observable::Observable;
use crate::passes::{DeviceSeeds, Tangents, adjoint, tangents};
use crate::run::scheduled;
use crate::site::Site;
use crate::sweep::{Chunk, most_rows, split};

/// The id of the sequence that has the shared cotangent. No sequence of a caller has this id.
const SHARED_COTANGENT: usize = usize::MAX;

impl Linearization<'_> {
    /// Returns `H s` as fields `[L+1, T, d]`, one for each superposition of sources s.
    ///
    /// `H s` is the derivative along s of `dJ/dh[l, t]` at every place, where H is the Hessian of J by all places
    /// together. So `<u, H s>` is the second derivative of J along the sources u and s, and `<s, H s>` is the second
    /// derivative that [`Linearization::along`] returns.
    ///
    /// # Errors
    /// Another mode than [`crate::Mode::Exact`], a source or an observable that does not fit the model or the prompt,
    /// or a device error.
    pub fn hvp<S: AsRef<[Source]>>(&self, sources: &[S], observable: &Observable) -> Result<Fields> {
        let mut fields = Fields::zeros(self.run, sources.len());
        let (tokens, d) = (self.run.tokens().len(), self.config().n_embd);
        self.hvp_at(sources, observable, &self.run.levels(), &mut |chunk| fields.put(chunk, tokens, d))?;
        Ok(fields)
    }

    /// Computes `H s` at `sites` for each superposition of sources, and passes it to `visit` in chunks, batch by batch.
    ///
    /// Values that are not visited are zero.
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
        // A sequence that joins above the level of J does not change it.
        sequences.retain(|s| s.join <= top);
        // The backward pass reaches all earlier tokens, so every sequence owns its tokens from 0 on.
        sequences.iter_mut().for_each(|s| s.span = run.span(0, end));
        sequences.sort_by_key(|s| s.join);
        if matches!(observable, Observable::Logits { terms, .. } if terms.is_empty()) {
            return Ok(());
        }
        // A batch has a row of all logits for each sequence, and one for the shared cotangent.
        let most = if expansion.is_curved() { MAX_LOGIT_ROWS - 1 } else { usize::MAX };
        let groups = split(self.most_rows_of_hvp(wanted.len(), end), sequences);
        for group in groups.iter().flat_map(|group| group.chunks(most)) {
            let batch = Batch::new(self.device(), group, PassDirection::Forward)?;
            let (mut rec, trace) = (self.device().record(), &run.base.trace);
            let dots = tangents(run.program(), &mut rec, &batch, trace, top)?;
            let back = self.backward_sequences(group, observable, top);
            let linear = self.linear_sequences(&back)?;
            let [back, linear] = [&back, &linear].map(|s| Batch::new(self.device(), s, PassDirection::Backward));
            let (back, linear) = (back?, linear?);
            let point = (trace, Some((&dots, batch.rows.count())));
            let seeds = match observable {
                Observable::Field { .. } => None,
                _ => self.head_cotangents(&mut rec, (&dots, &batch), observable, &expansion)?,
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

    /// Returns the sequences of the backward pass: those of `group`, and one for the shared cotangent.
    fn backward_sequences(&self, group: &[Sequence], observable: &Observable, top: usize) -> Vec<Sequence> {
        let paired = group.iter().map(|s| Sequence { join: top, scheduled: Vec::new(), ..s.clone() });
        let seeds = match observable {
            Observable::Field { level, token, direction } => {
                vec![self.seed_edit((*level, *token), direction)]
            }
            _ => Vec::new(),
        };
        let span = self.run.span(0, observable.position() + 1);
        paired.chain([Sequence { id: SHARED_COTANGENT, span, join: top, scheduled: seeds }]).collect()
    }

    /// Returns the same sequences with the linear parts of the run's edits as scheduled edits, last edit first.
    fn linear_sequences(&self, sequences: &[Sequence]) -> Result<Vec<Sequence>> {
        let mut linear = scheduled(self.config(), self.run.program(), self.run.edits(), Edit::linear)?;
        linear.reverse();
        Ok(sequences.iter().map(|s| Sequence { scheduled: linear.clone(), ..s.clone() }).collect())
    }

    /// Computes the cotangent of h\[L\] for an observable of the logits, and its tangent for each sequence.
    ///
    /// Returns both as rows `[rows, d]`, and the row of each sequence by its id. A sequence whose tangent does not
    /// reach h\[L\] has no row. Returns `None` if no tangent reaches h\[L\].
    fn head_cotangents(
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
        let h_dot = base.select_rows(rec, h_dot, &here.iter().map(|end| end - 1).collect::<Vec<usize>>())?;
        let spans: Vec<Span> = vec![self.run.span(position, position + 1); n + 1];
        let rows = Rows::new(device, &spans)?;
        let mut bar = vec![0.0; n * expansion.len()];
        if expansion.is_curved() {
            // The cotangent of the logits has a tangent only if J is not linear in them.
            let rows = Rows::new(device, &spans[1..])?;
            let x_dot = weights.ln_f.jvp(rec, &rows, &base.head_residuals, &[&h_dot])?;
            let recorded = std::mem::replace(rec, device.record());
            rec.scope("unembed");
            let logits_dot = base.all_logits(recorded, &x_dot, &(0..n).collect::<Vec<usize>>())?;
            bar = logits_dot.chunks(expansion.len()).flat_map(|y_dot| expansion.slope_tangent(y_dot)).collect();
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

    /// Returns the most batch rows that fit besides the `shared_rows` rows of the shared cotangent.
    ///
    /// Each row stores `extra` vectors of width d to the end, and what the backward pass needs of every block: the
    /// inputs of both norms, q, k, v, z, and the hidden layer.
    fn most_rows_of_hvp(&self, extra: usize, shared_rows: usize) -> usize {
        let config = self.config();
        let block = 6 + config.n_inner().div_ceil(config.n_embd);
        most_rows(self.run.model(), extra + block * config.n_layer).saturating_sub(shared_rows).max(1)
    }
}
