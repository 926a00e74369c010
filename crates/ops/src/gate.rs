//! The gate of an MLP: `y = act(a) b` for rows `[a | b]`.  `[rows, 2n] -> [rows, n]`
//!
//! Pointwise. Residual: the input `[primal, 2n]`. With the ratio frozen, both factors share the derivative: each gets
//! half of it, with `act(a) / a` and the other factor constant (the half rule of arXiv 2508.21258).

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
#[non_exhaustive]
pub enum GateActivation {
    /// `a logistic(a)`.
    Silu,
    /// GELU in its tanh form.
    GeluTanh,
    /// `a Phi(a)`.
    GeluErf,
}

impl GateActivation {
    /// Returns the activation as override constants.
    fn constants(self) -> [(&'static str, f64); 2] {
        [("SILU", Self::Silu), ("EXACT", Self::GeluErf)].map(|(name, of)| (name, f64::from(u8::from(self == of))))
    }

    /// Reads the activation from override constants.
    fn of(bound: &Bound<'_>) -> Self {
        match (bound.flag("SILU"), bound.flag("EXACT")) {
            (true, _) => Self::Silu,
            (false, true) => Self::GeluErf,
            (false, false) => Self::GeluTanh,
        }
    }
}

/// A gate over rows of `2 n` elements.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Length of a row of the output.
    pub n: usize,
    /// The activation of the first half of each row.
    pub activation: GateActivation,
    /// Whether jvp and vjp use the half rule.
    pub frozen: bool,
}

impl Gate {
    /// Creates the launch of a kernel over the rows of the batch.
    fn launch<'a, E>(&self, kernel: &'static Kernel, rows: &Rows, tangent_rows: usize, buffers: E) -> Launch
    where
        E: Entry<Slot = &'a Tensor, Params = Params>,
    {
        let items = rows.count() * self.n;
        let (grid, groups_x) = flat_grid(items);
        let [rows, n, tangent_rows, shared_from] =
            [rows.count(), self.n, tangent_rows, rows.shared_from()].map(|n| n as u32);
        let params = Params { rows, n, groups_x, tangent_rows, shared_from };
        let [silu, exact] = self.activation.constants();
        let launch = launch(kernel, params, buffers, grid).constants(&[silu, exact, switch(self.frozen)]);
        launch.work(24.0 * items as f64, 20.0 * items as f64)
    }

    fn wide(&self, rows: usize) -> [(&'static str, usize); 2] {
        [("rows", rows), ("2n", 2 * self.n)]
    }

    fn narrow(&self, rows: usize) -> [(&'static str, usize); 2] {
        [("rows", rows), ("n", self.n)]
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
        x.expect(NAME, &self.wide(rows.count()))?;
        let y = rec.tensor(NAME, &self.narrow(rows.count()))?;
        rec.launch(self.launch(&PRIMAL, rows, 0, shader::primal::Bindings { x, y: &y }))?;
        Ok(Outcome { y, residuals: Residuals::new(&[x]) })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let ([x], x_dot) = (residuals.get(), x_dot[0]);
        x_dot.expect(NAME, &self.wide(rows.count()))?;
        let y_dot = rec.tensor("gate.dot", &self.narrow(rows.count()))?;
        let buffers = shader::jvp::Bindings { x, rows: rows.table(), x_dot, y_dot: &y_dot };
        rec.launch(self.launch(&JVP, rows, 0, buffers))?;
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
        y_bar.expect(NAME, &self.narrow(rows.count()))?;
        let x_bar = rec.tensor("gate.bar", &self.wide(rows.count()))?;
        let buffers = shader::vjp::Bindings { x, rows: rows.table(), y_bar, x_bar: &x_bar };
        rec.launch(self.launch(&VJP, rows, 0, buffers))?;
        accumulate(rec, vec![x_bar], so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, self.frozen)
    }
}

impl Nonlinear for Gate {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        let ([x], x_jet) = (residuals.get(), x_jet[0]);
        x_jet.expect(NAME, &self.wide(2 * rows.count()))?;
        let y_jet = rec.tensor("gate.jet", &self.narrow(2 * rows.count()))?;
        let buffers = shader::jet::Bindings { x, rows: rows.table(), x_jet, y_jet: &y_jet };
        rec.launch(self.launch(&JET, rows, 0, buffers))?;
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
        let tangent_rows = paired.rows;
        y_bar.expect(NAME, &self.narrow(rows.count()))?;
        x_dot.expect(NAME, &self.wide(tangent_rows))?;
        let x_bar = rec.tensor("gate.bar", &self.wide(rows.count()))?;
        let buffers = shader::hvp::Bindings { x, rows: rows.table(), x_dot, y_bars: y_bar, x_bars: &x_bar };
        rec.launch(self.launch(&HVP, rows, tangent_rows, buffers))?;
        accumulate(rec, vec![x_bar], so_far)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: host::primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: host::jvp };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: host::vjp };
static JET: Kernel = Kernel { shader: &shader::JET, host: host::jet };
static HVP: Kernel = Kernel { shader: &shader::HVP, host: host::hvp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &JET, &VJP, &HVP];
