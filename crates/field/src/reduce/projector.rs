//! Projectors of rank k: how each method chooses directions.

use resolvent_model::gaussian;

use super::moments::{Spectra, Spectrum};
use crate::dense::{Dense, inner, orthonormal, orthonormal_to, svd, wide};
use crate::error::Result;

/// How directions are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Balanced truncation of displacements and sensitivities.
    Balanced,
    /// Principal components of displacements.
    Pod,
    /// Principal components of sensitivities.
    Active,
    /// A Krylov space of `G^T G` from the strongest direction of the sensitivities.
    Krylov,
    /// Right singular vectors of G, to the last level.
    Green,
    /// Balanced truncation of sensitivities and of displacements between prompts that do not belong together.
    Shuffled,
    /// Random directions.
    Random,
}

impl Method {
    pub(super) const ALL: [Self; 7] =
        [Self::Balanced, Self::Pod, Self::Active, Self::Krylov, Self::Green, Self::Shuffled, Self::Random];

    /// Returns its name in result files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Pod => "pod",
            Self::Active => "active_subspace",
            Self::Krylov => "krylov",
            Self::Green => "green",
            Self::Shuffled => "shuffled",
            Self::Random => "random",
        }
    }
}

/// A projector `P = W T^T`, of which the first k columns make the one of rank k: `P_k = sum_i<k w_i t_i^T`.
pub(super) struct Projector {
    /// Directions w that read displacements, `[_, d]`.
    pub(super) read: Vec<Vec<f64>>,
    /// Directions t that read sensitivities, `[_, d]`.
    pub(super) write: Vec<Vec<f64>>,
    /// Singular values of the balanced problem; empty for other methods.
    pub(super) values: Vec<f64>,
}

/// Ridge that is added to second moments, over their mean eigenvalue. With fewer rows than directions, it keeps directions that
/// no row has from being amplified.
const RIDGE: f64 = 0.1;

impl Projector {
    fn orthogonal(directions: Vec<Vec<f64>>) -> Self {
        Self { read: directions.clone(), write: directions, values: Vec::new() }
    }

    /// Returns the projector of a method; its rank is at most `most`.
    pub(super) fn new(method: Method, spectra: &Spectra, d: usize, (most, seed): (usize, u64)) -> Result<Self> {
        Ok(match method {
            Method::Balanced | Method::Shuffled => balanced(spectra, d)?,
            Method::Pod => Self::orthogonal(leading(&spectra.moved.found, most)),
            Method::Active => Self::orthogonal(leading(&spectra.chi.found, most)),
            Method::Green => Self::orthogonal(leading(&svd(&spectra.operator, d)?, most)),
            Method::Krylov => Self::orthogonal(krylov(spectra, d, most)),
            Method::Random => {
                let drawn = wide(&gaussian(seed, most * d));
                let mut directions: Vec<Vec<f64>> = drawn.chunks(d).map(<[f64]>::to_vec).collect();
                orthonormal(&mut directions);
                Self::orthogonal(directions)
            }
        })
    }

    /// Returns `P_k chi`, or chi itself for `None`: what remains of a sensitivity.
    pub(super) fn reduced(&self, chi: &[f32], rank: Option<usize>) -> Vec<f32> {
        let Some(rank) = rank else { return chi.to_vec() };
        let chi = wide(chi);
        let mut sum = vec![0.0; chi.len()];
        for (w, t) in self.read.iter().zip(&self.write).take(rank) {
            let along = inner(t, &chi);
            sum.iter_mut().zip(w).for_each(|(sum, w)| *sum += along * w);
        }
        sum.iter().map(|&x| x as f32).collect()
    }
}

/// Second moments below this share of the largest are rounding.
const NEGLIGIBLE: f64 = 1e-12;

/// Returns the `most` leading eigenvectors of second moments; fewer if they have a lower rank.
fn leading(found: &Dense, most: usize) -> Vec<Vec<f64>> {
    let least = NEGLIGIBLE * found.values.first().copied().unwrap_or(0.0);
    let rest = found.values.iter().zip(&found.right).filter(|(value, _)| **value > least);
    rest.map(|(_, v)| v.clone()).take(most).collect()
}

/// Returns a Krylov space of `G^T G`, orthonormal.
fn krylov(spectra: &Spectra, d: usize, most: usize) -> Vec<Vec<f64>> {
    let mut directions: Vec<Vec<f64>> = Vec::with_capacity(most);
    let mut next = leading(&spectra.chi.found, 1).concat();
    let steps = if next.is_empty() { 0 } else { most.min(d) };
    for _ in 0..steps {
        orthonormal_to(&directions, &mut next);
        let product = spectra.operator.chunks(d).map(|row| inner(row, &next)).collect();
        directions.push(std::mem::replace(&mut next, product));
    }
    directions
}

/// Factors second moments with the ridge: `L [d, d]` with `L L^T`, as columns.
fn factor(Spectrum { found, trace }: &Spectrum, d: usize) -> Vec<Vec<f64>> {
    let ridge = if *trace > 0.0 { RIDGE * trace / d as f64 } else { 1.0 };
    let scaled = |(value, v): (&f64, &Vec<f64>)| v.iter().map(|x| x * (value + ridge).sqrt()).collect();
    found.values.iter().zip(&found.right).map(scaled).collect()
}

/// Balances displacements and sensitivities: with `C_x = L_x L_x^T`, `C_y = L_y L_y^T` and `L_y^T L_x = U S V^T`,
/// `W = L_y U S^-1/2` and `T = L_x V S^-1/2`. With all d columns, `W T^T` is the identity.
fn balanced(spectra: &Spectra, d: usize) -> Result<Projector> {
    let (lx, ly) = (factor(&spectra.moved, d), factor(&spectra.chi, d));
    let product: Vec<f64> = ly.iter().flat_map(|y| lx.iter().map(|x| inner(y, x))).collect();
    let found = svd(&product, d)?;
    let combined = |columns: &[Vec<f64>], vectors: &[Vec<f64>]| -> Vec<Vec<f64>> {
        let combine = |(v, s): (&Vec<f64>, &f64)| {
            let mut sum = vec![0.0; d];
            for (column, v) in columns.iter().zip(v) {
                sum.iter_mut().zip(column).for_each(|(sum, x)| *sum += v * x / s.sqrt());
            }
            sum
        };
        vectors.iter().zip(&found.values).map(combine).collect()
    };
    let (read, write) = (combined(&ly, &found.left), combined(&lx, &found.right));
    Ok(Projector { read, write, values: found.values })
}

#[cfg(test)]
mod tests {
    use super::super::moments::Moments;
    use super::*;

    /// Three directions: the first is loud and does not matter, the second matters and is not moved, the third does both.
    fn spectra() -> Spectra {
        let diagonal = |values: [f64; 3]| (0..9).map(|i| if i % 4 == 0 { values[i / 4] } else { 0.0 }).collect();
        let moments = Moments {
            moved: diagonal([9.0, 0.0, 4.0]),
            chi: diagonal([0.0, 9.0, 4.0]),
            operator: diagonal([1.0, 2.0, 4.0]),
        };
        moments.spectra(3).expect("decomposes")
    }

    fn first(method: Method) -> Vec<f64> {
        let found = Projector::new(method, &spectra(), 3, (2, 1)).expect("computes");
        found.read[0].iter().map(|x| x.abs()).collect()
    }

    #[test]
    fn balanced_finds_what_is_moved_and_matters() {
        assert!(first(Method::Pod)[0] > 0.99 && first(Method::Active)[1] > 0.99 && first(Method::Green)[2] > 0.99);
        let found = Projector::new(Method::Balanced, &spectra(), 3, (3, 1)).expect("computes");
        let rest = found.reduced(&[0.0, 1.0, 1.0], Some(1));
        assert!((rest[2] - 1.0).abs() < 1e-6 && rest[1].abs() < 1e-6, "{rest:?}");
        assert_eq!(found.reduced(&[2.0, 1.0, 1.0], None), [2.0, 1.0, 1.0]);
        let whole = found.reduced(&[2.0, 1.0, -1.0], Some(3));
        assert!(whole.iter().zip([2.0, 1.0, -1.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{whole:?}");
        assert!(found.values.is_sorted_by(|a, b| a >= b), "{:?}", found.values);
    }

    #[test]
    fn a_krylov_space_starts_from_the_sensitivities() {
        let found = Projector::new(Method::Krylov, &spectra(), 3, (2, 1)).expect("computes");
        assert!(found.read[0][1].abs() > 0.99, "{:?}", found.read);
        // The start is an eigenvector, so the space has no second direction.
        assert!(found.read[1].iter().all(|x| x.abs() < 1e-9), "{:?}", found.read);
    }

    #[test]
    fn nothing_moved_is_no_error() {
        let zero = Moments { moved: vec![0.0; 9], chi: vec![0.0; 9], operator: vec![0.0; 9] };
        let zero = zero.spectra(3).expect("decomposes");
        for method in Method::ALL {
            let found = Projector::new(method, &zero, 3, (2, 1)).expect("computes");
            let rest = found.reduced(&[1.0, 2.0, 3.0], Some(2));
            assert!(rest.iter().all(|x| x.is_finite()), "{method:?}: {rest:?}");
        }
    }
}
