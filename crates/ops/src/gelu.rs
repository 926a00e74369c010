//! GELU, in GPT-2's tanh form (`gelu_new`) or exact.  `[rows, n] -> [rows, n]`
//!
//! Pointwise: jvp and vjp multiply by the slope; jet and hvp also use the second derivative. Residual: the input
//! `[primal, n]`. The model uses the form that is fused into [`crate::mlp`], except in an hvp. The separate form is a
//! check of the fused one.

use std::sync::Arc;

use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor, as_u32};
use resolvent_shaders::Entry;
use resolvent_shaders::gelu::{self as shader, Params};

use crate::accumulate::accumulate;
use crate::arguments::{launch, params};
use crate::flat_grid;
use crate::host::{RowBody, each_row_simd, gelu, gelu_d, gelu_dd, gelu_ratio, row_body};
use crate::op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Residuals, SecondOrder, switch};
use crate::rows::{Row, Rows, shared_row};

const NAME: &str = "gelu";

/// GELU over rows of `n` elements.
#[derive(Clone, Copy, Debug)]
pub struct Gelu {
    /// Row length.
    pub n: usize,
    /// Whether it is `x Phi(x)` itself instead of its tanh form.
    pub exact: bool,
    /// Whether jvp and vjp freeze gelu(x) / x.
    pub frozen: bool,
}

/// The form of GELU, and whether its ratio is frozen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) exact: bool,
    pub(crate) frozen: bool,
}

impl Form {
    /// Returns the form as override constants.
    pub(crate) fn constants(self) -> [(&'static str, f64); 2] {
        [("EXACT", f64::from(u8::from(self.exact))), switch(self.frozen)]
    }

    /// Reads the form from override constants.
    pub(crate) fn of(bound: &Bound<'_>) -> Self {
        Self { exact: bound.flag("EXACT"), frozen: bound.flag("FROZEN") }
    }
}

impl Gelu {
    /// Creates the launch of a kernel over the rows of the batch. Only an hvp has rows with a tangent.
    fn launch<'a, E>(&self, kernel: &'static Kernel, rows: &Rows, tangent_rows: usize, buffers: E) -> Launch
    where
        E: Entry<Slot = &'a Tensor, Params = Params>,
    {
        let items = rows.count() * self.n;
        let (grid, groups_x) = flat_grid(items);
        let [rows, n, tangent_rows, shared_from] =
            [rows.count(), self.n, tangent_rows, rows.shared_from()].map(|n| n as u32);
        let form = Form { exact: self.exact, frozen: self.frozen };
        let params = Params { rows, n, groups_x, tangent_rows, shared_from };
        let launch = launch(kernel, params, buffers, grid).constants(&form.constants());
        launch.work(20.0 * items as f64, 8.0 * items as f64)
    }

    /// Creates the output of a derivative over `t`, which has one row (jvp, vjp) or two (jet) for each of `rows`.
    fn derivative(&self, rec: &Recording, orders: usize, rows: &Rows, t: &Tensor) -> Result<Tensor> {
        let dims = [("rows", orders * rows.count()), ("n", self.n)];
        t.expect(NAME, &dims)?;
        rec.tensor("gelu.derivative", &dims)
    }

    /// Records the hvp, without the cotangent of x that was accumulated so far.
    pub(crate) fn hvp_from(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        HvpResiduals { primal, paired }: HvpResiduals<'_>,
        y_bar: &Tensor,
    ) -> Result<Tensor> {
        let dims = [("rows", rows.count()), ("n", self.n)];
        y_bar.expect(NAME, &dims)?;
        let ([x], [x_dot]) = (primal.get(), paired.residuals.get());
        x_dot.expect(NAME, &[("rows", paired.rows), ("n", self.n)])?;
        let x_bar = rec.tensor("gelu.bar", &dims)?;
        let buffers = shader::hvp::Bindings { x, rows: rows.table(), x_dot, y_bars: y_bar, x_bars: &x_bar };
        rec.launch(self.launch(&HVP, rows, paired.rows, buffers))?;
        Ok(x_bar)
    }
}

impl Op for Gelu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn freeze(&self, frozen: Frozen) -> Option<Arc<dyn Op>> {
        frozen.ratio.then(|| Arc::new(Self { frozen: true, ..*self }) as Arc<dyn Op>)
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Residuals>, inputs: &[&Tensor]) -> Result<Outcome> {
        let (x, dims) = (inputs[0], [("rows", rows.count()), ("n", self.n)]);
        x.expect(NAME, &dims)?;
        let y = rec.tensor("gelu", &dims)?;
        let buffers = shader::primal::Bindings { x, y: &y };
        rec.launch(self.launch(&PRIMAL, rows, 0, buffers))?;
        Ok(Outcome { y, residuals: Residuals::new(&[x]) })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        let (y_dot, [x]) = (self.derivative(rec, 1, rows, x_dot[0])?, residuals.get());
        let buffers = shader::jvp::Bindings { x, rows: rows.table(), x_dot: x_dot[0], y_dot: &y_dot };
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
        let (x_bar, [x]) = (self.derivative(rec, 1, rows, y_bar)?, residuals.get());
        let buffers = shader::vjp::Bindings { x, rows: rows.table(), y_bar, x_bar: &x_bar };
        rec.launch(self.launch(&VJP, rows, 0, buffers))?;
        accumulate(rec, vec![x_bar], so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, self.frozen)
    }
}

impl Nonlinear for Gelu {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        let (y_jet, [x]) = (self.derivative(rec, 2, rows, x_jet[0])?, residuals.get());
        let buffers = shader::jet::Bindings { x, rows: rows.table(), x_jet: x_jet[0], y_jet: &y_jet };
        rec.launch(self.launch(&JET, rows, 0, buffers))?;
        Ok(y_jet)
    }

    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: HvpResiduals<'_>,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let x_bar = self.hvp_from(rec, rows, residuals, y_bar)?;
        accumulate(rec, vec![x_bar], so_far)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: jvp };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: vjp };
static JET: Kernel = Kernel { shader: &shader::JET, host: jet };
static HVP: Kernel = Kernel { shader: &shader::HVP, host: hvp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &JET, &VJP, &HVP];

fn primal(bound: Bound<'_>) {
    let (p, exact) = (params::<Params>(&bound), bound.flag("EXACT"));
    let shader::primal::Bindings { x, y } = shader::primal::Bindings::of(bound.slices());
    each_row_simd::<ValueRow>(y, p.n as usize, Values { x, exact });
}

/// Inputs of the primal.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) exact: bool,
}

row_body!(pub(crate) ValueRow<'a>(Values<'a>) = value_row);

/// Computes `y = gelu(x)` for one row; also an epilogue of [`crate::matmul`].
#[inline(always)]
fn value_row(Values { x, exact }: Values<'_>, i: usize, y: &mut [f32]) {
    let x = &x[i * y.len()..][..y.len()];
    // The form is chosen outside of the loop, so that each loop is free of branches.
    if exact {
        for (y, x) in y.iter_mut().zip(x) {
            *y = gelu(true, *x);
        }
    } else {
        for (y, x) in y.iter_mut().zip(x) {
            *y = gelu(false, *x);
        }
    }
}

/// Inputs of a product with the slope: the primal and the row table.
#[derive(Clone, Copy)]
pub(crate) struct Slope<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) rows: &'a [f32],
    pub(crate) form: Form,
}

impl Slope<'_> {
    /// Computes `y *= gelu'(x)`, or `y *= gelu(x) / x` if that is frozen, for rows of `n` elements. Also an epilogue of
    /// [`crate::matmul`]. If many rows share a primal, its slopes are computed once.
    pub(crate) fn times(self, y: &mut [f32], n: usize) {
        if self.is_shared(y.len()) {
            let slopes = self.table::<SlopeTable>(n);
            each_row_simd::<TimesRow>(y, n, Tabled { slopes: &slopes, second_derivatives: &[], rows: self.rows });
        } else {
            each_row_simd::<SlopeRow>(y, n, self);
        }
    }

    /// Computes `y_ddot = gelu'(x) y_ddot + gelu''(x) y_dot^2` and `y_dot *= gelu'(x)` for rows `[y_dot, y_ddot]` of
    /// `2 n` elements; also an epilogue of [`crate::matmul`].
    pub(crate) fn second_derivative(self, y: &mut [f32], n: usize) {
        if self.is_shared(y.len() / 2) {
            let (slopes, second_derivatives) = (self.table::<SlopeTable>(n), self.table::<JetTable>(n));
            let tabled = Tabled { slopes: &slopes, second_derivatives: &second_derivatives, rows: self.rows };
            each_row_simd::<JetSlopeRow>(y, 2 * n, tabled);
        } else {
            each_row_simd::<JetRow>(y, 2 * n, self);
        }
    }

    /// Whether a table of the primal's derivatives takes at most half the time of computing them row by row.
    fn is_shared(self, elements: usize) -> bool {
        elements >= 2 * self.x.len()
    }

    fn table<B: for<'a> RowBody<Args<'a> = Slope<'a>>>(self, n: usize) -> Vec<f32> {
        let mut table = vec![1.0; self.x.len()];
        each_row_simd::<B>(&mut table, n, self);
        table
    }
}

row_body!(SlopeRow<'a>(Slope<'a>) = slope_row);
row_body!(JetRow<'a>(Slope<'a>) = jet_row);
row_body!(SlopeTable<'a>(Slope<'a>) = slope_table_row);
row_body!(JetTable<'a>(Slope<'a>) = jet_table_row);
row_body!(TimesRow<'a>(Tabled<'a>) = times_row);
row_body!(JetSlopeRow<'a>(Tabled<'a>) = jet_slope_row);

/// Derivatives of each row of the primal, and the row table.
#[derive(Clone, Copy)]
struct Tabled<'a> {
    slopes: &'a [f32],
    second_derivatives: &'a [f32],
    rows: &'a [f32],
}

#[inline(always)]
fn slope_row(slope: Slope<'_>, i: usize, y: &mut [f32]) {
    let at = Row::read(as_u32(slope.rows), i).primal;
    slope_table_row(slope, at, y);
}

/// Computes `y *= gelu'(x)` for row `at` of the primal.
#[inline(always)]
fn slope_table_row(Slope { x, form, .. }: Slope<'_>, at: usize, y: &mut [f32]) {
    let x = &x[at * y.len()..][..y.len()];
    let each = y.iter_mut().zip(x);
    match (form.frozen, form.exact) {
        (false, false) => each.for_each(|(y, x)| *y *= gelu_d(false, *x)),
        (false, true) => each.for_each(|(y, x)| *y *= gelu_d(true, *x)),
        (true, false) => each.for_each(|(y, x)| *y *= gelu_ratio(false, *x)),
        (true, true) => each.for_each(|(y, x)| *y *= gelu_ratio(true, *x)),
    }
}

/// Computes `y *= gelu''(x)` for row `at` of the primal.
#[inline(always)]
fn jet_table_row(Slope { x, form, .. }: Slope<'_>, at: usize, y: &mut [f32]) {
    let x = &x[at * y.len()..][..y.len()];
    let each = y.iter_mut().zip(x);
    match form.exact {
        false => each.for_each(|(y, x)| *y *= gelu_dd(false, *x)),
        true => each.for_each(|(y, x)| *y *= gelu_dd(true, *x)),
    }
}

#[inline(always)]
fn times_row(Tabled { slopes, rows, .. }: Tabled<'_>, i: usize, y: &mut [f32]) {
    let slopes = &slopes[Row::read(as_u32(rows), i).primal * y.len()..];
    for (y, slope) in y.iter_mut().zip(slopes) {
        *y *= slope;
    }
}

#[inline(always)]
fn jet_slope_row(Tabled { slopes, second_derivatives, rows }: Tabled<'_>, i: usize, y: &mut [f32]) {
    let n = y.len() / 2;
    let first = Row::read(as_u32(rows), i).primal * n;
    let (y_dot, y_ddot) = y.split_at_mut(n);
    let each = y_dot.iter_mut().zip(y_ddot).zip(&slopes[first..]).zip(&second_derivatives[first..]);
    for (((y_dot, y_ddot), slope), second) in each {
        *y_ddot = slope * *y_ddot + second * *y_dot * *y_dot;
        *y_dot *= slope;
    }
}

#[inline(always)]
fn jet_row(slope: Slope<'_>, i: usize, y: &mut [f32]) {
    let at = Row::read(as_u32(slope.rows), i).primal;
    let n = y.len() / 2;
    let x = &slope.x[at * n..][..n];
    let (first, second) = y.split_at_mut(n);
    let step = |exact: bool, x: f32, first: &mut f32, second: &mut f32| {
        let d = gelu_d(exact, x);
        *second = d * *second + gelu_dd(exact, x) * *first * *first;
        *first *= d;
    };
    let each = first.iter_mut().zip(second).zip(x);
    if slope.form.exact {
        each.for_each(|((first, second), x)| step(true, *x, first, second));
    } else {
        each.for_each(|((first, second), x)| step(false, *x, first, second));
    }
}

fn jvp(bound: Bound<'_>) {
    let (p, form) = (params::<Params>(&bound), Form::of(&bound));
    let shader::jvp::Bindings { x, rows, x_dot, y_dot } = shader::jvp::Bindings::of(bound.slices());
    y_dot.copy_from_slice(x_dot);
    Slope { x, rows, form }.times(y_dot, p.n as usize);
}

fn vjp(bound: Bound<'_>) {
    let (p, form) = (params::<Params>(&bound), Form::of(&bound));
    let shader::vjp::Bindings { x, rows, y_bar, x_bar } = shader::vjp::Bindings::of(bound.slices());
    x_bar.copy_from_slice(y_bar);
    Slope { x, rows, form }.times(x_bar, p.n as usize);
}

fn jet(bound: Bound<'_>) {
    let (p, form) = (params::<Params>(&bound), Form::of(&bound));
    let shader::jet::Bindings { x, rows, x_jet, y_jet } = shader::jet::Bindings::of(bound.slices());
    y_jet.copy_from_slice(x_jet);
    Slope { x, rows, form }.second_derivative(y_jet, p.n as usize);
}

fn hvp(bound: Bound<'_>) {
    let (p, form) = (params::<Params>(&bound), Form::of(&bound));
    let shader::hvp::Bindings { x, rows, x_dot, y_bars, x_bars } = shader::hvp::Bindings::of(bound.slices());
    x_bars.copy_from_slice(y_bars);
    let inputs = HvpInputs { slope: Slope { x, rows, form }, x_dot, y_bar: y_bars, p };
    each_row_simd::<HvpRow>(x_bars, p.n as usize, inputs);
}

/// Inputs of an hvp.
#[derive(Clone, Copy)]
struct HvpInputs<'a> {
    slope: Slope<'a>,
    x_dot: &'a [f32],
    y_bar: &'a [f32],
    p: Params,
}

row_body!(HvpRow<'a>(HvpInputs<'a>) = hvp_row);

/// Computes `x_bar = gelu'(x) y_bar`. A row with a tangent also gets `gelu''(x) x_dot` times the shared cotangent.
#[inline(always)]
fn hvp_row(inputs: HvpInputs<'_>, i: usize, x_bar: &mut [f32]) {
    slope_row(inputs.slope, i, x_bar);
    if i >= inputs.p.tangent_rows as usize {
        return;
    }
    let (n, row) = (x_bar.len(), Row::read(as_u32(inputs.slope.rows), i));
    let shared_cotangent = shared_row(as_u32(inputs.slope.rows), inputs.p.shared_from, i);
    let x = &inputs.slope.x[row.primal * n..][..n];
    let each = x_bar.iter_mut().zip(&inputs.x_dot[i * n..]).zip(&inputs.y_bar[shared_cotangent * n..]).zip(x);
    if inputs.slope.form.exact {
        each.for_each(|(((bar, dot), y), x)| *bar += gelu_dd(true, *x) * dot * y);
    } else {
        each.for_each(|(((bar, dot), y), x)| *bar += gelu_dd(false, *x) * dot * y);
    }
}
