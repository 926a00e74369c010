//! What runs, rows and observables must fulfil for edges to be patched or cut.

use super::node::Writer;
use crate::arch::Sizes;
use crate::error::{Error, Result};
use crate::observable::Observable;
use crate::run::Run;

/// Checks that a run has no edits, and that `rows` are those of all its writers, `[W, T, d]`.
pub(super) fn check_run(run: &Run, rows: &[f32]) -> Result<()> {
    if !run.edits().is_empty() {
        return Err(Error::Place("edges are patched and cut in runs without edits; give one".to_owned()));
    }
    let sizes = run.sizes();
    let (found, expected) = (rows.len(), Writer::all(sizes).len() * run.tokens().len() * sizes.d);
    match found == expected {
        true => Ok(()),
        false => Err(Error::Place(format!("the rows have {found} elements; the writers of this run have {expected}"))),
    }
}

/// Checks that an observable reads the field at the last level only, where the edges into the logits end.
///
/// # Errors
/// It has a projection of a level below.
pub fn ends_at_logits(observable: &Observable, sizes: &Sizes) -> Result<()> {
    match observable.places(sizes).iter().any(|(level, _)| *level < sizes.layers) {
        true => Err(Error::Place(
            "edges and contributions end at the logits; give an observable that reads the field at the last level only"
                .to_owned(),
        )),
        false => Ok(()),
    }
}
