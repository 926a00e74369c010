//! The evidence for a place: the marginal likelihood of a response of unit length.
//!
//! ```text
//! s ~ N(0, tau^2 I_d),  noise ~ N(0, sigma^2 I_M),  r = G s + noise
//! log N(r; 0, tau^2 G G^T + sigma^2 I) = -1/2 (M log(2 pi sigma^2) + sum_i log(1 + tau^2 lam_i / sigma^2) + q)
//! q = (|r|^2 - sum_i (u_i . b)^2 tau^2 / (sigma^2 + tau^2 lam_i)) / sigma^2
//! ```
//!
//! G^T G = U diag(lam) U^T and b = G^T r. The determinant divides out how loud a place is: without it, a place whose
//! operator is large explains every response.

use faer::{Mat, MatRef, Side};

use crate::error::{Error, Result};

/// The tau^2 that are tried, in units of that for which the expected response has the length of the response itself. A
/// source along the strongest direction needs 1 / d of it, and one along a weak direction more.
const WIDTHS: std::ops::RangeInclusive<i32> = -10..=14;

/// What is assumed of a response of unit length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assumed {
    /// Number of observed numbers.
    pub(super) count: usize,
    /// Variance of the noise of each.
    pub(super) sigma2: f64,
    /// Prior variance of the elements of the source. Without it, each place takes the one with the largest evidence.
    pub(super) tau2: Option<f64>,
}

/// The prior variance of the elements of a source, with what the evidence takes from it.
struct Width {
    tau2: f64,
    /// `sum_i log(1 + tau^2 lam_i / sigma^2)`
    log_det: f64,
    /// `tau^2 / (sigma^2 + tau^2 lam_i)`, `[d]`
    weights: Vec<f64>,
}

impl Width {
    fn new(values: &[f64], sigma2: f64, tau2: f64) -> Self {
        let log_det = values.iter().map(|lam| (tau2 * lam / sigma2).ln_1p()).sum();
        Self { tau2, log_det, weights: values.iter().map(|lam| tau2 / (sigma2 + tau2 * lam)).collect() }
    }
}

/// A place, decomposed: eigenvalues and eigenvectors of its gram matrix, and the products with the responses.
pub(super) struct Evidence<'a> {
    /// Of each response.
    assumed: &'a [Assumed],
    /// `[R]`, from 0 on: all that are not zero.
    values: Vec<f64>,
    /// Eigenvectors, as columns `[d, R]`.
    vectors: Mat<f64>,
    /// `u_i . b`, `[R, N]` for N responses.
    along: Mat<f64>,
    /// The grid of widths for each variance of the noise.
    widths: Vec<(f64, Vec<Width>)>,
}

impl<'a> Evidence<'a> {
    /// Takes the eigenvalues and eigenvectors of the gram matrix of a place, without those that are zero, and the
    /// products b `[d, N]` with N responses of unit length.
    pub(super) fn new(
        (values, vectors): (Vec<f64>, Mat<f64>),
        products: MatRef<'_, f64>,
        assumed: &'a [Assumed],
    ) -> Self {
        let along = vectors.transpose() * products;
        let trace: f64 = values.iter().sum();
        let mut widths: Vec<(f64, Vec<Width>)> = Vec::new();
        for &Assumed { sigma2, tau2, .. } in assumed {
            if tau2.is_none() && !widths.iter().any(|(known, _)| *known == sigma2) {
                let grid = match trace > 0.0 {
                    true => WIDTHS.map(|k| Width::new(&values, sigma2, 2f64.powi(k) / trace)).collect(),
                    // Nothing at the place reaches what is observed: there is only noise.
                    false => vec![Width::new(&values, sigma2, 0.0)],
                };
                widths.push((sigma2, grid));
            }
        }
        Self { assumed, values, vectors, along, widths }
    }

    /// Returns the log evidence of response n and the tau^2 that it assumes: the given one, or the best of the grid.
    pub(super) fn of(&self, n: usize) -> (f64, f64) {
        let Assumed { sigma2, tau2, .. } = self.assumed[n];
        let score = |width: &Width| (self.score(n, width), width.tau2);
        if let Some(tau2) = tau2 {
            return score(&Width::new(&self.values, sigma2, tau2));
        }
        let grid = self.widths.iter().filter(|(known, _)| *known == sigma2).flat_map(|(_, grid)| grid);
        grid.map(score).fold((f64::NEG_INFINITY, 0.0), |a, b| if b.0 > a.0 { b } else { a })
    }

    fn score(&self, n: usize, width: &Width) -> f64 {
        let Assumed { count, sigma2, .. } = self.assumed[n];
        let explained: f64 = self.along.col(n).iter().zip(&width.weights).map(|(c, w)| c * c * w).sum();
        let constant = count as f64 * (2.0 * std::f64::consts::PI * sigma2).ln();
        -0.5 * (constant + width.log_det + (1.0 - explained) / sigma2)
    }

    /// Returns the source of largest posterior density for response n, `(G^T G + sigma^2 / tau^2)^-1 b`, `[d]`, and the
    /// expected `|r - G s|^2` for it, if the assumptions hold.
    pub(super) fn source(&self, n: usize, tau2: f64) -> (Vec<f64>, f64) {
        let Assumed { count, sigma2, .. } = self.assumed[n];
        let width = Width::new(&self.values, sigma2, tau2);
        let scaled: Vec<f64> = self.along.col(n).iter().zip(&width.weights).map(|(c, w)| c * w).collect();
        let row = |i: usize| scaled.iter().enumerate().map(|(j, c)| self.vectors[(i, j)] * c).sum();
        let source = (0..self.vectors.nrows()).map(row).collect();
        let used: f64 = self.values.iter().zip(&width.weights).map(|(lam, w)| lam * w).sum();
        (source, sigma2 * (count as f64 - used))
    }
}

/// Returns the eigenvalues, from 0 on, and the eigenvectors of a gram matrix.
///
/// # Errors
/// Elements that are not finite.
pub(super) fn decomposed(gram: MatRef<'_, f64>) -> Result<(Vec<f64>, Mat<f64>)> {
    if gram.nrows() == 0 {
        return Ok((Vec::new(), Mat::zeros(0, 0)));
    }
    let decomposed = gram.self_adjoint_eigen(Side::Lower).map_err(|_| {
        let reason = "a gram matrix has elements that are not finite; run again with `--device host`";
        Error::Input(reason.to_owned())
    })?;
    // Rounding may leave an eigenvalue of a semidefinite matrix just below 0.
    let values = decomposed.S().column_vector().iter().map(|lam| lam.max(0.0)).collect();
    Ok((values, decomposed.U().to_owned()))
}

/// Returns the posterior of places from their log evidences, with equal prior probabilities.
pub(super) fn posterior(scores: &[f64]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

/// Returns the places whose posterior together reaches `share`, most probable first.
pub(super) fn credible(posterior: &[f64], share: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..posterior.len()).collect();
    order.sort_by(|a, b| posterior[*b].total_cmp(&posterior[*a]).then(a.cmp(b)));
    let mut sum = 0.0;
    let needed = order.iter().take_while(|&&place| {
        let more = sum < share;
        sum += posterior[place];
        more
    });
    let needed = needed.count();
    order.truncate(needed.max(1));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two numbers are observed of a source with one element: the evidence is a Gaussian density in two dimensions.
    #[test]
    fn evidence_is_a_density() {
        let (g, r, sigma2, tau2) = ([0.5, 2.0], [0.6, 0.8], 0.01, 0.3);
        let (gram, b) = (g[0] * g[0] + g[1] * g[1], g[0] * r[0] + g[1] * r[1]);
        let mat = |x: f64| Mat::from_fn(1, 1, |_, _| x);
        let assumed = [Some(tau2), None, Some(1e-6)].map(|tau2| Assumed { count: 2, sigma2, tau2 });
        let products = Mat::from_fn(1, 3, |_, _| b);
        let decomposed = decomposed(mat(gram).as_ref()).expect("finite");
        let place = Evidence::new(decomposed, products.as_ref(), &assumed);
        let c = |i: usize, j: usize| tau2 * g[i] * g[j] + if i == j { sigma2 } else { 0.0 };
        let det = c(0, 0) * c(1, 1) - c(0, 1) * c(1, 0);
        let q = (c(1, 1) * r[0] * r[0] - 2.0 * c(0, 1) * r[0] * r[1] + c(0, 0) * r[1] * r[1]) / det;
        let want = -0.5 * (2.0 * (2.0 * std::f64::consts::PI).ln() + det.ln() + q);
        let (got, _) = place.of(0);
        assert!((got - want).abs() < 1e-10, "{got} instead of {want}");
        // The grid contains a better width than a wrong one.
        assert!(place.of(1).0 > place.of(2).0);
        let source = place.source(0, tau2).0[0];
        assert!((source - b / (gram + sigma2 / tau2)).abs() < 1e-12);
    }

    #[test]
    fn credible_sets_reach_their_share() {
        let p = posterior(&[1.0f64.ln() - 800.0, 6f64.ln() - 800.0, 3f64.ln() - 800.0]);
        assert!((p[1] - 0.6).abs() < 1e-12 && (p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(credible(&p, 0.5), [1]);
        assert_eq!(credible(&p, 0.85), [1, 2]);
        assert_eq!(credible(&p, 1.0).len(), 3);
        assert_eq!(credible(&p, 0.0), [1]);
    }
}
