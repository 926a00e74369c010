//! A Jacobian lens.

use std::collections::BTreeMap;

/// A Jacobian lens as its file has it.
pub(in crate::average) struct Lens {
    /// `[d, d]` of the output of each block, rows are components of the output of the last block.
    pub(in crate::average) blocks: BTreeMap<usize, Vec<f32>>,
    pub(in crate::average) d: usize,
    pub(in crate::average) prompts: usize,
    /// The block of whose output the rows are components.
    pub(in crate::average) target: Option<usize>,
    pub(in crate::average) metadata: BTreeMap<String, String>,
}
