//! What rows and observables must fulfil for edges to be patched or cut.

use super::node::Writer;
use crate::arch::Sizes;
use crate::error::{Error, Result};
use crate::observable::Observable;
use crate::run::Run;

/// Checks that `rows` are those of all writers of a run, `[W, T, d]`.
pub(super) fn check_rows(run: &Run, rows: &[f32]) -> Result<()> {
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
