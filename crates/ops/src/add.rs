//! Residual add, for places where no other op includes it.  `[rows, d], [rows, d] -> [rows, d]`
//!
//! Linear: jvp and jet are the same kernel, and vjp and hvp return `y_bar` for both inputs without a launch.

mod rules;

use resolvent_engine::{Bound, Kernel, Recording, Result, Tensor};
use resolvent_shaders::add::{self as shader, Params};

use crate::arguments::launch;
use crate::flat_grid;
use crate::host::each_row;

const NAME: &str = "add";

/// `y = a + b`.
#[derive(Clone, Copy, Debug)]
pub struct Add;

/// Returns `a + b`, for two tensors of one shape.
pub fn add(rec: &mut Recording, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    b.expect(NAME, a.shape().dims())?;
    let y = rec.tensor(NAME, a.shape().dims())?;
    let n = a.shape().elements();
    let (grid, groups_x) = flat_grid(n);
    let params = Params { n: n as u32, groups_x };
    let buffers = shader::primal::Bindings { a, b, y: &y };
    rec.launch(launch(&PRIMAL, params, buffers, grid).work(n as f64, 12.0 * n as f64))?;
    Ok(y)
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL];

fn primal(bound: Bound<'_>) {
    const CHUNK: usize = 4096;
    let shader::primal::Bindings { a, b, y } = shader::primal::Bindings::of(bound.slices());
    each_row(y, CHUNK, |i, y| {
        let from = i * CHUNK;
        for (e, y) in y.iter_mut().enumerate() {
            *y = a[from + e] + b[from + e];
        }
    });
}
