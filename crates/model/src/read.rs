//! Reading observables from rows of the field, and logits from rows of the final norm.

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::{Op, Rows, Span};

use crate::error::Result;
use crate::head::HeadRow;
use crate::points::{HeadFunction, Part};
use crate::run::Base;

/// A function of a row of the field: the row of a batch, its token, and the function.
#[derive(Clone, Copy)]
pub(crate) struct Read<'a> {
    pub(crate) row: usize,
    pub(crate) token: usize,
    pub(crate) part: &'a Part,
}

impl Base {
    /// Reads functions of rows of `h [rows, d]`, a level of the field. Functions of logits need level L.
    pub(crate) fn read_rows(&self, h: &Tensor, reads: &[Read<'_>]) -> Result<Vec<f64>> {
        let mut values = vec![0.0; reads.len()];
        let (mut projections, mut heads) = (Vec::new(), Vec::new());
        for (i, read) in reads.iter().enumerate() {
            match read.part {
                Part::Projection(u) => projections.push((i, u)),
                Part::Logits(function) => heads.push((i, function)),
            }
        }
        let device = self.model.device();
        if !projections.is_empty() {
            let mut rec = device.record();
            let rows: Vec<usize> = projections.iter().map(|(i, _)| reads[*i].row).collect();
            let h = self.model.select_rows(&mut rec, h, &rows)?;
            device.submit(rec)?;
            let h = device.read(&h)?;
            for (row, (i, u)) in h.chunks(self.model.config().n_embd).zip(projections) {
                values[i] = dot(u, row);
            }
        }
        if !heads.is_empty() {
            let at = |i: usize| (reads[i].row, reads[i].token);
            let found = self.read_last(h, &heads.iter().map(|&(i, f)| (at(i), f)).collect::<Vec<_>>())?;
            heads.iter().zip(found).for_each(|((i, _), value)| values[*i] = value);
        }
        Ok(values)
    }

    /// Reads functions of the logits, each at its row of `h [rows, d]`, level L, and its token.
    fn read_last(&self, h: &Tensor, reads: &[((usize, usize), &HeadFunction)]) -> Result<Vec<f64>> {
        let mut rec = self.model.device().record();
        rec.scope("ln_f");
        let rows: Vec<usize> = reads.iter().map(|((row, _), _)| *row).collect();
        let h = self.model.select_rows(&mut rec, h, &rows)?;
        let spans: Vec<Span> =
            reads.iter().map(|&((_, token), _)| Span { primal: 0, start: token, end: token + 1 }).collect();
        let table = Rows::new(self.model.device(), &spans)?;
        let x = self.model.0.weights.ln_f.primal(&mut rec, &table, None, &[&h])?.y;
        let reads: Vec<HeadRow<'_>> = reads.iter().enumerate().map(|(i, (_, function))| (i, *function)).collect();
        self.model.read_head(rec, &x, &reads)
    }

    /// Computes logits `[rows, V]` of some rows of `x [_, d]`, the final norm's output. Submits `rec`.
    pub(crate) fn all_logits(&self, rec: Recording, x: &Tensor, rows: &[usize]) -> Result<Vec<f32>> {
        self.model.device().submit(rec)?;
        let vocab = self.model.config().vocab_size;
        let mut logits = Vec::with_capacity(rows.len() * vocab);
        for rows in rows.chunks(self.model.most_logit_rows()) {
            let mut rec = self.model.device().record();
            rec.scope("unembed");
            let x = self.model.select_rows(&mut rec, x, rows)?;
            let part = self.model.0.weights.unembed.primal_all(&mut rec, &x)?;
            self.model.device().submit(rec)?;
            logits.extend(self.model.device().read(&part)?);
        }
        Ok(logits)
    }
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
