//! Logits that the head gives for rows of any level: the logit lens.

use std::ops::Range;

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::{Rows, Span};

use crate::checkpoint::first_non_finite;
use crate::error::Result;
use crate::run::Run;

impl Run {
    /// Passes `each` the logits `[V]` of every place, as if h\[l, t\] were a row of the last level: its final norm and its
    /// unembedding. Arguments are level, token and logits; places come level by level. The device waits once for as many rows
    /// as fit the memory of a batch.
    ///
    /// # Errors
    /// A value that is not finite, or a device error.
    pub fn lens(&self, each: &mut dyn FnMut(usize, usize, &[f32])) -> Result<()> {
        let (levels, tokens, vocab) = (self.program().field.len(), self.tokens().len(), self.sizes().vocab);
        let most = self.model().most_logit_rows();
        let ranges = (0..tokens).step_by(most).map(|from| from..(from + most).min(tokens));
        let of_level = |level: usize| ranges.clone().map(move |range| (level, range));
        let mut parts = (0..levels).flat_map(of_level).peekable();
        while parts.peek().is_some() {
            let (mut rec, mut rows, mut recorded) = (self.device().record(), 0, Vec::new());
            while let Some((level, range)) = parts.next_if(|(_, range)| rows == 0 || rows + range.len() <= most) {
                rows += range.len();
                let logits = self.record_lens(&mut rec, level, range.clone())?;
                recorded.push((level, range, logits));
            }
            self.device().submit(rec)?;
            let read = self.device().read_many(&recorded.iter().map(|(.., logits)| logits).collect::<Vec<_>>())?;
            for ((level, range, _), logits) in recorded.into_iter().zip(read) {
                for (token, logits) in range.zip(logits.chunks(vocab)) {
                    if let Some(at) = first_non_finite(logits) {
                        let place = format!("level {level}, token {token}, entry #{at}");
                        return Err(self.not_finite("the logit", logits[at], &place));
                    }
                    each(level, token, logits);
                }
            }
        }
        Ok(())
    }

    /// Records the logits of some tokens of a level.
    fn record_lens(&self, rec: &mut Recording, level: usize, tokens: Range<usize>) -> Result<Tensor> {
        rec.scope("ln_f");
        let h = self.rows_of(self.program().field[level])?;
        let table = Rows::new(self.device(), &[Span { primal: 0, start: 0, end: self.tokens().len() }])?;
        let x = self.model().0.weights.final_norm.primal(rec, &table, None, &[&h])?.y;
        rec.scope("unembed");
        self.model().logits(rec, &x, &tokens.collect::<Vec<usize>>())
    }
}
