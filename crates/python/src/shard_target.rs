//! The shard that an analysis of many prompts computes, in place of the result of all prompts.

use std::cell::Cell;
use std::ops::Range;

use resolvent::field::{Prompts, Shards};

/// A shard that the next analysis of this thread computes, in place of the result of all prompts.
pub(crate) struct Target {
    shards: Shards,
    shard: usize,
}

thread_local! {
    static TARGET: Cell<Option<Target>> = const { Cell::new(None) };
}

impl Target {
    /// Has the next analysis of this thread compute a shard.
    pub(crate) fn set(shards: &Shards, shard: usize) {
        TARGET.set(Some(Self { shards: shards.clone(), shard }));
    }

    /// Takes the shard that this thread is to compute.
    pub(crate) fn take() -> Option<Self> {
        TARGET.take()
    }

    /// Returns the rows of the shard.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.shards.work().rows(self.shard)
    }

    /// Writes the shard.
    pub(crate) fn write(&self, results: &Prompts) -> resolvent::field::Result<()> {
        self.shards.write(self.shard, results, 0)
    }
}
