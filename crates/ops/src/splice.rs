//! Splice: rows picked from x, from a base run or zero, then edited in order.  `[_, d], [primal, d] -> [rows, d]`
//!
//! What a ragged batch needs besides arithmetic: runs that join, rows picked out, and localised sources. Tangents and
//! cotangents take the same kernel: a source is a [`RowEdit::Add`], and the linear part of an edit is itself an edit,
//! with a symmetric matrix. The residual is the plan itself.

use resolvent_engine::{Bound, Device, Error, Kernel, Recording, Result, Tensor, as_u32};
use resolvent_shaders::splice::{self as shader, Params};

use crate::arguments::{launch, params};
use crate::host::{axpy, dot, each_row};

const NAME: &str = "splice";

/// Where a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowSource {
    /// Zero: a tangent run that joins.
    Zero,
    /// This row of x.
    X(usize),
    /// This row of the base run.
    Base(usize),
}

/// What an edit does to columns `from..` of a row y, with a vector s.
#[derive(Clone, Debug, PartialEq)]
pub enum RowEdit {
    /// `y += amount s`.
    Add {
        /// Factor of `s`.
        amount: f32,
        /// The vector.
        s: Vec<f32>,
    },
    /// `y = s`.
    Put {
        /// The vector.
        s: Vec<f32>,
    },
    /// `y *= amount` over `width` columns; 0 ablates.
    Scale {
        /// Factor.
        amount: f32,
        /// Columns.
        width: usize,
    },
    /// `y -= (<y, s> / <s, s>) s`; nothing where s is zero.
    Project {
        /// The direction that is taken out.
        s: Vec<f32>,
    },
    /// The same columns of row `row` of the base run, over `width` columns.
    Take {
        /// Row of the base run.
        row: usize,
        /// Columns.
        width: usize,
    },
}

impl RowEdit {
    /// Columns that it touches.
    pub fn width(&self) -> usize {
        match self {
            Self::Scale { width, .. } | Self::Take { width, .. } => *width,
            Self::Add { s, .. } | Self::Put { s } | Self::Project { s } => s.len(),
        }
    }
}

/// Rows and their edits, uploaded.
#[derive(Clone, Debug)]
pub struct RowPlan {
    rows: usize,
    d: usize,
    sources: Tensor,
    edits: Tensor,
    amounts: Tensor,
    vectors: Tensor,
    /// Rows that the base needs, for edits that take some.
    taken: usize,
}

impl RowPlan {
    /// A plan for rows of width `d`: each row's source, then `(row, first column, change)` sorted by row and, within a
    /// row, in the order in which they act.
    pub fn new(device: &Device, d: usize, sources: &[RowSource], edits: &[(usize, usize, &RowEdit)]) -> Result<Self> {
        let (mut table, mut amounts, mut vectors, mut taken) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for &(row, from, change) in edits {
            let width = change.width();
            if row >= sources.len() || from + width > d {
                let reason =
                    format!("edit of row {row}, columns {from}..{} outside [{}, {d}]", from + width, sources.len());
                return Err(Error::shape(NAME, reason));
            }
            let (kind, amount, s): (u32, f32, &[f32]) = match change {
                RowEdit::Add { amount, s } => (0, *amount, s),
                RowEdit::Put { s } => (1, 1.0, s),
                RowEdit::Scale { amount, .. } => (2, *amount, &[]),
                RowEdit::Project { s } => (3, 1.0, s),
                RowEdit::Take { .. } => (4, 1.0, &[]),
            };
            let at = if let RowEdit::Take { row, .. } = change { *row } else { vectors.len() };
            taken = taken.max(if kind == 4 { at + 1 } else { 0 });
            table.push([kind, from as u32, width as u32, at as u32]);
            amounts.push(amount);
            vectors.extend_from_slice(s);
        }
        let mut rows = Vec::with_capacity(sources.len());
        let mut first = 0;
        for (row, source) in sources.iter().enumerate() {
            let count = edits[first..].iter().take_while(|(r, ..)| *r == row).count();
            let (kind, at) = match *source {
                RowSource::Zero => (0, 0),
                RowSource::X(at) => (1, at),
                RowSource::Base(at) => (2, at),
            };
            rows.push([kind, at as u32, first as u32, count as u32]);
            first += count;
        }
        if first != edits.len() {
            return Err(Error::shape(NAME, "edits must be sorted by row"));
        }
        // Bindings may not be empty: a plan without edits carries one that no row names.
        table.resize(table.len().max(1), [0; 4]);
        amounts.resize(amounts.len().max(1), 0.0);
        vectors.resize(vectors.len().max(1), 0.0);
        let table: &[u32] = bytemuck::cast_slice(&table);
        Ok(Self {
            rows: sources.len(),
            d,
            sources: device.upload(
                "sources",
                &[("rows", sources.len()), ("entry", 4)],
                bytemuck::cast_slice::<_, u32>(&rows),
            )?,
            edits: device.upload("edits", &[("edits", amounts.len()), ("entry", 4)], table)?,
            amounts: device.upload("amounts", &[("edits", amounts.len())], &amounts)?,
            vectors: device.upload("vectors", &[("elements", vectors.len())], &vectors)?,
            taken,
        })
    }

    /// The rows of `x [_, d]` and `base [primal, d]`, edited: `[rows, d]`.
    pub fn primal(&self, rec: &mut Recording, x: &Tensor, base: &Tensor) -> Result<Tensor> {
        let y = rec.tensor(NAME, &[("rows", self.rows), ("d", self.d)])?;
        self.primal_into(rec, x, base, &y)?;
        Ok(y)
    }

    /// Writes the rows into `y [rows, d]`, which may be a part of a larger tensor.
    pub fn primal_into(&self, rec: &mut Recording, x: &Tensor, base: &Tensor, y: &Tensor) -> Result<()> {
        y.expect(NAME, &[("rows", self.rows), ("d", self.d)])?;
        for t in [x, base] {
            t.expect(NAME, &[("rows", t.shape().lengths()[0]), ("d", self.d)])?;
        }
        if base.shape().lengths()[0] < self.taken {
            return Err(Error::shape(NAME, format!("an edit takes row {} of {}", self.taken - 1, base.shape())));
        }
        let params = Params { d: self.d as u32 };
        let Self { sources, edits, amounts, vectors, .. } = self;
        let buffers = shader::primal::Bindings { x, base, sources, edits, amounts, vectors, y };
        let n = (self.rows * self.d) as f64;
        rec.launch(launch(&PRIMAL, params, buffers, [self.rows as u32, 1, 1]).work(n, 8.0 * n))
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: splice };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL];

fn splice(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::primal::Bindings::of(bound.slices());
    let shader::primal::Bindings { x, base, amounts, vectors, .. } = buffers;
    let (d, sources, edits) = (p.d as usize, as_u32(buffers.sources), as_u32(buffers.edits));
    each_row(buffers.y, d, |row, y| {
        let [kind, at, first, count] = [0, 1, 2, 3].map(|i| sources[4 * row + i] as usize);
        match kind {
            0 => y.fill(0.0),
            1 => y.copy_from_slice(&x[at * d..][..d]),
            _ => y.copy_from_slice(&base[at * d..][..d]),
        }
        for n in first..first + count {
            let [kind, from, width, offset] = [0, 1, 2, 3].map(|i| edits[4 * n + i] as usize);
            let y = &mut y[from..from + width];
            let s = if matches!(kind, 2 | 4) { &[] } else { &vectors[offset..offset + width] };
            match kind {
                0 => axpy(amounts[n], s, y),
                1 => y.copy_from_slice(s),
                2 => y.iter_mut().for_each(|y| *y *= amounts[n]),
                4 => y.copy_from_slice(&base[offset * d + from..][..width]),
                _ => {
                    let size = dot(s, s);
                    if size > 0.0 {
                        axpy(-dot(y, s) / size, s, y);
                    }
                }
            }
        }
    });
}
