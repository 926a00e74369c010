//! The last part of a norm: gain and bias, `y = gain x + bias`.  `[rows, d] -> [rows, d]`
//!
//! Linear: jvp and jet leave out the bias, and vjp and hvp are the same kernel, because it is diagonal. No residuals.

use resolvent_engine::{Bound, Kernel, Recording, Result, Tensor};
use resolvent_shaders::gain::{self as shader, Params};

use crate::arguments::launch;
use crate::flat_grid;
use crate::host::each_row;
use crate::linear::Linear;

const NAME: &str = "gain";

/// A gain and a bias of each column.
#[derive(Clone, Debug)]
pub struct Gain {
    /// Gain `[d]`.
    pub gain: Tensor,
    /// Bias `[d]`, of norms that have one.
    pub bias: Option<Tensor>,
}

impl Gain {
    /// Creates an output like `x`, with the params of a launch over its elements, and its grid.
    fn output(&self, rec: &Recording, name: &'static str, x: &Tensor) -> Result<(Tensor, Params, [u32; 3])> {
        let (rows, d) = (x.shape().lengths()[0], self.gain.shape().elements());
        x.expect(NAME, &[("rows", rows), ("d", d)])?;
        let (grid, groups_x) = flat_grid(rows * d);
        let params = Params { elements: (rows * d) as u32, groups_x, d: d as u32 };
        Ok((rec.tensor(name, &[("rows", rows), ("d", d)])?, params, grid))
    }

    /// Records the product with the gain.
    fn product(&self, rec: &mut Recording, name: &'static str, x: &Tensor) -> Result<Tensor> {
        let (y_dot, params, grid) = self.output(rec, name, x)?;
        let n = f64::from(params.elements);
        let buffers = shader::jvp::Bindings { x, gain: &self.gain, y_dot: &y_dot };
        rec.launch(launch(&JVP, params, buffers, grid).work(n, 8.0 * n))?;
        Ok(y_dot)
    }
}

impl Linear for Gain {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, rec: &mut Recording, x: &[&Tensor]) -> Result<Tensor> {
        self.product(rec, "gain.dot", x[0])
    }

    fn affine(&self, rec: &mut Recording, x: &[&Tensor]) -> Result<Tensor> {
        let Some(bias) = &self.bias else { return self.product(rec, NAME, x[0]) };
        let (y, params, grid) = self.output(rec, NAME, x[0])?;
        let n = f64::from(params.elements);
        let buffers = shader::primal::Bindings { x: x[0], gain: &self.gain, bias, y: &y };
        rec.launch(launch(&PRIMAL, params, buffers, grid).work(2.0 * n, 8.0 * n))?;
        Ok(y)
    }

    fn transpose(&self, rec: &mut Recording, y_bar: &Tensor) -> Result<Vec<Tensor>> {
        Ok(vec![self.product(rec, "gain.bar", y_bar)?])
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: jvp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP];

fn primal(bound: Bound<'_>) {
    let shader::primal::Bindings { x, gain, bias, y } = shader::primal::Bindings::of(bound.slices());
    each_row(y, gain.len(), |r, y| {
        let x = &x[r * y.len()..];
        for e in 0..y.len() {
            y[e] = gain[e] * x[e] + bias[e];
        }
    });
}

fn jvp(bound: Bound<'_>) {
    let shader::jvp::Bindings { x, gain, y_dot } = shader::jvp::Bindings::of(bound.slices());
    each_row(y_dot, gain.len(), |r, y| {
        let x = &x[r * y.len()..];
        for e in 0..y.len() {
            y[e] = gain[e] * x[e];
        }
    });
}
