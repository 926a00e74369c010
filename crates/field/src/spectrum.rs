//! Leading singular triplets of a Green operator between places: `G v_i = s_i u_i`.
//!
//! v_i is a source of unit length, spread over the places it may act at; u_i is the shape of its response. The operator is
//! never formed: it is applied, forward and in reverse, to a few vectors at once.

use resolvent_model::Linearization;

use crate::certificate::{Certificate, SAME, narrow};
use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::linear_map::{LinearMap, adjoint_of};
use crate::operator::Operator;
use crate::rsvd::{RsvdOptions, rsvd};
use crate::sensitivity::{Place, shape};

/// The k largest singular values of `G(to; from)`, stacked over places: arrays `svd_values [k]`, `svd_left [k, M, d]`,
/// `svd_right [k, F, d]`, `svd_residual [k, 2]` = `|G v - s u|, |G^T u - s v|`, `svd_bound [1]`, `svd_to [M, 2]`,
/// `svd_from [F, 2]`.
///
/// Certificates: the adjoint identity of the operator; `G^T u = s v` of all triplets, which holds to rounding however good
/// they are.
///
/// # Errors
/// Places outside of the field, or of which none reaches another; a rank that the operator does not have; vectors that
/// take more memory than there is; a device error, or a check that fails.
pub fn spectrum(
    linear: &Linearization<'_>,
    from: &[Place],
    to: &[Place],
    options: &RsvdOptions,
) -> Result<Labelled> {
    let run = linear.run();
    let d = shape(run).2;
    let operator = Operator::new(linear, from, to)?;
    let reaches = |(l, t): Place| to.iter().any(|&(to_l, to_t)| to_l >= l && to_t >= t);
    if !from.iter().any(|&place| reaches(place)) {
        return Err(Error::Input(
            "no source reaches a target, so the operator is zero; see --from, --to".to_owned(),
        ));
    }
    // Vectors of either side in f32 and, while they are made orthonormal, in f64.
    let width = (options.rank + options.oversampling).max(options.probes);
    let needed = 12 * width * (operator.rows() + operator.columns()) + operator.scratch(width);
    let memory = run.model().device().batch_bytes();
    if needed as u64 > memory {
        let [needed, memory] = [needed as f64, memory as f64].map(|bytes| format!("{:.1} MB", bytes / 1e6));
        return Err(Error::Input(format!(
            "the vectors take {needed}, and the memory is {memory}: choose fewer places (--from, --to), a smaller \
             --rank, or more --memory"
        )));
    }
    let found = rsvd(&operator, options)?;
    let (k, largest) = (options.rank, found.values[0].max(f64::MIN_POSITIVE));
    let triplets = found.residual.iter().fold(0.0, |m, r| crate::certificate::worse(m, r[1] / largest));
    let places =
        |places: &[Place]| places.iter().flat_map(|&(l, t)| [l as f32, t as f32]).collect::<Vec<f32>>();
    let residual: Vec<f64> = found.residual.iter().flatten().copied().collect();
    let axes = |n| [("triplet", k), ("place", n), ("d", d)];
    Labelled::new("slice", run)
        .with("svd_values", &[("triplet", k)], narrow(&found.values))
        .with("svd_left", &axes(to.len()), found.left.concat())
        .with("svd_right", &axes(from.len()), found.right.concat())
        .with("svd_residual", &[("triplet", k), ("side", 2)], narrow(&residual))
        .with("svd_bound", &[("value", 1)], vec![found.bound as f32])
        .with("svd_to", &[("to", to.len()), ("place", 2)], places(to))
        .with("svd_from", &[("from", from.len()), ("place", 2)], places(from))
        .note("svd_bound_fails", format!("{:.1e}", found.failure))
        .note("oversampling", options.oversampling.to_string())
        .note("power", options.power.to_string())
        .note("seed", options.seed.to_string())
        .certify(adjoint_of(&operator, 1)?)?
        .certify(Certificate { name: "triplets", value: triplets, bound: SAME })
}
