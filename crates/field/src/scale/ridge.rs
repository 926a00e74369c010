//! Linear maps from the field of one model to that of another, fitted by ridge regression.

use faer::{Mat, Side, linalg::solvers::Solve};

use crate::error::{Error, Result};

/// Penalties that are tried, over the mean eigenvalue of the covariance of the inputs.
const PENALTIES: [f64; 6] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

/// Rows of inputs `[n, inputs]` and of outputs `[n, outputs]`, those of one prompt.
pub(super) type Group = (Mat<f64>, Mat<f64>);

/// A linear map W between deviations from the mean: `y - mean(y) = W^T (x - mean(x))`.
pub(super) struct Ridge {
    /// `[inputs, outputs]`
    weights: Mat<f64>,
}

impl Ridge {
    /// Fits the map on rows x `[n, inputs]` and y `[n, outputs]`, one group of rows a prompt. The penalty is the one
    /// with the smallest error on the second half of the groups, after a fit on the first half.
    ///
    /// # Errors
    /// Rows that are not finite.
    pub(super) fn fit(groups: &[Group]) -> Result<Self> {
        let (first, second) = groups.split_at(groups.len().div_ceil(2));
        let held_out = Centred::of(if second.is_empty() { first } else { second });
        let part = Centred::of(first);
        let mut best = (f64::INFINITY, PENALTIES[0]);
        for penalty in PENALTIES {
            let rest = &held_out.y - &held_out.x * &part.solve(penalty)?;
            let error = rest.squared_norm_l2();
            if error < best.0 {
                best = (error, penalty);
            }
        }
        Ok(Self { weights: Centred::of(groups).solve(best.1)? })
    }

    /// Maps rows `[n, inputs]` of differences to `[n, outputs]`.
    pub(super) fn apply(&self, rows: &Mat<f64>) -> Mat<f64> {
        rows * &self.weights
    }
}

/// Rows of both sides, less their means.
struct Centred {
    x: Mat<f64>,
    y: Mat<f64>,
}

impl Centred {
    fn of(groups: &[Group]) -> Self {
        let centred = |of: fn(&Group) -> &Mat<f64>| {
            let rows: usize = groups.iter().map(|group| of(group).nrows()).sum();
            let columns = groups.first().map_or(0, |group| of(group).ncols());
            let mut all = Mat::zeros(rows, columns);
            let mut from = 0;
            for group in groups.iter().map(of) {
                all.submatrix_mut(from, 0, group.nrows(), columns).copy_from(group);
                from += group.nrows();
            }
            for j in 0..columns {
                let mean = all.col(j).iter().sum::<f64>() / rows.max(1) as f64;
                all.col_mut(j).iter_mut().for_each(|x| *x -= mean);
            }
            all
        };
        Self { x: centred(|group| &group.0), y: centred(|group| &group.1) }
    }

    /// Returns `(X^T X + penalty I)^-1 X^T Y`, with the penalty over the mean eigenvalue of `X^T X`.
    fn solve(&self, penalty: f64) -> Result<Mat<f64>> {
        let mut gram = self.x.transpose() * &self.x;
        let n = gram.nrows();
        let trace: f64 = (0..n).map(|i| gram[(i, i)]).sum();
        let ridge = (penalty * trace / n as f64).max(f64::MIN_POSITIVE);
        (0..n).for_each(|i| gram[(i, i)] += ridge);
        let decomposed = gram.llt(Side::Lower).map_err(|_| {
            Error::Input("the field of a model has elements that are not finite, so no map can be fitted".to_owned())
        })?;
        Ok(decomposed.solve(self.x.transpose() * &self.y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a linear map with an offset are mapped exactly, and an offset does not matter for differences.
    #[test]
    fn a_linear_map_is_found() {
        let mut state = 1;
        let mut random = |rows, columns| {
            Mat::from_fn(rows, columns, |_, _| {
                crate::stats::below(&mut state, 1 << 20) as f64 / f64::from(1 << 19) - 1.0
            })
        };
        let map = random(4, 3);
        let group = |x: Mat<f64>| {
            let y = &x * &map;
            let moved = Mat::from_fn(y.nrows(), 3, |i, j| y[(i, j)] + j as f64);
            (x, moved)
        };
        let groups: Vec<_> = (0..4).map(|_| group(random(10, 4))).collect();
        let fit = Ridge::fit(&groups).expect("fits");
        let rows = random(2, 4);
        assert!((fit.apply(&rows) - &rows * &map).norm_max() < 1e-3);
        let broken = [(Mat::from_fn(4, 2, |_, _| f64::NAN), Mat::zeros(4, 1))];
        assert!(Ridge::fit(&broken).is_err_and(|e| e.to_string().contains("not finite")));
    }
}
