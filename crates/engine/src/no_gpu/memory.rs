//! Memory of a GPU that does not exist.

use std::convert::Infallible;

/// Memory of a GPU.
#[derive(Debug)]
pub(crate) struct Block {
    pub(super) none: Infallible,
}
