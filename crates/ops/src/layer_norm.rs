//! Layer norm: `y = gain (x - mean) / std + bias` over each row.  `[rows, d] -> [rows, d]`
//!
//! Residuals: the input `[primal, d]` and its statistics `[primal, 2]` (mean, 1/std).

mod host;

use std::sync::Arc;

use resolvent_engine::{Kernel, Recording, Result, Tensor};
use resolvent_shaders::layer_norm::{self as shader, Params};

use crate::arguments::launch;
use crate::op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Residuals, SecondOrder, switch};
use crate::rows::Rows;

const NAME: &str = "layer_norm";

/// Layer norm with its gain and bias, both `[d]`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Gain `[d]`.
    pub gain: Tensor,
    /// Bias `[d]`.
    pub bias: Tensor,
    /// Added to the variance.
    pub eps: f32,
    /// Whether jvp and vjp hold 1 / std constant.
    pub frozen: bool,
}

impl LayerNorm {
    fn params(&self, rows: usize, d: usize) -> Params {
        Params { rows: rows as u32, d: d as u32, eps: self.eps, tangent_rows: 0, shared_from: 0 }
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, frozen: Frozen) -> Option<Arc<dyn Op>> {
        frozen.norm.then(|| Arc::new(Self { frozen: true, ..self.clone() }) as Arc<dyn Op>)
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Residuals>, inputs: &[&Tensor]) -> Result<Outcome> {
        let (r, d, x) = (rows.count(), self.gain.dim(NAME, "d")?, inputs[0]);
        x.expect(NAME, &[("rows", r), ("d", d)])?;
        let y = rec.tensor("layer_norm", &[("rows", r), ("d", d)])?;
        let stats = rec.tensor("layer_norm.stats", &[("rows", r), ("stat", 2)])?;
        let n = (r * d) as f64;
        let buffers = shader::primal::Bindings { x, gain: &self.gain, bias: &self.bias, y: &y, stats: &stats };
        rec.launch(launch(&PRIMAL, self.params(r, d), buffers, [r as u32, 1, 1]).work(8.0 * n, 8.0 * n))?;
        Ok(Outcome { residuals: Residuals::new(&[x, &stats]), y })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let (r, d, [x, stats]) = (rows.count(), self.gain.dim(NAME, "d")?, residuals.get());
        x_dot[0].expect(NAME, &[("rows", r), ("d", d)])?;
        let y_dot = rec.tensor("layer_norm.dot", &[("rows", r), ("d", d)])?;
        let n = (r * d) as f64;
        let buffers = shader::jvp::Bindings {
            x,
            gain: &self.gain,
            residuals: stats,
            rows: rows.table(),
            x_dot: x_dot[0],
            y_dot: &y_dot,
        };
        rec.launch(
            launch(&JVP, self.params(r, d), buffers, [r as u32, 1, 1])
                .constants(&[switch(self.frozen)])
                .work(10.0 * n, 12.0 * n),
        )?;
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
        let (r, d, [x, stats]) = (rows.count(), self.gain.dim(NAME, "d")?, residuals.get());
        y_bar.expect(NAME, &[("rows", r), ("d", d)])?;
        let x_bar = rec.tensor("layer_norm.bar", &[("rows", r), ("d", d)])?;
        let (params, grid) = (self.params(r, d), [r as u32, 1, 1]);
        let (gain, residuals, rows) = (&self.gain, stats, rows.table());
        let launch = match &so_far[0] {
            Some(add) => {
                let buffers = shader::vjp_add::Bindings { x, gain, residuals, rows, y_bar, x_bar: &x_bar, add };
                launch(&VJP_ADD, params, buffers, grid)
            }
            None => {
                let buffers = shader::vjp::Bindings { x, gain, residuals, rows, y_bar, x_bar: &x_bar };
                launch(&VJP, params, buffers, grid)
            }
        };
        let n = (r * d) as f64;
        rec.launch(launch.constants(&[switch(self.frozen)]).work(12.0 * n, 16.0 * n))?;
        Ok(vec![x_bar])
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, self.frozen)
    }
}

impl Nonlinear for LayerNorm {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        let (r, d, [x, stats]) = (rows.count(), self.gain.dim(NAME, "d")?, residuals.get());
        x_jet[0].expect(NAME, &[("2 rows", 2 * r), ("d", d)])?;
        let y_jet = rec.tensor("layer_norm.jet", &[("rows", 2 * r), ("d", d)])?;
        let n = (r * d) as f64;
        let buffers = shader::jet::Bindings {
            x,
            gain: &self.gain,
            residuals: stats,
            rows: rows.table(),
            x_jet: x_jet[0],
            y_jet: &y_jet,
        };
        rec.launch(launch(&JET, self.params(r, d), buffers, [r as u32, 1, 1]).work(34.0 * n, 20.0 * n))?;
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
        let (r, d) = (rows.count(), self.gain.dim(NAME, "d")?);
        let ([x, stats], [x_dot]) = (primal.get(), paired.residuals.get());
        y_bar.expect(NAME, &[("rows", r), ("d", d)])?;
        x_dot.expect(NAME, &[("rows", paired.rows), ("d", d)])?;
        let x_bar = rec.tensor("layer_norm.bar", &[("rows", r), ("d", d)])?;
        let params =
            Params { tangent_rows: paired.rows as u32, shared_from: rows.shared_from() as u32, ..self.params(r, d) };
        let (gain, residuals, rows, y_bars, x_bars) = (&self.gain, stats, rows.table(), y_bar, &x_bar);
        let grid = [r as u32, 1, 1];
        let launch = match &so_far[0] {
            Some(adds) => {
                let buffers = shader::hvp_add::Bindings { x, gain, residuals, rows, x_dot, y_bars, x_bars, adds };
                launch(&HVP_ADD, params, buffers, grid)
            }
            None => {
                let buffers = shader::hvp::Bindings { x, gain, residuals, rows, x_dot, y_bars, x_bars };
                launch(&HVP, params, buffers, grid)
            }
        };
        let (n, tangent_rows) = ((r * d) as f64, (paired.rows * d) as f64);
        rec.launch(launch.work(12.0 * n + 32.0 * tangent_rows, 16.0 * n + 8.0 * tangent_rows))?;
        Ok(vec![x_bar])
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: host::primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: host::jvp };
static JET: Kernel = Kernel { shader: &shader::JET, host: host::jet };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: host::vjp };
static VJP_ADD: Kernel = Kernel { shader: &shader::VJP_ADD, host: host::vjp_add };
static HVP: Kernel = Kernel { shader: &shader::HVP, host: host::hvp };
static HVP_ADD: Kernel = Kernel { shader: &shader::HVP_ADD, host: host::hvp_add };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &JET, &VJP, &VJP_ADD, &HVP, &HVP_ADD];
