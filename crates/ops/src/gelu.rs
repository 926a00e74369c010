//! GELU, in GPT-2's tanh form (`gelu_new`) or exact.  `[rows, n] -> [rows, n]`
//!
//! Pointwise: one slope serves jvp and vjp, and jet takes the second derivative besides. Residual: the input `[primal, n]`. The model uses it fused into
//! [`crate::mlp`]; on its own it serves embedders and checks the fused one.

use bytemuck::{Pod, Zeroable};
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor, as_u32};
use resolvent_shaders::gelu as shader;

use crate::flat_grid;
use crate::host::{each_row_simd, gelu, gelu_d, gelu_dd};
use crate::op::{Kept, Op, Outcome};
use crate::rows::{Row, Rows};

const NAME: &str = "gelu";

/// GELU over rows of `n` numbers.
#[derive(Clone, Copy, Debug)]
pub struct Gelu {
    /// Row length.
    pub n: usize,
    /// `x Phi(x)` itself instead of its tanh form.
    pub exact: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    n: u32,
    groups_x: u32,
    pad: u32,
}

/// The override constant of the exact form.
pub(crate) fn constants(exact: bool) -> [(&'static str, f64); 1] {
    [("EXACT", f64::from(u8::from(exact)))]
}

impl Gelu {
    fn launch(&self, kernel: &'static Kernel, rows: &Rows, bindings: &[&Tensor]) -> Launch {
        let items = rows.count() * self.n;
        let (grid, groups_x) = flat_grid(items);
        let params = Params { rows: rows.count() as u32, n: self.n as u32, groups_x, pad: 0 };
        let launch = Launch::new(kernel, params, bindings, grid).constants(&constants(self.exact));
        launch.work(20.0 * items as f64, 8.0 * items as f64)
    }

    /// A derivative kernel over `t`, one row (jvp, vjp) or two (jet) for each of `rows`.
    fn derivative(
        &self,
        rec: &mut Recording,
        (kernel, orders): (&'static Kernel, usize),
        rows: &Rows,
        kept: &Kept,
        t: &Tensor,
    ) -> Result<Tensor> {
        let dims = [("rows", orders * rows.count()), ("n", self.n)];
        t.expect(NAME, &dims)?;
        let [x] = kept.get();
        let out = rec.tensor("gelu.derivative", &dims)?;
        rec.launch(self.launch(kernel, rows, &[x, rows.table(), t, &out]))?;
        Ok(out)
    }
}

impl Op for Gelu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn primal(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        _: Option<&Kept>,
        inputs: &[&Tensor],
    ) -> Result<Outcome> {
        let (x, dims) = (inputs[0], [("rows", rows.count()), ("n", self.n)]);
        x.expect(NAME, &dims)?;
        let y = rec.tensor("gelu", &dims)?;
        rec.launch(self.launch(&PRIMAL, rows, &[x, &y]))?;
        Ok(Outcome { y, kept: Kept::new(&[x]) })
    }

    fn jvp(&self, rec: &mut Recording, rows: &Rows, kept: &Kept, x_dot: &[&Tensor]) -> Result<Tensor> {
        self.derivative(rec, (&JVP, 1), rows, kept, x_dot[0])
    }

    fn jet(&self, rec: &mut Recording, rows: &Rows, kept: &Kept, x_jet: &[&Tensor]) -> Result<Tensor> {
        self.derivative(rec, (&JET, 2), rows, kept, x_jet[0])
    }

    fn vjp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        kept: &Kept,
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let x_bar = self.derivative(rec, (&VJP, 1), rows, kept, y_bar)?;
        Ok(vec![crate::add::onto(rec, x_bar, &so_far[0])?])
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: derivative };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: derivative };
static JET: Kernel = Kernel { shader: &shader::JET, host: jet };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &JET, &VJP];

fn primal(bound: Bound<'_>) {
    let (p, exact) = (bound.params::<Params>(), bound.flag("EXACT"));
    let ([x], [y]) = bound.slices();
    each_row_simd(y, p.n as usize, (x, exact), value_row);
}

/// `y = gelu(x)` for one row; also an epilogue of [`crate::matmul`].
#[inline(always)]
pub(crate) fn value_row((x, exact): (&[f32], bool), i: usize, y: &mut [f32]) {
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

/// What a product with the slope reads: the primal and the row table.
#[derive(Clone, Copy)]
pub(crate) struct Slope<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) rows: &'a [f32],
    pub(crate) exact: bool,
}

/// `y *= gelu'(x)` for one row; also an epilogue of [`crate::matmul`].
#[inline(always)]
pub(crate) fn slope_row(slope: Slope<'_>, i: usize, y: &mut [f32]) {
    let at = Row::read(as_u32(slope.rows), i).primal;
    let x = &slope.x[at * y.len()..][..y.len()];
    if slope.exact {
        for (y, x) in y.iter_mut().zip(x) {
            *y *= gelu_d(true, *x);
        }
    } else {
        for (y, x) in y.iter_mut().zip(x) {
            *y *= gelu_d(false, *x);
        }
    }
}

/// `y_ddot = gelu'(x) y_ddot + gelu''(x) y_dot^2` and `y_dot *= gelu'(x)` for one row of a jet, `[y_dot, y_ddot]`; also
/// an epilogue of [`crate::matmul`].
#[inline(always)]
pub(crate) fn jet_row(slope: Slope<'_>, i: usize, y: &mut [f32]) {
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
    if slope.exact {
        each.for_each(|((first, second), x)| step(true, *x, first, second));
    } else {
        each.for_each(|((first, second), x)| step(false, *x, first, second));
    }
}

/// jvp and vjp are the same product with the slope.
fn derivative(bound: Bound<'_>) {
    let (p, exact) = (bound.params::<Params>(), bound.flag("EXACT"));
    let ([x, rows, t], [out]) = bound.slices();
    out.copy_from_slice(t);
    each_row_simd(out, p.n as usize, Slope { x, rows, exact }, slope_row);
}

fn jet(bound: Bound<'_>) {
    let (p, exact) = (bound.params::<Params>(), bound.flag("EXACT"));
    let ([x, rows, t], [out]) = bound.slices();
    out.copy_from_slice(t);
    each_row_simd(out, 2 * p.n as usize, Slope { x, rows, exact }, jet_row);
}
