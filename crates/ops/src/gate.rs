//! A gate: `y = act(a) b` for rows `[a | b]`, with SiLU or GELU.  `[rows, 2n] -> [rows, n]`
//!
//! Pointwise: an element of y depends on one of a and one of b. Residual: the input `[primal, 2n]`.

mod host;

use std::sync::Arc;

use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor};
use resolvent_shaders::Entry;
use resolvent_shaders::gate::{self as shader, Params};

use crate::accumulate::accumulate;
use crate::arguments::launch;
use crate::flat_grid;
use crate::op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Residuals, SecondOrder, switch};
use crate::rows::Rows;

const NAME: &str = "gate";

/// The activation of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateActivation {
    /// SiLU, `a / (1 + exp(-a))`.
    Silu,
    /// GELU in GPT-2's tanh form.
    GeluTanh,
    /// Exact GELU, `a Phi(a)`.
    GeluErf,
}

impl GateActivation {
    /// Returns the activation as override constants.
    fn constants(self) -> [(&'static str, f64); 2] {
        let flag = |is: bool| f64::from(u8::from(is));
        [("SILU", flag(self == Self::Silu)), ("EXACT", flag(self == Self::GeluErf))]
    }

    /// Reads the activation from override constants.
    fn of(bound: &Bound<'_>) -> Self {
        match (bound.flag("SILU"), bound.flag("EXACT")) {
            (true, _) => Self::Silu,
            (false, false) => Self::GeluTanh,
            (false, true) => Self::GeluErf,
        }
    }
}

/// A gate over rows of two times `n` elements.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Length of a row of y, and of a and b.
    pub n: usize,
    /// The activation.
    pub activation: GateActivation,
    /// Whether jvp and vjp follow the half rule: half of the derivatives along each factor, with `act(a) / a` constant.
    pub frozen: bool,
}

impl Gate {
    /// Returns the launch of a kernel over the elements of y, with `flops` and `bytes` for each.
    fn launch<'a, E>(&self, kernel: &'static Kernel, params: Params, buffers: E, [flops, bytes]: [f64; 2]) -> Launch
    where
        E: Entry<Slot = &'a Tensor, Params = Params>,
    {
        let items = params.rows as usize * self.n;
        let (grid, groups_x) = flat_grid(items);
        let [silu, exact] = self.activation.constants();
        launch(kernel, Params { groups_x, ..params }, buffers, grid)
            .constants(&[silu, exact, switch(self.frozen)])
            .work(flops * items as f64, bytes * items as f64)
    }

    fn params(&self, rows: &Rows) -> Params {
        let [rows, n] = [rows.count(), self.n].map(|n| n as u32);
        Params { rows, n, groups_x: 0, tangent_rows: 0, shared_cotangent: 0 }
    }

    /// Returns the dimensions of x (parts 2) or y (1) over rows, or over both orders of a jet.
    fn dims(&self, rows: usize, parts: usize) -> [(&'static str, usize); 2] {
        [("rows", rows), (if parts == 2 { "2n" } else { "n" }, parts * self.n)]
    }
}

impl Op for Gate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, frozen: Frozen) -> Option<Arc<dyn Op>> {
        frozen.ratio.then(|| Arc::new(Self { frozen: true, ..*self }) as Arc<dyn Op>)
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Residuals>, inputs: &[&Tensor]) -> Result<Outcome> {
        let x = inputs[0];
        x.expect(NAME, &self.dims(rows.count(), 2))?;
        let y = rec.tensor("gate", &self.dims(rows.count(), 1))?;
        let buffers = shader::primal::Bindings { x, y: &y };
        rec.launch(self.launch(&PRIMAL, self.params(rows), buffers, [20.0, 12.0]))?;
        Ok(Outcome { y, residuals: Residuals::new(&[x]) })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let ([x], x_dot) = (residuals.get(), x_dot[0]);
        x_dot.expect(NAME, &self.dims(rows.count(), 2))?;
        let y_dot = rec.tensor("gate.dot", &self.dims(rows.count(), 1))?;
        let buffers = shader::jvp::Bindings { x, rows: rows.table(), x_dot, y_dot: &y_dot };
        rec.launch(self.launch(&JVP, self.params(rows), buffers, [30.0, 20.0]))?;
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
        let [x] = residuals.get();
        y_bar.expect(NAME, &self.dims(rows.count(), 1))?;
        let x_bar = rec.tensor("gate.bar", &self.dims(rows.count(), 2))?;
        let buffers = shader::vjp::Bindings { x, rows: rows.table(), y_bar, x_bar: &x_bar };
        rec.launch(self.launch(&VJP, self.params(rows), buffers, [30.0, 20.0]))?;
        accumulate(rec, vec![x_bar], so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, self.frozen)
    }
}

impl Nonlinear for Gate {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        let ([x], x_jet) = (residuals.get(), x_jet[0]);
        x_jet.expect(NAME, &self.dims(2 * rows.count(), 2))?;
        let y_jet = rec.tensor("gate.jet", &self.dims(2 * rows.count(), 1))?;
        let buffers = shader::jet::Bindings { x, rows: rows.table(), x_jet, y_jet: &y_jet };
        rec.launch(self.launch(&JET, self.params(rows), buffers, [50.0, 32.0]))?;
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
        let ([x], [x_dot]) = (primal.get(), paired.residuals.get());
        y_bar.expect(NAME, &self.dims(rows.count(), 1))?;
        x_dot.expect(NAME, &self.dims(paired.rows, 2))?;
        let x_bar = rec.tensor("gate.bar", &self.dims(rows.count(), 2))?;
        let [tangent_rows, shared_cotangent] = [paired.rows, paired.shared_cotangent].map(|n| n as u32);
        let params = Params { tangent_rows, shared_cotangent, ..self.params(rows) };
        let buffers = shader::hvp::Bindings { x, rows: rows.table(), x_dot, y_bars: y_bar, x_bars: &x_bar };
        rec.launch(self.launch(&HVP, params, buffers, [50.0, 32.0]))?;
        accumulate(rec, vec![x_bar], so_far)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: host::primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: host::jvp };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: host::vjp };
static JET: Kernel = Kernel { shader: &shader::JET, host: host::jet };
static HVP: Kernel = Kernel { shader: &shader::HVP, host: host::hvp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &VJP, &JET, &HVP];
