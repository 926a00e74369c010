//! Reconstruction of a run from its linearisation: compares `J h[0]` with `h[L]`.
//!
//! The difference comes from biases and, if the mode is not homogeneous, from the offset of its tangent plane.

use resolvent_model::{Mode, Run, Site, Source};

use crate::certificate::{adjoint, dot, norm};
use crate::error::Result;
use crate::labelled::Labelled;
use crate::place::shape;

/// Applies the linearisation in `mode` to the run's h\[0\] and compares the result with the field.
///
/// Arrays: `reconstruction [L+1, T, d]`, at every level; `error [L+1, T]` = |reconstruction - h| / |h|; and
/// `cosine [L+1, T]` between the two. In [`Mode::RelP`] a model without biases is reconstructed exactly.
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
    let product = linear.jvp(&[sources])?.into_single();
    let (mut error, mut cosine) = (Vec::new(), Vec::new());
    for (product, h) in product.chunks(d).zip(field.chunks(d)) {
        let difference: Vec<f32> = product.iter().zip(h).map(|(a, b)| a - b).collect();
        error.push((norm(&difference) / norm(h)) as f32);
        cosine.push((dot(product, h) / (norm(product) * norm(h))) as f32);
    }
    let axes = [("level", levels), ("token", tokens)];
    Labelled::new("reconstruction", run)
        .with("reconstruction", &[("level", levels), ("token", tokens), ("d", d)], product)
        .with("error", &axes, error)
        .with("cosine", &axes, cosine)
        .note("mode", format!("{mode:?}"))
        .certify(adjoint(&linear, 1)?)
}
