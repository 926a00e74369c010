//! The second part of a norm: rows divided by their scales, `y = c / s`.  `[rows, d + 1] -> [rows, d]`
//!
//! A row of the input is `[c | s]`, as [`crate::norm_scale`] computes it and edits change it. Residual: the input
//! `[primal, d + 1]`.

mod host;

use std::sync::Arc;

use resolvent_engine::{Kernel, Recording, Result, Tensor};
use resolvent_shaders::divide::{self as shader, Params};

use crate::accumulate::accumulate;
use crate::arguments::{launch, reshaped};
use crate::op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Residuals, SecondOrder};
use crate::rows::Rows;

const NAME: &str = "divide";

/// Division of rows by the scale in their last column.
#[derive(Clone, Copy, Debug)]
pub struct Divide {
    /// Width of the output. The scale is one more column of the input.
    pub d: usize,
}

impl Divide {
    fn params(self) -> Params {
        Params { d: self.d as u32, tangent_rows: 0, shared_from: 0 }
    }
}

impl Op for Divide {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, _: Frozen) -> Option<Arc<dyn Op>> {
        None
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Residuals>, inputs: &[&Tensor]) -> Result<Outcome> {
        let (r, d, x) = (rows.count(), self.d, inputs[0]);
        let y = reshaped(rec, (NAME, NAME), r, [d + 1, d], x)?;
        let n = (r * d) as f64;
        let buffers = shader::primal::Bindings { x, y: &y };
        rec.launch(launch(&PRIMAL, self.params(), buffers, [r as u32, 1, 1]).work(n, 8.0 * n))?;
        Ok(Outcome { residuals: Residuals::new(&[x]), y })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let (r, d, [x], x_dot) = (rows.count(), self.d, residuals.get(), x_dot[0]);
        let y_dot = reshaped(rec, (NAME, "divide.dot"), r, [d + 1, d], x_dot)?;
        let n = (r * d) as f64;
        let buffers = shader::jvp::Bindings { x, rows: rows.table(), x_dot, y_dot: &y_dot };
        rec.launch(launch(&JVP, self.params(), buffers, [r as u32, 1, 1]).work(4.0 * n, 12.0 * n))?;
        Ok(y_dot)
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: &Residuals,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let (r, d, [x]) = (rows.count(), self.d, residuals.get());
        let x_bar = reshaped(rec, (NAME, "divide.bar"), r, [d, d + 1], y_bar)?;
        let n = (r * d) as f64;
        let buffers = shader::vjp::Bindings { x, rows: rows.table(), y_bar, x_bar: &x_bar };
        rec.launch(launch(&VJP, self.params(), buffers, [r as u32, 1, 1]).work(4.0 * n, 12.0 * n))?;
        accumulate(rec, vec![x_bar], so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, false)
    }
}

impl Nonlinear for Divide {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        let (r, d, [x], x_jet) = (rows.count(), self.d, residuals.get(), x_jet[0]);
        let y_jet = reshaped(rec, (NAME, "divide.jet"), 2 * r, [d + 1, d], x_jet)?;
        let n = (r * d) as f64;
        let buffers = shader::jet::Bindings { x, rows: rows.table(), x_jet, y_jet: &y_jet };
        rec.launch(launch(&JET, self.params(), buffers, [r as u32, 1, 1]).work(11.0 * n, 20.0 * n))?;
        Ok(y_jet)
    }

    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        HvpResiduals { primal, paired }: HvpResiduals<'_>,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let (r, d, [x], [x_dot]) = (rows.count(), self.d, primal.get(), paired.residuals.get());
        x_dot.expect(NAME, &[("rows", paired.rows), ("d", d + 1)])?;
        let x_bar = reshaped(rec, (NAME, "divide.bar"), r, [d, d + 1], y_bar)?;
        let params =
            Params { tangent_rows: paired.rows as u32, shared_from: rows.shared_from() as u32, ..self.params() };
        let buffers = shader::hvp::Bindings { x, rows: rows.table(), x_dot, y_bars: y_bar, x_bars: &x_bar };
        let (n, tangents) = ((r * d) as f64, (paired.rows * d) as f64);
        let launch = launch(&HVP, params, buffers, [r as u32, 1, 1]);
        rec.launch(launch.work(4.0 * n + 8.0 * tangents, 12.0 * n + 8.0 * tangents))?;
        accumulate(rec, vec![x_bar], so_far)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: host::primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: host::jvp };
static JET: Kernel = Kernel { shader: &shader::JET, host: host::jet };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: host::vjp };
static HVP: Kernel = Kernel { shader: &shader::HVP, host: host::hvp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &JET, &VJP, &HVP];
