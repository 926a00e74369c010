//! Residual add where nothing could be fused with it.  `[rows, d], [rows, d] -> [rows, d]`
//!
//! Linear: jvp and jet are the same kernel, and vjp (and hvp) hands `y_bar` to both sides without a launch.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor};
use resolvent_shaders::add as shader;

use crate::flat_grid;
use crate::host::each_row;
use crate::op::{Frozen, Op, Outcome, Paired, Residuals};
use crate::rows::Rows;

const NAME: &str = "add";

/// `y = a + b`.
#[derive(Clone, Copy, Debug)]
pub struct Add;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    groups_x: u32,
    pad: [u32; 2],
}

/// `a + b`, two tensors of one shape.
pub fn add(rec: &mut Recording, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    b.expect(NAME, a.shape().dims())?;
    let y = rec.tensor(NAME, a.shape().dims())?;
    let n = a.shape().elements();
    let (grid, groups_x) = flat_grid(n);
    let params = Params { n: n as u32, groups_x, pad: [0; 2] };
    rec.launch(Launch::new(&PRIMAL, params, &[a, b, &y], grid).work(n as f64, 12.0 * n as f64))?;
    Ok(y)
}

/// `x` plus what has reached the same place already, if anything has.
pub(crate) fn onto(rec: &mut Recording, x: Tensor, so_far: &Option<Tensor>) -> Result<Tensor> {
    match so_far {
        Some(other) => add(rec, other, &x),
        None => Ok(x),
    }
}

impl Op for Add {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, _: Frozen) -> Option<Arc<dyn Op>> {
        None
    }

    fn primal(&self, rec: &mut Recording, _: &Rows, _: Option<&Residuals>, inputs: &[&Tensor]) -> Result<Outcome> {
        Ok(Outcome { y: add(rec, inputs[0], inputs[1])?, residuals: Residuals::default() })
    }

    fn jvp(&self, rec: &mut Recording, _: &Rows, _: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        add(rec, x_dot[0], x_dot[1])
    }

    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        self.jvp(rec, rows, residuals, x_jet)
    }

    fn tangent(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Outcome> {
        Ok(Outcome { y: self.jvp(rec, rows, residuals, x_dot)?, residuals: Residuals::default() })
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        _: &Rows,
        _: &Residuals,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        so_far.iter().map(|so_far| onto(rec, y_bar.clone(), so_far)).collect()
    }

    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        (residuals, _): (&Residuals, Paired<'_>),
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        self.vjp(rec, rows, residuals, y_bar, so_far)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL];

fn primal(bound: Bound<'_>) {
    const CHUNK: usize = 4096;
    let ([a, b], [y]) = bound.slices();
    each_row(y, CHUNK, |i, y| {
        let from = i * CHUNK;
        for (e, y) in y.iter_mut().enumerate() {
            *y = a[from + e] + b[from + e];
        }
    });
}
