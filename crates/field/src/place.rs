//! Places of a run's field.

use resolvent_model::Run;

use crate::error::{Error, Result};

/// A level and a token of the field.
pub type Place = (usize, usize);

/// Returns an error if a place is outside of a run's field.
pub(crate) fn inside((level, token): Place, run: &Run) -> Result<()> {
    let (levels, tokens, _) = shape(run);
    if level < levels && token < tokens {
        return Ok(());
    }
    let (last, end) = (levels - 1, tokens - 1);
    Err(Error::Input(format!("{level},{token} is outside of the field: levels 0 to {last}, tokens 0 to {end}")))
}

/// Returns the numbers of levels and tokens, and the width, of a run's field.
pub(crate) fn shape(run: &Run) -> (usize, usize, usize) {
    let sizes = run.model().sizes();
    (sizes.layers + 1, run.tokens().len(), sizes.d)
}

/// Returns the error of a source at a place, of this length in units of its amplitude, that f32 cannot represent.
pub(crate) fn overflows(amplitude: f32, size: f64, (level, token): Place) -> Error {
    Error::Input(format!(
        "amplitude {amplitude:e} of a source of length {size:.1e} at {level},{token} overflows f32; give smaller \
         amplitudes"
    ))
}
