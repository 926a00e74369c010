//! Contributions that the outputs of other prompts would make, as a control.

use resolvent_model::{Outputs, Run, Writer, outputs_of};

use super::products;
use crate::error::Result;
use crate::nodes::{Sensitivities, last_rows, match_norms};

/// The arrays of [`other_prompts`].
pub(super) const NAMES: [&str; 2] = ["other_prompts_direct", "other_prompts_first_order"];

/// Returns the root mean square over other runs of the direct and the first-order contributions, `[W, T]`, if each
/// output were that of the other run, of its last tokens, with the norm that it has here at every token. `None` if
/// there are no others. `u` is the derivative by h\[L\], and `chi` those by the outputs.
pub(super) fn other_prompts(
    own: &Outputs,
    others: &[Run],
    u: &[f32],
    chi: &Sensitivities,
) -> Result<Option<[Vec<f64>; 2]>> {
    if others.is_empty() {
        return Ok(None);
    }
    let (d, size) = (own.d, own.tokens * own.d);
    let mut squares = [vec![0.0; own.data.len() / d], vec![0.0; own.data.len() / d]];
    for other in others {
        let found = outputs_of(&[other])?.remove(0);
        let mut rows = last_rows(&found.data, [found.tokens, own.tokens], d);
        match_norms(&mut rows, &own.data, d);
        let writers = Writer::all(other.model().sizes());
        for (w, (writer, rows)) in writers.into_iter().zip(rows.chunks(size)).enumerate() {
            for (squares, derivative) in squares.iter_mut().zip([u, &chi.by(writer)]) {
                let sums = squares[w * own.tokens..][..own.tokens].iter_mut();
                sums.zip(products(rows, derivative, d)).for_each(|(sum, x)| *sum += x * x / others.len() as f64);
            }
        }
    }
    Ok(Some(squares.map(|squares| squares.into_iter().map(f64::sqrt).collect())))
}
