//! Reading observables from rows of the field, and logits from rows of the final norm.

use std::collections::BTreeSet;

use resolvent_engine::{Device, Recording, Tensor};
use resolvent_ops::{Rows, Span};

use crate::error::Result;
use crate::head::{HeadRow, PendingHead};
use crate::points::{HeadFunction, Part, Point};
use crate::run::{Base, retained};

/// A function of a row of the field: the row of a batch, its token, and the function.
#[derive(Clone, Copy)]
pub(crate) struct Read<'a> {
    pub(crate) row: usize,
    pub(crate) token: usize,
    pub(crate) part: &'a Part,
}

/// The numbers of the run and of the point of each read.
pub(crate) type Places = Vec<(usize, usize)>;

/// Functions of rows that are recorded, before they are read.
pub(crate) struct Pending<'a> {
    reads: Vec<Read<'a>>,
    /// Rows of the field, for projections.
    rows: Option<Tensor>,
    head: Option<PendingHead>,
}

impl<'a> Pending<'a> {
    fn functions(&self) -> Vec<&'a HeadFunction> {
        self.reads.iter().filter_map(|read| head_function(read.part)).collect()
    }

    fn values(&self, read: &mut dyn Iterator<Item = Vec<f32>>) -> Vec<f64> {
        let rows = self.rows.as_ref().and_then(|_| read.next()).unwrap_or_default();
        let heads = self.head.as_ref().map_or_else(Vec::new, |head| head.values(&self.functions(), read));
        let (mut at, mut heads) = (0, heads.into_iter());
        let value = |read: &Read<'_>| match read.part {
            Part::Projection(u) => {
                at += u.len();
                dot(u, &rows[at - u.len()..at])
            }
            Part::Logits(_) => heads.next().unwrap_or(f64::NAN),
        };
        self.reads.iter().map(value).collect()
    }
}

/// Waits for functions of rows, all at once.
pub(crate) fn finish(device: &Device, pending: &[Pending<'_>]) -> Result<Vec<Vec<f64>>> {
    let tensors = |p: &'_ Pending<'_>| -> Vec<Tensor> {
        p.rows.iter().chain(p.head.iter().flat_map(PendingHead::tensors)).cloned().collect()
    };
    let tensors: Vec<Tensor> = pending.iter().flat_map(tensors).collect();
    let mut read = device.read_many(&tensors.iter().collect::<Vec<&Tensor>>())?.into_iter();
    Ok(pending.iter().map(|p| p.values(&mut read)).collect())
}

fn head_function(part: &Part) -> Option<&HeadFunction> {
    match part {
        Part::Projection(_) => None,
        Part::Logits(function) => Some(function),
    }
}

impl Base {
    /// Records functions of rows of `h [rows, d]`, a level of the field. Functions of logits need what the head reads.
    pub(crate) fn record_rows<'a>(&self, rec: &mut Recording, h: &Tensor, reads: Vec<Read<'a>>) -> Result<Pending<'a>> {
        let (device, model) = (self.model.device(), &self.model);
        let rows = self.record_projections(rec, h, &reads)?;
        let heads: Vec<(&Read<'a>, &HeadFunction)> =
            reads.iter().filter_map(|read| Some((read, head_function(read.part)?))).collect();
        if heads.is_empty() {
            return Ok(Pending { reads, rows, head: None });
        }
        rec.scope("ln_f");
        let h = model.select_rows(rec, h, &heads.iter().map(|(read, _)| read.row).collect::<Vec<usize>>())?;
        let span = |token| Span { primal: 0, start: token, end: token + 1 };
        let table = Rows::new(device, &heads.iter().map(|(read, _)| span(read.token)).collect::<Vec<Span>>())?;
        let x = self.program.final_norm.primal(rec, &table, None, &[&h])?.y;
        let at: Vec<HeadRow<'_>> = heads.iter().enumerate().map(|(i, (_, function))| (i, *function)).collect();
        let head = Some(model.record_head(rec, &x, &at)?);
        Ok(Pending { reads, rows, head })
    }

    /// Records functions of rows of this base itself, whose final norm is known: of level `level`.
    pub(crate) fn record_own<'a>(
        &self,
        rec: &mut Recording,
        level: usize,
        reads: Vec<Read<'a>>,
    ) -> Result<Pending<'a>> {
        let h = retained(&self.trace, self.program.field[level])?;
        let rows = self.record_projections(rec, h, &reads)?;
        let at: Vec<HeadRow<'_>> =
            reads.iter().filter_map(|read| Some((read.row, head_function(read.part)?))).collect();
        let head = match at.is_empty() {
            true => None,
            false => Some(self.model.record_head(rec, &self.normed, &at)?),
        };
        Ok(Pending { reads, rows, head })
    }

    /// Records parts of observables of runs of this base, level by level. `runs` lists, for each, its number, its first
    /// row in the base, and its points. Returns the number of the run and of the point of each read.
    pub(crate) fn record_parts<'a>(
        &self,
        rec: &mut Recording,
        runs: &[(usize, usize, &'a [Point])],
    ) -> Result<Vec<(Places, Pending<'a>)>> {
        let points = |&(n, first, points): &(usize, usize, &'a [Point])| {
            points.iter().enumerate().map(move |(i, point)| (n, first, i, point))
        };
        let all: Vec<(usize, usize, usize, &Point)> = runs.iter().flat_map(points).collect();
        let levels: BTreeSet<usize> = all.iter().map(|(.., point)| point.level).collect();
        let mut record = |level: usize| {
            let here = all.iter().filter(|(.., point)| point.level == level);
            let read =
                |first, point: &'a Point| Read { row: first + point.token, token: point.token, part: &point.part };
            let (places, reads) = here.map(|&(n, first, i, point)| ((n, i), read(first, point))).unzip();
            Ok((places, self.record_own(rec, level, reads)?))
        };
        levels.into_iter().map(&mut record).collect()
    }

    fn record_projections(&self, rec: &mut Recording, h: &Tensor, reads: &[Read<'_>]) -> Result<Option<Tensor>> {
        let rows: Vec<usize> =
            reads.iter().filter(|read| head_function(read.part).is_none()).map(|read| read.row).collect();
        (!rows.is_empty()).then(|| self.model.select_rows(rec, h, &rows)).transpose()
    }

    /// Computes logits `[rows, V]` of some rows of `x [_, d]`, the final norm's output. Submits `rec`.
    ///
    /// If x has tangents, of the row of this base that `points` names for each, the logits are tangents too.
    pub(crate) fn all_logits(
        &self,
        rec: Recording,
        x: &Tensor,
        rows: &[usize],
        points: Option<&[usize]>,
    ) -> Result<Vec<f32>> {
        let (model, device) = (&self.model, self.model.device());
        device.submit(rec)?;
        let mut logits = Vec::with_capacity(rows.len() * model.sizes().vocab);
        for (n, rows) in rows.chunks(model.most_logit_rows()).enumerate() {
            let first = n * model.most_logit_rows();
            let mut rec = device.record();
            rec.scope("unembed");
            let part = match points {
                None => model.logits(&mut rec, x, rows)?,
                Some(points) => {
                    let points = &points[first..first + rows.len()];
                    model.logit_tangents(&mut rec, (x, rows), (&self.normed, points))?
                }
            };
            device.submit(rec)?;
            logits.extend(device.read(&part)?);
        }
        Ok(logits)
    }
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
