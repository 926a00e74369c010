//! Reading observables from rows of the field, and logits from rows of the final norm.

use std::collections::BTreeSet;

use resolvent_engine::{Recording, Tensor};
use resolvent_ops::splice::{RowPlan, RowSource};
use resolvent_ops::{Op, Rows, Span};

use crate::error::Result;
use crate::observable::Observable;
use crate::run::Base;

/// A row of a batch, and the observable that is read from it.
pub(crate) type Read<'a> = (usize, &'a Observable);

impl Base {
    /// Returns some rows of a `[_, d]` tensor.
    pub(crate) fn select_rows(&self, rec: &mut Recording, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        if rows.len() == x.shape().lengths()[0] && rows.iter().enumerate().all(|(i, &row)| i == row) {
            return Ok(x.clone());
        }
        let sources: Vec<RowSource> = rows.iter().map(|&row| RowSource::X(row)).collect();
        let plan = RowPlan::new(self.model.device(), self.model.config().n_embd, &sources, &[])?;
        Ok(plan.primal(rec, x, x)?)
    }

    /// Reads observables of the field, each at its row of `h [rows, d]`, the level that they are read from.
    pub(crate) fn read_field(&self, mut rec: Recording, h: &Tensor, reads: &[Read<'_>]) -> Result<Vec<f64>> {
        let rows: Vec<usize> = reads.iter().map(|read| read.0).collect();
        let h = self.select_rows(&mut rec, h, &rows)?;
        self.model.device().submit(rec)?;
        let h = self.model.device().read(&h)?;
        let each = h.chunks(self.model.config().n_embd).zip(reads);
        Ok(each
            .map(|(row, (_, j))| if let Observable::Field { direction, .. } = j { dot(direction, row) } else { 0.0 })
            .collect())
    }

    /// Reads observables of the logits, each at its row of `h [rows, d]`, level L.
    pub(crate) fn read_last(&self, mut rec: Recording, h: &Tensor, reads: &[Read<'_>]) -> Result<Vec<f64>> {
        rec.scope("unembed");
        let rows: Vec<usize> = reads.iter().map(|read| read.0).collect();
        let h = self.select_rows(&mut rec, h, &rows)?;
        let span = |(_, j): &Read<'_>| Span { primal: 0, start: j.position(), end: j.position() + 1 };
        let spans: Vec<Span> = reads.iter().map(span).collect();
        let table = Rows::new(self.model.device(), &spans)?;
        let x = self.model.0.weights.ln_f.primal(&mut rec, &table, None, &[&h])?.y;
        let reads: Vec<Read<'_>> = reads.iter().enumerate().map(|(i, read)| (i, read.1)).collect();
        self.read_head(rec, &x, &reads)
    }

    /// Reads observables of the logits, each at its row of `x [rows, d]`, the final norm's output. Submits `rec`.
    pub(crate) fn read_head(&self, mut rec: Recording, x: &Tensor, reads: &[Read<'_>]) -> Result<Vec<f64>> {
        rec.scope("unembed");
        let rows: Vec<usize> = reads.iter().map(|read| read.0).collect();
        let entries: Option<Vec<Vec<u32>>> = reads.iter().map(|(_, j)| j.entries()).collect();
        let Some(entries) = entries else {
            let logits = self.all_logits(rec, x, &rows)?;
            let each = logits.chunks(self.model.config().vocab_size).zip(reads);
            // All logits are computed, but some observables need only a few of them.
            let few = |ids: Vec<u32>, row: &[f32]| ids.iter().map(|&id| row[id as usize]).collect::<Vec<f32>>();
            let value = |(row, (_, j)): (&[f32], &Read<'_>)| match j.entries() {
                Some(ids) => j.of_logits(&few(ids, row)),
                None => j.of_logits(row),
            };
            return Ok(each.map(value).collect());
        };
        let ids: Vec<u32> = entries.concat().into_iter().collect::<BTreeSet<u32>>().into_iter().collect();
        let x = self.select_rows(&mut rec, x, &rows)?;
        let wanted = self.model.device().upload("wanted", &[("wanted", ids.len())], &ids)?;
        let logits = self.model.0.weights.unembed.primal(&mut rec, &x, &wanted)?;
        self.model.device().submit(rec)?;
        let logits = self.model.device().read(&logits)?;
        let at = |row: &[f32], id: &u32| ids.binary_search(id).map_or(f32::NAN, |i| row[i]);
        let each = logits.chunks(ids.len()).zip(reads).zip(&entries);
        Ok(each
            .map(|((row, (_, j)), entries)| j.of_logits(&entries.iter().map(|id| at(row, id)).collect::<Vec<f32>>()))
            .collect())
    }

    /// Computes logits `[rows, V]` of some rows of `x [_, d]`, the final norm's output. Submits `rec`.
    pub(crate) fn all_logits(&self, rec: Recording, x: &Tensor, rows: &[usize]) -> Result<Vec<f32>> {
        self.model.device().submit(rec)?;
        let vocab = self.model.config().vocab_size;
        let step = (self.model.device().info().max_binding / (4 * vocab as u64)).max(1) as usize;
        let mut logits = Vec::with_capacity(rows.len() * vocab);
        for rows in rows.chunks(step) {
            let mut rec = self.model.device().record();
            rec.scope("unembed");
            let x = self.select_rows(&mut rec, x, rows)?;
            let part = self.model.0.weights.unembed.primal_all(&mut rec, &x)?;
            self.model.device().submit(rec)?;
            logits.extend(self.model.device().read(&part)?);
        }
        Ok(logits)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
