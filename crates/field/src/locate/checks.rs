//! The checks of a location: the gram matrix of the best place, and what its source gives, by forward mode.

use faer::Mat;
use resolvent_model::{Mode, Site, Source, gaussian};

use crate::certificate::{Certificate, adjoint_all, dot, narrow, norm, worse};
use crate::error::Result;
use crate::place::Place;

use super::observed::Observed;

/// Number of directions in which the gram matrix is checked: the source that was found, and random ones.
const PROBES: usize = 8;

/// Tolerance of both checks by forward mode. Each compares products of two passes in f32.
pub(super) const FORWARD: f64 = 1e-4;

/// Checks the gram matrix and the products of a place, which come from sensitivities, by tangents of a few directions.
/// `source` is the one found at the place, for the response of unit length.
///
/// `tangents` compares `<G z_i, G z_j>` with `z_i^T G^T G z_j`, and `<G z_i, r>` with `<z_i, b>`, relative to the
/// lengths. `reproduces` compares `|r - G s|^2` with what the gram matrix says.
///
/// # Errors
/// A device error.
pub(super) fn by_tangents(
    observed: &Observed<'_>,
    (level, token): Place,
    (gram, products): (&Mat<f64>, &Mat<f64>),
    (source, response): (&[f64], &[f32]),
) -> Result<[Certificate; 2]> {
    let (d, sizes) = (observed.width(), observed.run().model().sizes());
    let site = Site::level(level, sizes);
    let size = source.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    let first: Vec<f32> = narrow(&source.iter().map(|x| x / size).collect::<Vec<_>>());
    let z: Vec<Vec<f32>> = [first].into_iter().chain((1..PROBES as u64).map(|seed| gaussian(seed, d))).collect();
    let put: Vec<Vec<Source>> = z.iter().map(|z| vec![Source { site, token, vector: z.clone() }]).collect();
    let gz = observed.by_forward_mode(&put)?;
    let wide = Mat::from_fn(d, PROBES, |i, n| f64::from(z[n][i]));
    let (inner, along) = (wide.transpose() * gram * &wide, wide.transpose() * products.col(0));
    let (mut tangents, sizes) = (0.0, gz.iter().map(|x| norm(x).max(f64::MIN_POSITIVE)).collect::<Vec<_>>());
    for i in 0..PROBES {
        tangents = worse(tangents, (dot(&gz[i], response) - along[i]).abs() / (sizes[i] * norm(response)));
        for j in 0..PROBES {
            tangents = worse(tangents, (dot(&gz[i], &gz[j]) - inner[(i, j)]).abs() / (sizes[i] * sizes[j]));
        }
    }
    let rest = response.iter().zip(&gz[0]).map(|(r, g)| (f64::from(*r) - size * f64::from(*g)).powi(2)).sum::<f64>();
    let total = dot(response, response);
    let said = total - 2.0 * size * along[0] + size * size * inner[(0, 0)];
    let reproduces = (rest - said).abs() / total;
    Ok([Certificate::new("tangents", tangents, FORWARD), Certificate::new("reproduces", reproduces, FORWARD)])
}

/// Checks the adjoint identity of every run.
///
/// # Errors
/// A device error.
pub(super) fn adjoint_of_runs(observed: &Observed<'_>) -> Result<Option<Certificate>> {
    Ok(adjoint_all(Mode::Exact, &observed.distinct_runs(), 1)?.into_iter().reduce(Certificate::worse))
}
