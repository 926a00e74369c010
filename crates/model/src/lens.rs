//! Logits that the head gives for rows of any level: the logit lens.

use std::ops::Range;

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::{Rows, Span};

use crate::checkpoint::first_non_finite;
use crate::error::{Error, Result};
use crate::run::{Run, retained};

impl Run {
    /// Passes `each` the logits `[V]` of every place, as if h\[l, t\] were a row of the last level: its final norm and
    /// its unembedding. Arguments are level, token and logits; places come level by level. The device waits once for as
    /// many rows as fit the memory of a batch.
    ///
    /// # Errors
    /// A value that is not finite, or a device error.
    pub fn lens(&self, each: &mut dyn FnMut(usize, usize, &[f32])) -> Result<()> {
        let levels: Vec<usize> = (0..self.program().field.len()).collect();
        self.read_by_head(&levels, None, each)
    }

    /// As [`Run::lens`], for rows that take the place of those of some levels: `rows [levels, T, d]`.
    ///
    /// # Errors
    /// As [`Run::lens`], or rows of another number.
    pub fn lens_of(&self, levels: &[usize], rows: &[f32], each: &mut dyn FnMut(usize, usize, &[f32])) -> Result<()> {
        let (got, wanted) = (rows.len(), levels.len() * self.tokens().len() * self.sizes().d);
        if got != wanted {
            return Err(Error::Place(format!("{got} elements of rows: expected {wanted}, a row for each place")));
        }
        self.read_by_head(levels, Some(rows), each)
    }

    fn read_by_head(
        &self,
        levels: &[usize],
        rows: Option<&[f32]>,
        each: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<()> {
        let (tokens, sizes) = (self.tokens().len(), self.sizes());
        let most = self.model().most_logit_rows();
        let ranges = (0..tokens).step_by(most).map(|from| from..(from + most).min(tokens));
        let of_level = |i: usize| ranges.clone().map(move |range| (i, range));
        let mut parts = (0..levels.len()).flat_map(of_level).peekable();
        while parts.peek().is_some() {
            let (mut rec, mut count, mut recorded) = (self.device().record(), 0, Vec::new());
            while let Some((i, range)) = parts.next_if(|(_, range)| count == 0 || count + range.len() <= most) {
                count += range.len();
                let h = match rows {
                    None => {
                        // Rows of a batch may begin anywhere, and a kernel reads aligned memory only.
                        let (all, first) =
                            (retained(&self.base.trace, self.program().field[levels[i]])?, self.span(0, 0).primal);
                        self.model().select_rows(&mut rec, all, &(first..first + tokens).collect::<Vec<usize>>())?
                    }
                    Some(rows) => {
                        let of_level = &rows[i * tokens * sizes.d..][..tokens * sizes.d];
                        self.device().upload("lens", &[("rows", tokens), ("d", sizes.d)], of_level)?
                    }
                };
                let logits = self.record_lens(&mut rec, &h, range.clone())?;
                recorded.push((levels[i], range, logits));
            }
            self.device().submit(rec)?;
            let read = self.device().read_many(&recorded.iter().map(|(.., logits)| logits).collect::<Vec<_>>())?;
            for ((level, range, _), logits) in recorded.into_iter().zip(read) {
                for (token, logits) in range.zip(logits.chunks(sizes.vocab)) {
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

    /// Records the logits of some tokens, from rows `h [T, d]` in the place of the last level.
    fn record_lens(&self, rec: &mut Recording, h: &Tensor, tokens: Range<usize>) -> Result<Tensor> {
        rec.scope("ln_f");
        let table = Rows::new(self.device(), &[Span { primal: 0, start: 0, end: self.tokens().len() }])?;
        let x = self.model().0.weights.final_norm.primal(rec, &table, None, &[h])?.y;
        rec.scope("unembed");
        self.model().logits(rec, &x, &tokens.collect::<Vec<usize>>())
    }
}
