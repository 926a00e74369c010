//! The first part of a norm: the centred row and its scale side by side, `y = [c | s]`.  `[rows, d] -> [rows, d + 1]`
//!
//! `c = x - mean(x)` of a layer norm and `c = x` of an RMS norm; `s = sqrt(mean(c^2) + eps)`. [`crate::divide`] and
//! [`crate::gain`] are the other parts. Residual: the output `[primal, d + 1]`, before edits of it.

mod host;

use std::sync::Arc;

use resolvent_engine::{Kernel, Recording, Result, Tensor};
use resolvent_shaders::norm_scale::{self as shader, Params};

use crate::accumulate::accumulate;
use crate::arguments::{launch, reshaped};
use crate::op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Residuals, SecondOrder, switch};
use crate::rows::Rows;

const NAME: &str = "norm_scale";

/// The centred row and the scale of a norm.
#[derive(Clone, Copy, Debug)]
pub struct NormScale {
    /// Width of a row.
    pub d: usize,
    /// Whether the mean is subtracted, as layer norms do.
    pub centred: bool,
    /// Added to the mean of the squares.
    pub eps: f32,
    /// Whether jvp and vjp hold the scale constant.
    pub frozen: bool,
}

impl NormScale {
    fn params(&self) -> Params {
        let (d, centred) = (self.d as u32, u32::from(self.centred));
        Params { d, centred, eps: self.eps, tangent_rows: 0, shared_from: 0 }
    }
}

impl Op for NormScale {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, frozen: Frozen) -> Option<Arc<dyn Op>> {
        frozen.norm.then(|| Arc::new(Self { frozen: true, ..*self }) as Arc<dyn Op>)
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Residuals>, inputs: &[&Tensor]) -> Result<Outcome> {
        let (r, d, x) = (rows.count(), self.d, inputs[0]);
        let y = reshaped(rec, (NAME, NAME), r, [d, d + 1], x)?;
        let n = (r * d) as f64;
        let buffers = shader::primal::Bindings { x, y: &y };
        rec.launch(launch(&PRIMAL, self.params(), buffers, [r as u32, 1, 1]).work(6.0 * n, 8.0 * n))?;
        Ok(Outcome { residuals: Residuals::new(&[&y]), y })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let (r, d, [y_saved], x_dot) = (rows.count(), self.d, residuals.get(), x_dot[0]);
        let y_dot = reshaped(rec, (NAME, "norm_scale.dot"), r, [d, d + 1], x_dot)?;
        let n = (r * d) as f64;
        let buffers = shader::jvp::Bindings { y_saved, rows: rows.table(), x_dot, y_dot: &y_dot };
        let launch = launch(&JVP, self.params(), buffers, [r as u32, 1, 1]).constants(&[switch(self.frozen)]);
        rec.launch(launch.work(5.0 * n, 12.0 * n))?;
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
        let (r, d, [y_saved]) = (rows.count(), self.d, residuals.get());
        let x_bar = reshaped(rec, (NAME, "norm_scale.bar"), r, [d + 1, d], y_bar)?;
        let n = (r * d) as f64;
        let buffers = shader::vjp::Bindings { y_saved, rows: rows.table(), y_bar, x_bar: &x_bar };
        let launch = launch(&VJP, self.params(), buffers, [r as u32, 1, 1]).constants(&[switch(self.frozen)]);
        rec.launch(launch.work(5.0 * n, 12.0 * n))?;
        accumulate(rec, vec![x_bar], so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, self.frozen)
    }
}

impl Nonlinear for NormScale {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        let (r, d, [y_saved], x_jet) = (rows.count(), self.d, residuals.get(), x_jet[0]);
        let y_jet = reshaped(rec, (NAME, "norm_scale.jet"), 2 * r, [d, d + 1], x_jet)?;
        let n = (r * d) as f64;
        let buffers = shader::jet::Bindings { y_saved, rows: rows.table(), x_jet, y_jet: &y_jet };
        rec.launch(launch(&JET, self.params(), buffers, [r as u32, 1, 1]).work(15.0 * n, 20.0 * n))?;
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
        let (r, d, [y_saved], [x_dot]) = (rows.count(), self.d, primal.get(), paired.residuals.get());
        x_dot.expect(NAME, &[("rows", paired.rows), ("d", d)])?;
        let x_bar = reshaped(rec, (NAME, "norm_scale.bar"), r, [d + 1, d], y_bar)?;
        let params =
            Params { tangent_rows: paired.rows as u32, shared_from: rows.shared_from() as u32, ..self.params() };
        let buffers = shader::hvp::Bindings { y_saved, rows: rows.table(), x_dot, y_bars: y_bar, x_bars: &x_bar };
        let (n, tangents) = ((r * d) as f64, (paired.rows * d) as f64);
        let launch = launch(&HVP, params, buffers, [r as u32, 1, 1]);
        rec.launch(launch.work(5.0 * n + 10.0 * tangents, 12.0 * n + 4.0 * tangents))?;
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
