//! The rows of a shard that an analysis of many prompts computes, in place of the result of all prompts.

use std::cell::Cell;
use std::ops::Range;

use resolvent::field::Prompts;

thread_local! {
    static ROWS: Cell<Option<Range<usize>>> = const { Cell::new(None) };
    static FOUND: Cell<Option<Prompts>> = const { Cell::new(None) };
}

/// Has the next analysis of this thread compute the results of some rows, and store them for [`found`].
pub(crate) fn set(rows: Range<usize>) {
    ROWS.set(Some(rows));
}

/// Takes the rows that this thread is to compute.
pub(crate) fn take() -> Option<Range<usize>> {
    ROWS.take()
}

/// Stores the results of these rows.
pub(crate) fn store(results: Prompts) {
    FOUND.set(Some(results));
}

/// Takes the results that an analysis has stored.
pub(crate) fn found() -> Option<Prompts> {
    FOUND.take()
}
