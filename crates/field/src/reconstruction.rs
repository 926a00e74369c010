//! How much of a run its linearisation makes of the run's own input: `J h[0]` beside `h[L]`.
//!
//! What is missing is what biases bring, and, where the mode is not homogeneous, what its tangent plane leaves over.

use resolvent_model::{Mode, Run, Site, Source};

use crate::certificate::{adjoint, dot, norm};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::place::shape;

/// The product of the linearisation in `mode` with the run's own h\[0\]: arrays `reconstruction [L+1, T, d]`, at every level,
/// `error [L+1, T]` = |reconstruction - h| / |h|, and `cosine [L+1, T]` between the two. In [`Mode::RelP`] a model without
/// biases is reconstructed exactly.
///
/// Certificate: the adjoint identity on random vectors, in this mode.
///
/// # Errors
/// A device error, or the check fails.
pub fn reconstruction(run: &Run, mode: Mode) -> Result<Labelled> {
    let (levels, tokens, d) = shape(run);
    let (field, linear) = (run.field()?, run.linearize(mode));
    let input = field[..tokens * d].chunks(d).enumerate();
    let sources: Vec<Source> =
        input.map(|(token, h)| Source { site: Site::ResidPre(0), token, vector: h.to_vec() }).collect();
    let made = linear.jvp(&[sources])?.into_single();
    let (mut error, mut cosine) = (Vec::new(), Vec::new());
    for (made, h) in made.chunks(d).zip(field.chunks(d)) {
        let apart: Vec<f32> = made.iter().zip(h).map(|(a, b)| a - b).collect();
        error.push((norm(&apart) / norm(h)) as f32);
        cosine.push((dot(made, h) / (norm(made) * norm(h))) as f32);
    }
    let axes = [("level", levels), ("token", tokens)];
    Labelled::new("reconstruction", run)
        .with("reconstruction", &[("level", levels), ("token", tokens), ("d", d)], made)
        .with("error", &axes, error)
        .with("cosine", &axes, cosine)
        .note("mode", format!("{mode:?}"))
        .certify(adjoint(&linear, 1)?)
}
