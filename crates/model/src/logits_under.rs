//! Logits of edited runs.

use resolvent_engine::stepped;
use resolvent_ops::Rows;

use crate::batch::{Batch, PassDirection};
use crate::checkpoint::first_non_finite;
use crate::edit::Edit;
use crate::error::Result;
use crate::passes::{Keep, Origin, forward};
use crate::points::{HeadFunction, Part, Point};
use crate::run::{Run, retained};
use crate::splits::groups;
use crate::sweep::{branch, place_of};

impl Run {
    /// Computes the logits at a position under each list of edits, on top of this run's own edits. It passes them to
    /// `visit` batch by batch: indices of lists, and their logits `[n, V]` one after another. Each list is visited
    /// once.
    ///
    /// Lists whose edits do not reach the position have the logits of this run.
    ///
    /// # Errors
    /// An edit that does not fit, a position outside of the prompt, a value that is not finite, or a device error.
    pub fn logits_under<E: AsRef<[Edit]>>(
        &self,
        edit_lists: &[E],
        position: usize,
        visit: &mut dyn FnMut(&[usize], Vec<f32>),
    ) -> Result<()> {
        let (sizes, model, program) = (self.sizes(), self.model(), self.program());
        let own = self.logits_at(position)?;
        let point = [Point { level: sizes.layers, token: position, part: Part::Logits(HeadFunction::default()) }];
        let (mut sequences, mut untouched) = (Vec::new(), Vec::new());
        for (id, edits) in edit_lists.iter().enumerate() {
            let edits = edits.as_ref();
            edits.iter().try_for_each(|e| e.check(sizes, self.tokens().len()))?;
            match branch((self, edits, position + 1), id, &point)? {
                Some(sequence) => sequences.push(sequence),
                None => untouched.push(id),
            }
        }
        for ids in untouched.chunks(model.most_logit_rows()) {
            visit(ids, own.repeat(ids.len()));
        }
        let top = program.head_input;
        for group in stepped("edited runs", groups(model, 1, sequences), Vec::len) {
            let batch = Batch::new(self.device(), &group, PassDirection::Forward)?;
            let narrow = match program.mixed(sizes.layers) {
                Some(at) => batch.last_rows(self.device(), at)?,
                None => None,
            };
            let row = |i: usize| match narrow {
                Some(_) => batch.place(i),
                None => batch.range(i).end - 1,
            };
            let all: Vec<(usize, usize)> = group.iter().enumerate().map(|(i, s)| (s.id, row(i))).collect();
            let keep = Keep { values: [top].into(), residuals: false, narrow };
            let mut rec = self.device().record();
            let trace = forward(program, &mut rec, &batch, Origin::Base(&self.base.trace), &keep)?;
            let h = retained(&trace, top)?;
            self.device().submit(rec)?;
            for part in all.chunks(model.most_logit_rows()) {
                let (ids, rows): (Vec<usize>, Vec<usize>) = part.iter().copied().unzip();
                let mut rec = self.device().record();
                rec.scope("ln_f");
                let h = model.select_rows(&mut rec, h, &rows)?;
                let span = self.span(position, position + 1);
                let table = Rows::new(self.device(), &vec![span; rows.len()])?;
                let normed = program.final_norm.primal(&mut rec, &table, None, &[&h])?.y;
                rec.scope("unembed");
                let logits = model.logits(&mut rec, &normed, &(0..rows.len()).collect::<Vec<usize>>())?;
                self.device().submit(rec)?;
                let logits = self.device().read(&logits)?;
                if let Some(at) = first_non_finite(&logits) {
                    let (list, entry) = (ids[at / sizes.vocab], at % sizes.vocab);
                    let place = format!("{}, entry #{entry}", place_of(edit_lists[list].as_ref()));
                    return Err(self.not_finite("the logit", logits[at], &place));
                }
                visit(&ids, logits);
            }
        }
        Ok(())
    }
}
