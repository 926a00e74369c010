//! Projectors of rank k: how each method chooses directions.

use resolvent_model::gaussian;

use super::rows::{Spectra, Spectrum};
use crate::dense::{add_scaled, inner, orthonormal, orthonormal_to, product, svd, wide};
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
    /// Singular values of the balanced problem, `[d]`; empty for other methods.
    pub(super) values: Vec<f64>,
    /// Orthonormal basis of all rows of the balanced problem; empty for other methods.
    span: Vec<Vec<f64>>,
}

/// Ridge that is added to second moments, over their mean eigenvalue. With fewer rows than directions, it keeps
/// directions that no row has from being amplified.
const RIDGE: f64 = 0.1;

impl Projector {
    fn orthogonal(directions: Vec<Vec<f64>>) -> Self {
        Self { read: directions.clone(), write: directions, values: Vec::new(), span: Vec::new() }
    }

    /// Returns the projector of a method; its rank is at most `most`.
    pub(super) fn new(method: Method, spectra: &Spectra, d: usize, (most, seed): (usize, u64)) -> Result<Self> {
        let leading = |of: &Spectrum| Self::orthogonal(of.vectors.iter().take(most).cloned().collect());
        Ok(match method {
            Method::Balanced | Method::Shuffled => balanced(spectra, d, most)?,
            Method::Pod => leading(&spectra.moved),
            Method::Active => leading(&spectra.chi),
            Method::Green => leading(&Spectrum::new(&spectra.probes, d)?),
            Method::Krylov => Self::orthogonal(krylov(spectra, d, most)),
            Method::Random => {
                let mut directions = drawn(seed, most, d);
                orthonormal(&mut directions);
                Self::orthogonal(directions)
            }
        })
    }

    /// Returns `P_k chi`, or chi itself for `None`: what remains of a sensitivity.
    pub(super) fn reduced(&self, chi: &[f32], rank: Option<usize>) -> Vec<f32> {
        let Some(rank) = rank else { return chi.to_vec() };
        self.sum(&wide(chi), rank).iter().map(|&x| x as f32).collect()
    }

    /// Returns what the projector with all directions leaves of a sensitivity: its own directions in the span of the
    /// rows, and all directions outside of it.
    pub(super) fn whole(&self, chi: &[f32]) -> Vec<f32> {
        let chi = wide(chi);
        let mut sum = self.sum(&chi, self.span.len());
        for q in &self.span {
            let along = inner(q, &chi);
            add_scaled(&mut sum, -along, q);
        }
        sum.iter().zip(&chi).map(|(sum, x)| (sum + x) as f32).collect()
    }

    fn sum(&self, chi: &[f64], rank: usize) -> Vec<f64> {
        let mut sum = vec![0.0; chi.len()];
        for (w, t) in self.read.iter().zip(&self.write).take(rank) {
            let along = inner(t, chi);
            add_scaled(&mut sum, along, w);
        }
        sum
    }
}

/// Draws `n` random vectors.
fn drawn(seed: u64, n: usize, d: usize) -> Vec<Vec<f64>> {
    wide(&gaussian(seed, n * d)).chunks(d).map(<[f64]>::to_vec).collect()
}

/// Returns a Krylov space of `G^T G`, orthonormal.
fn krylov(spectra: &Spectra, d: usize, most: usize) -> Vec<Vec<f64>> {
    let mut directions: Vec<Vec<f64>> = Vec::with_capacity(most);
    let Some(first) = spectra.chi.vectors.first() else { return directions };
    let mut next = first.clone();
    for _ in 0..most.min(d) {
        orthonormal_to(&directions, &mut next);
        let mut product = vec![0.0; d];
        for row in spectra.probes.chunks(d) {
            let along = inner(row, &next);
            add_scaled(&mut product, along, row);
        }
        directions.push(std::mem::replace(&mut next, product));
    }
    directions
}

/// Singular values of orthonormal vectors below this one belong to directions that depend on others.
const DEPENDENT: f64 = 1e-6;

/// Seed of the directions outside the span of all rows, which are as good as any others there.
const OUTSIDE: u64 = 0;

/// Balances displacements and sensitivities: with `C_x = L_x L_x^T`, `C_y = L_y L_y^T` and `L_y^T L_x = U S V^T`,
/// `W = L_y U S^-1/2` and `T = L_x V S^-1/2`. With all d columns, `W T^T` is the identity.
///
/// C is the second moments with the ridge r. L is its symmetric root: in the span of all rows `Q [n, d]` a matrix `[n,
/// n]`, and `sqrt(r)` times the identity outside of it. So the problem has n directions, and the others share the
/// smallest value.
fn balanced(spectra: &Spectra, d: usize, most: usize) -> Result<Projector> {
    let ridge = |of: &Spectrum| if of.trace > 0.0 { RIDGE * of.trace / d as f64 } else { 1.0 };
    let (rx, ry) = (ridge(&spectra.moved), ridge(&spectra.chi));
    let rows = [&spectra.moved.vectors[..], &spectra.chi.vectors[..]].concat().concat();
    let mut span = Vec::new();
    if !rows.is_empty() {
        let found = svd(&rows, d)?;
        span = found.right.into_iter().zip(found.values).filter(|(_, s)| *s > DEPENDENT).map(|(q, _)| q).collect();
    }
    let n = span.len();
    let (lx, ly) = (root(&spectra.moved, &span, rx), root(&spectra.chi, &span, ry));
    let (mut read, mut write, mut values) = (Vec::new(), Vec::new(), Vec::new());
    if n > 0 {
        let found = svd(&product(&ly, &lx, n), n)?;
        (read, write) =
            (combined(&ly, &found.left, &found.values, &span), combined(&lx, &found.right, &found.values, &span));
        values = found.values;
    }
    values.resize(d, (rx * ry).sqrt());
    let mut basis = span.clone();
    let scale = (ry / rx).powf(0.25);
    for mut outside in drawn(OUTSIDE, most.saturating_sub(n), d) {
        orthonormal_to(&basis, &mut outside);
        read.push(outside.iter().map(|x| x * scale).collect());
        write.push(outside.iter().map(|x| x / scale).collect());
        basis.push(outside);
    }
    Ok(Projector { read, write, values, span })
}

/// Returns the symmetric root of second moments with a ridge in the span of `span [n, d]`: `[n, n]`.
fn root(Spectrum { values, vectors, .. }: &Spectrum, span: &[Vec<f64>], ridge: f64) -> Vec<f64> {
    let n = span.len();
    let mut root = vec![0.0; n * n];
    root.iter_mut().step_by(n + 1).for_each(|x| *x = ridge.sqrt());
    for (value, v) in values.iter().zip(vectors) {
        let (along, size): (Vec<f64>, _) =
            (span.iter().map(|q| inner(q, v)).collect(), (value + ridge).sqrt() - ridge.sqrt());
        for (row, a) in root.chunks_mut(n).zip(&along) {
            add_scaled(row, size * a, &along);
        }
    }
    root
}

/// Returns `Q^T L v / sqrt(s)` for each vector v and singular value s: directions of d elements.
fn combined(root: &[f64], vectors: &[Vec<f64>], values: &[f64], span: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let d = span.first().map_or(0, Vec::len);
    let combine = |(v, s): (&Vec<f64>, &f64)| {
        let mut sum = vec![0.0; d];
        for (row, q) in root.chunks(v.len()).zip(span) {
            let along = inner(row, v) / s.sqrt();
            add_scaled(&mut sum, along, q);
        }
        sum
    };
    vectors.iter().zip(values).map(combine).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rows::Rows;
    use super::*;

    /// Three directions: the first is loud and does not matter, the second matters and is not moved, the third does
    /// both.
    fn spectra() -> Spectra {
        let diagonal = |values: [f64; 3]| (0..9).map(|i| if i % 4 == 0 { values[i / 4] } else { 0.0 }).collect();
        let rows = Rows {
            moved: diagonal([3.0, 0.0, 2.0]),
            chi: diagonal([0.0, 3.0, 2.0]),
            probes: diagonal([1.0, 1.5, 2.0]),
        };
        rows.spectra(3).expect("decomposes")
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

    /// Two displacements and one sensitivity of five elements. With the ridge, `W^T C_x W` and `T^T C_y T` are both the
    /// singular values, and `W T^T` is the identity: in the span of the rows, and outside of it.
    #[test]
    fn few_rows_are_balanced_as_defined() {
        let d = 5;
        let rows = Rows {
            moved: vec![1.0, 2.0, 0.0, 0.0, 1.0, 0.5, -1.0, 0.0, 3.0, 0.0],
            chi: vec![0.0, 1.0, 0.0, 1.0, -2.0],
            probes: Vec::new(),
        };
        let found = Projector::new(Method::Balanced, &rows.clone().spectra(d).expect("decomposes"), d, (d, 1));
        let found = found.expect("computes");
        assert_eq!((found.span.len(), found.read.len(), found.values.len()), (3, d, d));
        let quadratic = |rows: &[f64], a: &[f64], b: &[f64]| {
            let ridge = RIDGE * inner(rows, rows) / d as f64;
            rows.chunks(d).map(|x| inner(x, a) * inner(x, b)).sum::<f64>() + ridge * inner(a, b)
        };
        for i in 0..d {
            for j in 0..d {
                let (own, one) = if i == j { (found.values[i], 1.0) } else { (0.0, 0.0) };
                let (w, t) = (&found.read, &found.write);
                assert!((quadratic(&rows.moved, &w[i], &w[j]) - own).abs() < 1e-9, "displacements {i} {j}");
                assert!((quadratic(&rows.chi, &t[i], &t[j]) - own).abs() < 1e-9, "sensitivities {i} {j}");
                assert!((inner(&w[i], &t[j]) - one).abs() < 1e-9, "{i} {j}");
            }
        }
        let chi = [0.3, -1.0, 2.0, 0.7, 1.1];
        for whole in [found.whole(&chi), found.reduced(&chi, Some(d))] {
            assert!(whole.iter().zip(chi).all(|(a, b)| (a - b).abs() < 1e-6), "{whole:?}");
        }
    }

    #[test]
    fn nothing_moved_is_no_error() {
        let zero = Rows::default().spectra(3).expect("decomposes");
        for method in Method::ALL {
            let found = Projector::new(method, &zero, 3, (2, 1)).expect("computes");
            let rest = found.reduced(&[1.0, 2.0, 3.0], Some(2));
            assert!(rest.iter().all(|x| x.is_finite()), "{method:?}: {rest:?}");
        }
    }
}
