//! Rows of a ragged batch.

use resolvent_engine::{Device, Error, Result, Tensor};

/// The tokens that one sequence of a batch owns, and their rows in the base run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Row of token 0 of the prompt in the base run's buffers.
    pub primal: usize,
    /// First token that the sequence owns.
    pub start: usize,
    /// One past the last token that it owns.
    pub end: usize,
}

impl Span {
    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.end - self.start
    }
}

/// The rows of a batch, sequence after sequence; a sequence owns tokens `start..end`.
#[derive(Clone, Debug)]
pub struct Rows {
    table: Tensor,
    count: usize,
    square: f64,
    /// Entry of the table from which the rows of shared cotangents are named; 0 if there are none.
    shared_from: usize,
}

impl Rows {
    /// Uploads the table of `spans`. Fails if there are no rows, or if a span is empty.
    pub fn new(device: &Device, spans: &[Span]) -> Result<Self> {
        Self::upload(device, spans, &[])
    }

    /// Uploads the table of `spans` for an hvp. `shared` has, for each sequence, the index of the one that has its
    /// shared cotangent. Fails as [`Rows::new`], or if the two sequences have different numbers of rows.
    pub fn paired(device: &Device, spans: &[Span], shared: &[usize]) -> Result<Self> {
        let fits = |(span, of): (&Span, &usize)| spans.get(*of).is_some_and(|other| other.rows() == span.rows());
        if shared.len() != spans.len() || !spans.iter().zip(shared).all(fits) {
            let reason = format!("shared cotangents {shared:?} do not fit the sequences {spans:?}");
            return Err(Error::shape("rows", reason));
        }
        Self::upload(device, spans, shared)
    }

    fn upload(device: &Device, spans: &[Span], shared: &[usize]) -> Result<Self> {
        if spans.is_empty() || spans.iter().any(|s| s.start >= s.end) {
            return Err(Error::shape("rows", format!("a batch needs sequences that own rows, got {spans:?}")));
        }
        let (mut table, mut firsts, mut first) = (Vec::new(), Vec::with_capacity(spans.len()), 0);
        for span in spans {
            firsts.push(first);
            for t in span.start..span.end {
                table.push([span.primal + t, first, span.start, span.end].map(|n| n as u32));
            }
            first += span.rows();
        }
        for (span, &of) in spans.iter().zip(shared) {
            table.extend((0..span.rows()).map(|t| [(firsts[of] + t) as u32, 0, 0, 0]));
        }
        let square = spans.iter().map(|s| (s.rows() * (s.start + s.end + 1)) as f64 / 2.0).sum();
        let table =
            device.upload("rows", &[("rows", table.len()), ("entry", 4)], bytemuck::cast_slice::<_, u32>(&table))?;
        Ok(Self { table, count: first, square, shared_from: if shared.is_empty() { 0 } else { first } })
    }

    /// Returns the first `count` rows, which must be whole sequences.
    pub fn prefix(&self, count: usize) -> Self {
        let share = count as f64 / self.count as f64;
        Self { table: self.table.clone(), count, square: self.square * share, shared_from: self.shared_from }
    }

    /// Returns the number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the entry of the table from which the rows of shared cotangents are named, as [`Rows::paired`] lists
    /// them.
    pub(crate) fn shared_from(&self) -> usize {
        self.shared_from
    }

    /// Returns the table `[rows, 4]`: (primal row, first row of the sequence, first token, end). In an hvp as many
    /// entries follow, whose first number is the row of the shared cotangent.
    pub fn table(&self) -> &Tensor {
        &self.table
    }

    /// Returns the number of pairs (query, key) under the causal mask, to which attention's cost is proportional.
    pub(crate) fn pairs(&self) -> f64 {
        self.square
    }
}

/// Returns the row of the shared cotangent of a batch row. Its entries begin at `shared_from`.
#[inline(always)]
pub(crate) fn shared_row(table: &[u32], shared_from: u32, row: usize) -> usize {
    table[4 * (shared_from as usize + row)] as usize
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

    /// Returns the token of batch row `row`.
    pub(crate) fn token(&self, row: usize) -> usize {
        self.start + row - self.first
    }

    /// Returns the batch row of token `t`, which the sequence owns.
    pub(crate) fn own(&self, t: usize) -> usize {
        self.first + t - self.start
    }

    /// Returns the base row of token `t`.
    pub(crate) fn base(&self, row: usize, t: usize) -> usize {
        self.primal + t - self.token(row)
    }
}
