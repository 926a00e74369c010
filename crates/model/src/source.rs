//! Where weights come from.

use std::ops::Range;

use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::gguf::Gguf;

/// Where weights come from: a checkpoint, or a seeded generator.
pub trait WeightSource {
    /// Fills `out` with rows `rows` (of the leading dimension) of the tensor `name`.
    ///
    /// # Errors
    /// The tensor cannot be read, or an element is not finite.
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()>;
}

impl WeightSource for Checkpoint {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.read_f32(name, rows, out)
    }
}

impl WeightSource for Gguf {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.read(name, rows, out)
    }
}
