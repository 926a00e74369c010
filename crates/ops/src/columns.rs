//! Some columns of each row, for values that lie side by side: `y = x[first .. first + n]`.
//! `[rows, width] -> [rows, n]`
//!
//! Linear: jvp and jet are the same kernel, and vjp and hvp write zeros beside the columns. No residuals.

use resolvent_engine::{Bound, Error, Kernel, Recording, Result, Tensor};
use resolvent_shaders::columns::{self as shader, Params};

use crate::arguments::{launch, params};
use crate::flat_grid;
use crate::host::each_row;
use crate::linear::Linear;

const NAME: &str = "columns";

/// The columns `first .. first + n` of rows of `width` elements.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Width of a row.
    pub width: usize,
    /// First column.
    pub first: usize,
    /// Number of columns.
    pub n: usize,
}

impl Columns {
    /// Returns the params of a launch over `elements` elements, and its grid.
    fn params(&self, elements: usize) -> (Params, [u32; 3]) {
        let (grid, groups_x) = flat_grid(elements);
        let [elements, width, n, first] = [elements, self.width, self.n, self.first].map(|n| n as u32);
        (Params { elements, groups_x, width, n, first }, grid)
    }

    /// Returns rows that have `y [rows, n]` in these columns and zeros beside them.
    ///
    /// # Errors
    /// Columns outside of a row, or a tensor that does not fit.
    pub fn spread(&self, rec: &mut Recording, y: &Tensor) -> Result<Tensor> {
        let rows = self.check(y, self.n)?;
        let x = rec.tensor("columns.bar", &[("rows", rows), ("width", self.width)])?;
        let (params, grid) = self.params(rows * self.width);
        let bytes = 4.0 * (rows * (self.width + self.n)) as f64;
        rec.launch(launch(&VJP, params, shader::vjp::Bindings { y_bar: y, x_bar: &x }, grid).work(0.0, bytes))?;
        Ok(x)
    }

    /// Checks the columns and the width of a tensor, and returns its number of rows.
    fn check(&self, x: &Tensor, width: usize) -> Result<usize> {
        let Self { width: all, first, n } = *self;
        if n == 0 || first + n > all {
            let reason = format!("columns {first} to {} are outside of a row of {all}", first + n);
            return Err(Error::shape(NAME, reason));
        }
        let rows = x.shape().lengths()[0];
        x.expect(NAME, &[("rows", rows), ("width", width)])?;
        Ok(rows)
    }
}

impl Linear for Columns {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, rec: &mut Recording, x: &[&Tensor]) -> Result<Tensor> {
        let (x, rows) = (x[0], self.check(x[0], self.width)?);
        let y = rec.tensor(NAME, &[("rows", rows), ("n", self.n)])?;
        let (params, grid) = self.params(rows * self.n);
        let bytes = 8.0 * (rows * self.n) as f64;
        rec.launch(launch(&PRIMAL, params, shader::primal::Bindings { x, y: &y }, grid).work(0.0, bytes))?;
        Ok(y)
    }

    fn transpose(&self, rec: &mut Recording, y_bar: &Tensor) -> Result<Vec<Tensor>> {
        Ok(vec![self.spread(rec, y_bar)?])
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: vjp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &VJP];

fn primal(bound: Bound<'_>) {
    let Params { width, n, first, .. } = params(&bound);
    let [width, n, first] = [width, n, first].map(|n| n as usize);
    let shader::primal::Bindings { x, y } = shader::primal::Bindings::of(bound.slices());
    each_row(y, n, |r, y| y.copy_from_slice(&x[r * width + first..][..n]));
}

fn vjp(bound: Bound<'_>) {
    let Params { width, n, first, .. } = params(&bound);
    let [width, n, first] = [width, n, first].map(|n| n as usize);
    let shader::vjp::Bindings { y_bar, x_bar } = shader::vjp::Bindings::of(bound.slices());
    each_row(x_bar, width, |r, bar| {
        bar.fill(0.0);
        bar[first..][..n].copy_from_slice(&y_bar[r * n..][..n]);
    });
}
