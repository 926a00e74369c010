//! Stores for the arrays of a large result: in memory, or in a file that survives an interruption.

mod layout;
mod partial;
mod spool;

use std::ops::Range;

use resolvent_model::Run;

use crate::error::{Error, Result};

pub(crate) use layout::{Text, difference, distinct_names, header, little_endian, write_header};
pub(crate) use partial::Partial;
pub(crate) use spool::{Room, Spool};

/// An array to be filled: its name and its axes, outermost first.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    pub(crate) name: &'static str,
    pub(crate) axes: Vec<(&'static str, usize)>,
}

impl Planned {
    pub(crate) fn new(name: &'static str, axes: &[(&'static str, usize)]) -> Self {
        Self { name, axes: axes.to_vec() }
    }

    /// Returns the number of elements.
    pub(crate) fn len(&self) -> usize {
        self.axes.iter().map(|axis| axis.1).product()
    }
}

/// Returns the size of all arrays in bytes.
pub(crate) fn bytes(arrays: &[Planned]) -> u64 {
    arrays.iter().map(|array| 4 * array.len() as u64).sum()
}

/// Checks that `needed` bytes fit in the memory that the run's device may use for a batch.
///
/// # Errors
/// More bytes than that. The message starts with `what`, a phrase such as "the result takes". `fix` names a remedy
/// other than a smaller request.
pub(crate) fn fits(run: &Run, needed: u64, what: &str, fix: &str) -> Result<()> {
    let memory = run.model().device().batch_bytes();
    if needed <= memory {
        return Ok(());
    }
    let [needed, memory] = [needed, memory].map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6));
    Err(Error::Input(format!(
        "{what} {needed}, and the memory is {memory}: {fix}choose fewer places (--from, --to), a smaller --rank, or \
         more --memory"
    )))
}

/// Arrays that are filled piece by piece. The work is split into chunks, and a committed chunk is not computed again.
pub(crate) trait Store {
    /// Returns whether a chunk was committed, in this run or before an interruption.
    fn has(&self, chunk: usize) -> bool;

    /// Writes elements to the array with index `array`, from its element `at`.
    fn put(&mut self, array: usize, at: usize, numbers: &[f32]) -> Result<()>;

    /// Commits a chunk, after all its pieces have been written.
    fn commit(&mut self, chunk: usize) -> Result<()>;

    /// Reads a range of elements of an array.
    fn read(&mut self, array: usize, range: Range<usize>) -> Result<Vec<f32>>;
}

/// Arrays in memory.
pub(crate) struct Memory {
    arrays: Vec<(Planned, Vec<f32>)>,
}

impl Memory {
    pub(crate) fn new(arrays: &[Planned]) -> Self {
        Self { arrays: arrays.iter().map(|array| (array.clone(), vec![0.0; array.len()])).collect() }
    }

    /// Returns the arrays with their elements.
    pub(crate) fn into_arrays(self) -> Vec<(Planned, Vec<f32>)> {
        self.arrays
    }
}

impl Store for Memory {
    fn has(&self, _: usize) -> bool {
        false
    }

    fn put(&mut self, array: usize, at: usize, numbers: &[f32]) -> Result<()> {
        self.arrays[array].1[at..at + numbers.len()].copy_from_slice(numbers);
        Ok(())
    }

    fn commit(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, array: usize, range: Range<usize>) -> Result<Vec<f32>> {
        Ok(self.arrays[array].1[range].to_vec())
    }
}
