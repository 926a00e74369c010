//! GELU, in GPT-2's tanh form (`gelu_new`) or exact.  `[rows, n] -> [rows, n]`
//!
//! Pointwise: jvp and vjp multiply by the slope; jet and hvp also use the second derivative. Residual: the input
//! `[primal, n]`. The model uses the form that is fused into [`crate::mlp`], except in an hvp. The separate form is a
//! check of the fused one.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor, as_u32};
use resolvent_shaders::gelu as shader;

use crate::flat_grid;
use crate::host::{RowBody, each_row_simd, gelu, gelu_d, gelu_dd, gelu_ratio, row_body};
use crate::op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Residuals, SecondOrder, accumulate, switch};
use crate::rows::{Row, Rows};

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

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    n: u32,
    groups_x: u32,
    /// Number of rows with a tangent, in an hvp.
    tangent_rows: u32,
    /// First row of the shared cotangent, in an hvp.
    shared_cotangent: u32,
    pad: [u32; 3],
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
    fn launch(&self, kernel: &'static Kernel, rows: &Rows, bindings: &[&Tensor]) -> Launch {
        self.launch_paired(kernel, rows, [0, 0], bindings)
    }

    fn launch_paired(
        &self,
        kernel: &'static Kernel,
        rows: &Rows,
        [tangent_rows, shared_cotangent]: [usize; 2],
        bindings: &[&Tensor],
    ) -> Launch {
        let items = rows.count() * self.n;
        let (grid, groups_x) = flat_grid(items);
        let (rows, n) = (rows.count() as u32, self.n as u32);
        let form = Form { exact: self.exact, frozen: self.frozen };
        let params = Params {
            rows,
            n,
            groups_x,
            tangent_rows: tangent_rows as u32,
            shared_cotangent: shared_cotangent as u32,
            pad: [0; 3],
        };
        let launch = Launch::new(kernel, params, bindings, grid).constants(&form.constants());
        launch.work(20.0 * items as f64, 8.0 * items as f64)
    }

    /// Records a derivative kernel over `t`, which has one row (jvp, vjp) or two (jet) for each of `rows`.
    fn derivative(
        &self,
        rec: &mut Recording,
        (kernel, orders): (&'static Kernel, usize),
        rows: &Rows,
        residuals: &Residuals,
        t: &Tensor,
    ) -> Result<Tensor> {
        let dims = [("rows", orders * rows.count()), ("n", self.n)];
        t.expect(NAME, &dims)?;
        let [x] = residuals.get();
        let out = rec.tensor("gelu.derivative", &dims)?;
        rec.launch(self.launch(kernel, rows, &[x, rows.table(), t, &out]))?;
        Ok(out)
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
        let bindings = [x, rows.table(), x_dot, y_bar, &x_bar];
        rec.launch(self.launch_paired(&HVP, rows, [paired.rows, paired.shared_cotangent], &bindings))?;
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
        rec.launch(self.launch(&PRIMAL, rows, &[x, &y]))?;
        Ok(Outcome { y, residuals: Residuals::new(&[x]) })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_dot: &[&Tensor]) -> Result<Tensor> {
        self.derivative(rec, (&JVP, 1), rows, residuals, x_dot[0])
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        residuals: &Residuals,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let x_bar = self.derivative(rec, (&VJP, 1), rows, residuals, y_bar)?;
        accumulate(rec, vec![x_bar], so_far)
    }

    fn second_order(&self) -> SecondOrder<'_> {
        SecondOrder::of(self, self.frozen)
    }
}

impl Nonlinear for Gelu {
    fn jet(&self, rec: &mut Recording, rows: &Rows, residuals: &Residuals, x_jet: &[&Tensor]) -> Result<Tensor> {
        self.derivative(rec, (&JET, 2), rows, residuals, x_jet[0])
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
static JVP: Kernel = Kernel { shader: &shader::JVP, host: derivative };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: derivative };
static JET: Kernel = Kernel { shader: &shader::JET, host: jet };
static HVP: Kernel = Kernel { shader: &shader::HVP, host: hvp };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &JET, &VJP, &HVP];

fn primal(bound: Bound<'_>) {
    let (p, exact) = (bound.params::<Params>(), bound.flag("EXACT"));
    let ([x], [y]) = bound.slices();
    each_row_simd::<ValueRow>(y, p.n as usize, (x, exact));
}

row_body!(pub(crate) ValueRow<'a>((&'a [f32], bool)) = value_row);

/// Computes `y = gelu(x)` for one row; also an epilogue of [`crate::matmul`].
#[inline(always)]
fn value_row((x, exact): (&[f32], bool), i: usize, y: &mut [f32]) {
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
            each_row_simd::<TimesRow>(y, n, (&slopes, self.rows));
        } else {
            each_row_simd::<SlopeRow>(y, n, self);
        }
    }

    /// Computes `y_ddot = gelu'(x) y_ddot + gelu''(x) y_dot^2` and `y_dot *= gelu'(x)` for rows `[y_dot, y_ddot]` of
    /// `2 n` elements; also an epilogue of [`crate::matmul`].
    pub(crate) fn second_derivative(self, y: &mut [f32], n: usize) {
        if self.is_shared(y.len() / 2) {
            let (slopes, second_derivatives) = (self.table::<SlopeTable>(n), self.table::<JetTable>(n));
            each_row_simd::<JetSlopeRow>(y, 2 * n, (&slopes, &second_derivatives, self.rows));
        } else {
            each_row_simd::<JetRow>(y, 2 * n, self);
        }
    }

    /// Whether a table of the primal's derivatives takes at most half the time of computing them row by row.
    fn is_shared(self, elements: usize) -> bool {
        elements >= 2 * self.x.len()
    }

    fn table<B: for<'a> RowBody<Args<'a> = (&'a [f32], Form)>>(self, n: usize) -> Vec<f32> {
        let mut table = vec![1.0; self.x.len()];
        each_row_simd::<B>(&mut table, n, (self.x, self.form));
        table
    }
}

row_body!(SlopeRow<'a>(Slope<'a>) = slope_row);
row_body!(JetRow<'a>(Slope<'a>) = jet_row);
row_body!(SlopeTable<'a>((&'a [f32], Form)) = slope_table_row);
row_body!(JetTable<'a>((&'a [f32], Form)) = jet_table_row);
row_body!(TimesRow<'a>((&'a [f32], &'a [f32])) = times_row);
row_body!(JetSlopeRow<'a>((&'a [f32], &'a [f32], &'a [f32])) = jet_slope_row);

#[inline(always)]
fn slope_row(slope: Slope<'_>, i: usize, y: &mut [f32]) {
    let at = Row::read(as_u32(slope.rows), i).primal;
    slope_table_row((slope.x, slope.form), at, y);
}

/// Computes `y *= gelu'(x)` for row `at` of the primal.
#[inline(always)]
fn slope_table_row((x, form): (&[f32], Form), at: usize, y: &mut [f32]) {
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
fn jet_table_row((x, form): (&[f32], Form), at: usize, y: &mut [f32]) {
    let x = &x[at * y.len()..][..y.len()];
    let each = y.iter_mut().zip(x);
    match form.exact {
        false => each.for_each(|(y, x)| *y *= gelu_dd(false, *x)),
        true => each.for_each(|(y, x)| *y *= gelu_dd(true, *x)),
    }
}

#[inline(always)]
fn times_row((slopes, rows): (&[f32], &[f32]), i: usize, y: &mut [f32]) {
    let slopes = &slopes[Row::read(as_u32(rows), i).primal * y.len()..];
    for (y, slope) in y.iter_mut().zip(slopes) {
        *y *= slope;
    }
}

#[inline(always)]
fn jet_slope_row((slopes, second_derivatives, rows): (&[f32], &[f32], &[f32]), i: usize, y: &mut [f32]) {
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

/// Body of jvp and vjp, which are the same product with the slope.
fn derivative(bound: Bound<'_>) {
    let (p, form) = (bound.params::<Params>(), Form::of(&bound));
    let ([x, rows, t], [out]) = bound.slices();
    out.copy_from_slice(t);
    Slope { x, rows, form }.times(out, p.n as usize);
}

fn jet(bound: Bound<'_>) {
    let (p, form) = (bound.params::<Params>(), Form::of(&bound));
    let ([x, rows, t], [out]) = bound.slices();
    out.copy_from_slice(t);
    Slope { x, rows, form }.second_derivative(out, p.n as usize);
}

fn hvp(bound: Bound<'_>) {
    let (p, form) = (bound.params::<Params>(), Form::of(&bound));
    let ([x, rows, x_dot, y_bar], [x_bar]) = bound.slices();
    x_bar.copy_from_slice(y_bar);
    let inputs = HvpInputs { slope: Slope { x, rows, form }, x_dot, y_bar, p };
    each_row_simd::<HvpRow>(x_bar, p.n as usize, inputs);
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
    let shared_cotangent = inputs.p.shared_cotangent as usize + i - row.first;
    let x = &inputs.slope.x[row.primal * n..][..n];
    let each = x_bar.iter_mut().zip(&inputs.x_dot[i * n..]).zip(&inputs.y_bar[shared_cotangent * n..]).zip(x);
    if inputs.slope.form.exact {
        each.for_each(|(((bar, dot), y), x)| *bar += gelu_dd(true, *x) * dot * y);
    } else {
        each.for_each(|(((bar, dot), y), x)| *bar += gelu_dd(false, *x) * dot * y);
    }
}
