//! Rows of a ragged batch.

use resolvent_engine::{Device, Error, Result, Tensor};

/// The tokens that one run of a batch owns, and where its base run keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Row of token 0 of the prompt in the base run's buffers.
    pub primal: usize,
    /// First token that the run owns.
    pub start: usize,
    /// One past the last token that it owns.
    pub end: usize,
}

impl Span {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.end - self.start
    }
}

/// The rows of a batch, run after run, each run owning tokens `start..end`.
#[derive(Clone, Debug)]
pub struct Rows {
    table: Tensor,
    count: usize,
    square: f64,
}

impl Rows {
    /// The table of `spans`, uploaded. An error if there are no rows, or if a span is empty.
    pub fn new(device: &Device, spans: &[Span]) -> Result<Self> {
        if spans.is_empty() || spans.iter().any(|s| s.start >= s.end) {
            return Err(Error::shape("rows", format!("a batch needs runs that own rows, got {spans:?}")));
        }
        let (mut table, mut first) = (Vec::new(), 0);
        for span in spans {
            for t in span.start..span.end {
                table.push([span.primal + t, first, span.start, span.end].map(|n| n as u32));
            }
            first += span.rows();
        }
        let square = spans.iter().map(|s| (s.rows() * (s.start + s.end + 1)) as f64 / 2.0).sum();
        let table = device.upload("rows", &[("rows", first), ("entry", 4)], bytemuck::cast_slice::<_, u32>(&table))?;
        Ok(Self { table, count: first, square })
    }

    /// The first `count` rows, which must end with a run.
    pub fn prefix(&self, count: usize) -> Self {
        let share = count as f64 / self.count as f64;
        Self { table: self.table.clone(), count, square: self.square * share }
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// `[rows, 4]`: (primal row, first row of the run, first token, end).
    pub fn table(&self) -> &Tensor {
        &self.table
    }

    /// Pairs (query, key) under the causal mask: what attention's cost grows with.
    pub(crate) fn pairs(&self) -> f64 {
        self.square
    }
}

/// A row of the table, as host bodies read it.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) primal: usize,
    pub(crate) first: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Row {
    pub(crate) fn read(table: &[u32], row: usize) -> Self {
        let [primal, first, start, end] = [0, 1, 2, 3].map(|i| table[4 * row + i] as usize);
        Self { primal, first, start, end }
    }

    /// Token of batch row `row`.
    pub(crate) fn token(&self, row: usize) -> usize {
        self.start + row - self.first
    }

    /// Batch row of token `t`, which the run owns.
    pub(crate) fn own(&self, t: usize) -> usize {
        self.first + t - self.start
    }

    /// Base row of token `t`.
    pub(crate) fn base(&self, row: usize, t: usize) -> usize {
        self.primal + t - self.token(row)
    }
}
