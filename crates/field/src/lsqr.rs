//! LSQR (Paige and Saunders 1982): least squares through a map and its transpose.
//!
//! Solves `min |A x - b|^2 + damp^2 |x|^2`, starting at x = 0. The iterates stay in the span of `A^T`. If `A x = b` has
//! many solutions and damp is 0, the limit is therefore the solution of least energy |x|^2.

use crate::certificate::{norm, worse};
use crate::error::Result;
use crate::linear_map::LinearMap;

/// Stopping criteria, and the weight of the energy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LsqrOptions {
    /// Weight of the energy.
    pub damp: f64,
    /// Stop when the residual, or the gradient of the objective, has shrunk to this share.
    pub tolerance: f64,
    /// Stop after this many steps. Each step applies the map once and its transpose once.
    pub steps: usize,
}

impl Default for LsqrOptions {
    fn default() -> Self {
        Self { damp: 0.0, tolerance: 1e-6, steps: 200 }
    }
}

/// The solution.
#[derive(Clone, Debug, PartialEq)]
pub struct Lsqr {
    /// x `[columns]`.
    pub x: Vec<f32>,
    /// `|A x - b| / |b|`, recomputed from x.
    pub residual: f64,
    /// Steps taken.
    pub steps: usize,
}

/// Solves the least-squares problem for `b [rows]`.
///
/// # Errors
/// A device error.
pub fn lsqr(map: &dyn LinearMap, b: &[f32], options: LsqrOptions) -> Result<Lsqr> {
    let mut x = vec![0.0f64; map.columns()];
    let size = norm(b);
    let (mut u, mut beta) = unit(wide(b));
    let (mut v, mut alpha) = unit(wide(&transpose(map, &u)?));
    let mut steps = 0;
    if beta > 0.0 && alpha > 0.0 {
        let start = alpha * beta;
        let mut w = v.clone();
        let (mut phi, mut rho) = (beta, alpha);
        let mut energy_residual = 0.0f64;
        while steps < options.steps {
            steps += 1;
            (u, beta) = unit(combine(&wide(&forward(map, &v)?), &u, alpha));
            (v, alpha) = unit(combine(&wide(&transpose(map, &u)?), &v, beta));
            // Damping adds a row below the bidiagonal in each step; a rotation eliminates that row first.
            let damped = rho.hypot(options.damp);
            energy_residual = energy_residual.hypot(options.damp / damped * phi);
            phi *= rho / damped;
            let r = damped.hypot(beta);
            let (c, s) = (damped / r, beta / r);
            let theta = s * alpha;
            rho = -c * alpha;
            let step = c * phi;
            phi *= s;
            for ((x, w), v) in x.iter_mut().zip(&mut w).zip(&v) {
                *x += step / r * *w;
                *w = v - theta / r * *w;
            }
            let residual = phi.hypot(energy_residual);
            let gradient = (phi * alpha * c).abs();
            if residual <= options.tolerance * size || gradient <= options.tolerance * start || beta == 0.0 {
                break;
            }
        }
    }
    let x: Vec<f32> = x.into_iter().map(|x| x as f32).collect();
    let apart: Vec<f32> = map.apply(std::slice::from_ref(&x))?[0].iter().zip(b).map(|(a, b)| a - b).collect();
    let residual = worse(0.0, norm(&apart) / size.max(f64::MIN_POSITIVE));
    Ok(Lsqr { x, residual, steps })
}

fn forward(map: &dyn LinearMap, v: &[f64]) -> Result<Vec<f32>> {
    Ok(map.apply(&[narrow(v)])?.remove(0))
}

fn transpose(map: &dyn LinearMap, u: &[f64]) -> Result<Vec<f32>> {
    Ok(map.apply_transpose(&[narrow(u)])?.remove(0))
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Returns `a - factor b`.
fn combine(a: &[f64], b: &[f64], factor: f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - factor * b).collect()
}

/// Normalises a vector and returns it with its length; a zero vector stays zero.
fn unit(mut x: Vec<f64>) -> (Vec<f64>, f64) {
    let size = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    if size > 0.0 {
        x.iter_mut().for_each(|x| *x /= size);
    }
    (x, size)
}

#[cfg(test)]
pub(crate) mod tests {
    use resolvent_model::gaussian;

    use super::*;

    /// A dense matrix, row-major.
    pub(crate) struct Dense {
        pub(crate) rows: usize,
        pub(crate) columns: usize,
        pub(crate) data: Vec<f32>,
    }

    impl Dense {
        pub(crate) fn random(rows: usize, columns: usize, seed: u64) -> Self {
            Self { rows, columns, data: gaussian(seed, rows * columns) }
        }
    }

    impl LinearMap for Dense {
        fn rows(&self) -> usize {
            self.rows
        }

        fn columns(&self) -> usize {
            self.columns
        }

        fn apply(&self, x: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
            let row = |x: &[f32], row: &[f32]| crate::certificate::dot(x, row) as f32;
            Ok(x.iter().map(|x| self.data.chunks(self.columns).map(|r| row(x, r)).collect()).collect())
        }

        fn apply_transpose(&self, y: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
            let column = |y: &[f32], j: usize| {
                y.iter().enumerate().map(|(i, y)| y * self.data[i * self.columns + j]).sum::<f32>()
            };
            Ok(y.iter().map(|y| (0..self.columns).map(|j| column(y, j)).collect()).collect())
        }

        fn scratch(&self, _: usize) -> usize {
            0
        }
    }

    fn distance(a: &[f32], b: &[f32]) -> f64 {
        norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f32>>()) / norm(b)
    }

    /// Among all solutions, LSQR returns the one without a component in the null space of A: `x = A^T z` for some z.
    #[test]
    fn least_energy_of_many_solutions() {
        let map = Dense::random(5, 40, 1);
        let z = gaussian(2, 5);
        let least = map.apply_transpose(&[z]).expect("computes").remove(0);
        let b = map.apply(std::slice::from_ref(&least)).expect("computes").remove(0);
        let got = lsqr(&map, &b, LsqrOptions::default()).expect("computes");
        assert!(got.residual < 1e-5 && got.steps <= 8, "{} {}", got.residual, got.steps);
        assert!(distance(&got.x, &least) < 1e-4, "{}", distance(&got.x, &least));
    }

    /// More equations than unknowns: the residual is orthogonal to the columns.
    #[test]
    fn least_squares_of_too_many_equations() {
        let map = Dense::random(40, 6, 3);
        let b = gaussian(4, 40);
        for damp in [0.0, 2.0] {
            let options = LsqrOptions { damp, tolerance: 1e-9, steps: 60 };
            let x = lsqr(&map, &b, options).expect("computes").x;
            let ax = map.apply(std::slice::from_ref(&x)).expect("computes").remove(0);
            let rest: Vec<f32> = b.iter().zip(&ax).map(|(b, a)| b - a).collect();
            let gradient = map.apply_transpose(&[rest]).expect("computes").remove(0);
            let apart: Vec<f32> = gradient.iter().zip(&x).map(|(g, x)| g - (damp * damp) as f32 * x).collect();
            assert!(norm(&apart) < 1e-4 * norm(&b), "{damp}: {}", norm(&apart));
        }
    }

    #[test]
    fn nothing_to_solve() {
        let map = Dense::random(3, 4, 1);
        let got = lsqr(&map, &[0.0; 3], LsqrOptions::default()).expect("computes");
        assert_eq!((got.x, got.residual, got.steps), (vec![0.0; 4], 0.0, 0));
        let zero = Dense { rows: 2, columns: 3, data: vec![0.0; 6] };
        let got = lsqr(&zero, &[1.0, 0.0], LsqrOptions::default()).expect("computes");
        assert_eq!((got.residual, got.steps), (1.0, 0));
    }
}
