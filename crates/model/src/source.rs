//! Where weights come from.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::arch::Layout;
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

/// A source whose modules are multiplied by the factors that a model has for them.
pub(crate) struct Scaled<'a> {
    source: &'a dyn WeightSource,
    factors: BTreeMap<&'a str, f32>,
}

impl<'a> Scaled<'a> {
    pub(crate) fn new(source: &'a dyn WeightSource, layout: &'a Layout) -> Self {
        let factors = layout.factors.iter().map(|(module, factor)| (module.as_str(), *factor as f32)).collect();
        Self { source, factors }
    }
}

impl WeightSource for Scaled<'_> {
    fn read(&self, name: &str, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.source.read(name, rows, out)?;
        let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
        if let Some(factor) = self.factors.get(module) {
            out.iter_mut().for_each(|element| *element *= factor);
        }
        Ok(())
    }
}
