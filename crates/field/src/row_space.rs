//! What linear readers see of a site: the row space of their matrices, and the kernel that none of them sees.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};

use resolvent_model::{ReaderSet, Run, RunOptions, Site, reader_rows, reader_sites};

use crate::dense::{inner, size, wide};
use crate::error::{Error, Result};

/// Singular values below this share of the largest one are zero to the accuracy of f32 weights.
const NEGLIGIBLE: f64 = 1e-5;

/// The row space of a matrix R that reads a site.
pub(crate) struct RowSpace {
    /// Orthonormal vectors that span it, `[rank]` of `[width]`.
    vectors: Vec<Vec<f64>>,
    /// The squared singular value of each.
    squares: Vec<f64>,
    width: usize,
}

impl RowSpace {
    /// Returns the row space of the readers of some sites of a run at a token. The columns of several sites, such as
    /// all heads of a block, lie one after another; the same readers read them.
    pub(crate) fn of(run: &Run, (sites, token): (&[Site], usize), set: ReaderSet) -> Result<Self> {
        let model = run.model();
        let mut needed = Vec::new();
        for &site in sites {
            needed.extend(reader_sites(model.architecture(), site, set)?);
        }
        let prepared = match needed.iter().all(|&site| run.has(site)) {
            true => run.clone(),
            false => model.run_with(run.tokens(), &RunOptions { edits: run.edits().to_vec(), sites: needed })?,
        };
        let width: usize = sites.iter().map(|site| site.width(model.sizes())).sum();
        let mut sum = Sum { width, rows: Vec::new(), gram: None };
        match sites {
            [site] => reader_rows(&prepared, (*site, token), set, &mut |rows| sum.add(rows))?,
            _ => {
                let mut each = vec![Vec::new(); sites.len()];
                for (rows, &site) in each.iter_mut().zip(sites) {
                    reader_rows(&prepared, (site, token), set, &mut |more| rows.extend_from_slice(more))?;
                }
                let count = each[0].len() / sites[0].width(model.sizes());
                sum.add(&crate::dictionary::interleaved(&each, count));
            }
        }
        sum.finish()
    }

    /// Returns whether linear readers read all of these sites.
    pub(crate) fn is_read(run: &Run, sites: &[Site]) -> bool {
        let model = run.model().architecture();
        sites.iter().all(|&site| reader_sites(model, site, ReaderSet::Next).is_ok())
    }

    /// Returns the number of independent directions that the readers see.
    pub(crate) fn rank(&self) -> usize {
        self.vectors.len()
    }

    /// Returns the part of a vector in the row space. The rest lies in the kernel.
    pub(crate) fn part(&self, x: &[f64]) -> Vec<f64> {
        let mut part = vec![0.0; self.width];
        for vector in &self.vectors {
            let along = inner(vector, x);
            part.iter_mut().zip(vector).for_each(|(part, v)| *part += along * v);
        }
        part
    }

    /// Returns the share of the length of a vector that lies in the kernel; 0 for a vector of zeros.
    pub(crate) fn kernel(&self, x: &[f64]) -> f64 {
        let all = size(x);
        if all == 0.0 { 0.0 } else { size(&difference(x, &self.part(x))) / all }
    }

    /// Returns `|R x|^2 / |x|^2`, over its mean over all directions: 1 for a vector that the readers see as well as a
    /// random one.
    pub(crate) fn gain(&self, x: &[f64]) -> f64 {
        let seen: f64 = self.vectors.iter().zip(&self.squares).map(|(v, square)| square * inner(v, x).powi(2)).sum();
        let mean = self.squares.iter().sum::<f64>() / self.width as f64;
        let all = inner(x, x) * mean;
        if all == 0.0 { 0.0 } else { seen / all }
    }
}

/// Returns `a - b`.
pub(crate) fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Rows of R so far: themselves if they are fewer than its columns, or else `R^T R`.
struct Sum {
    width: usize,
    rows: Vec<f64>,
    gram: Option<Mat<f64>>,
}

impl Sum {
    fn add(&mut self, rows: &[f32]) {
        self.rows.extend(wide(rows));
        if self.gram.is_some() || self.rows.len() > self.width * self.width {
            let rows = MatRef::from_row_major_slice(&self.rows, self.rows.len() / self.width, self.width);
            let gram = self.gram.get_or_insert_with(|| Mat::zeros(self.width, self.width));
            matmul(gram.as_mut(), Accum::Add, rows.transpose(), rows, 1.0, Par::Seq);
            self.rows.clear();
        }
    }

    fn finish(self) -> Result<RowSpace> {
        let rows = MatRef::from_row_major_slice(&self.rows, self.rows.len() / self.width, self.width);
        let small = match &self.gram {
            Some(gram) => gram.clone(),
            None => {
                let mut small = Mat::zeros(rows.nrows(), rows.nrows());
                matmul(small.as_mut(), Accum::Replace, rows, rows.transpose(), 1.0, Par::Seq);
                small
            }
        };
        let decomposed = small.self_adjoint_eigen(Side::Lower).map_err(|_| {
            Error::Input("readers with weights that are not finite; run again with `--device host`".to_owned())
        })?;
        let values: Vec<f64> = decomposed.S().column_vector().iter().copied().collect();
        let largest = values.iter().fold(0.0f64, |most, x| most.max(*x));
        let (mut vectors, mut squares) = (Vec::new(), Vec::new());
        for (n, &square) in values.iter().enumerate().filter(|(_, x)| **x > NEGLIGIBLE * NEGLIGIBLE * largest) {
            let own = decomposed.U().col(n);
            // An eigenvector of R R^T gives the singular vector R^T u / s.
            let vector: Vec<f64> = match self.gram {
                Some(_) => own.iter().copied().collect(),
                None => {
                    let turned = rows.transpose() * own;
                    turned.iter().map(|x| x / square.sqrt()).collect()
                }
            };
            vectors.push(vector);
            squares.push(square);
        }
        Ok(RowSpace { vectors, squares, width: self.width })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resolvent_model::gaussian;

    /// Returns the space of rows that are given in parts of `n`.
    fn space(rows: &[f32], width: usize, n: usize) -> RowSpace {
        let mut sum = Sum { width, rows: Vec::new(), gram: None };
        rows.chunks(n * width).for_each(|part| sum.add(part));
        sum.finish().expect("decomposes")
    }

    /// Few rows and many repeated rows have the same row space, and none of them sees its kernel.
    #[test]
    fn kernels_are_not_seen() {
        let (width, count) = (12, 5);
        let rows = gaussian(3, count * width);
        let many: Vec<f32> = (0..9).flat_map(|_| rows.clone()).collect();
        for space in [space(&rows, width, 2), space(&many, width, 4)] {
            assert_eq!(space.rank(), count);
            let x = wide(&gaussian(7, width));
            let kernel = difference(&x, &space.part(&x));
            for row in rows.chunks(width) {
                assert!(inner(&wide(row), &kernel).abs() < 1e-6);
            }
            assert!((space.kernel(&kernel) - 1.0).abs() < 1e-9 && space.gain(&kernel) < 1e-9);
            assert!(space.kernel(&wide(&rows[..width])) < 1e-6 && space.kernel(&x) > 0.1);
            assert!((size(&space.part(&space.part(&x))) - size(&space.part(&x))).abs() < 1e-9);
        }
    }

    #[test]
    fn gains_have_the_mean_one() {
        let (width, rows) = (6, gaussian(5, 4 * 6));
        let space = space(&rows, width, 4);
        let unit = |i: usize| (0..width).map(|j| f64::from(u8::from(i == j))).collect::<Vec<f64>>();
        let mean = (0..width).map(|i| space.gain(&unit(i))).sum::<f64>() / width as f64;
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
    }
}
