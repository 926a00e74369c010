//! GELU, in GPT-2's tanh form (`gelu_new`) or exact.  `[rows, n] -> [rows, n]`
//!
//! Pointwise: one slope serves jvp and vjp, and jet and hvp take the second derivative besides. Residual: the input
//! `[primal, n]`. The model uses it fused into [`crate::mlp`], but for hvp; on its own it checks the fused one.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor, as_u32};
use resolvent_shaders::gelu as shader;

use crate::flat_grid;
use crate::host::{RowBody, each_row_simd, gelu, gelu_d, gelu_dd, gelu_ratio, row_body};
use crate::op::{Bend, Held, Kept, Op, Outcome, switch, whole};
use crate::rows::{Row, Rows};

const NAME: &str = "gelu";

/// GELU over rows of `n` numbers.
#[derive(Clone, Copy, Debug)]
pub struct Gelu {
    /// Row length.
    pub n: usize,
    /// `x Phi(x)` itself instead of its tanh form.
    pub exact: bool,
    /// Whether jvp and vjp hold gelu(x) / x constant.
    pub held: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    n: u32,
    groups_x: u32,
    /// Rows with a tangent, in hvp ...
    bent: u32,
    /// ... and the first row of the plain cotangent.
    plain: u32,
    pad: [u32; 3],
}

/// Which GELU, and what its derivative is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) exact: bool,
    pub(crate) held: bool,
}

impl Form {
    /// As override constants.
    pub(crate) fn constants(self) -> [(&'static str, f64); 2] {
        [("EXACT", f64::from(u8::from(self.exact))), switch(self.held)]
    }

    /// From override constants.
    pub(crate) fn of(bound: &Bound<'_>) -> Self {
        Self { exact: bound.flag("EXACT"), held: bound.flag("HELD") }
    }
}

impl Gelu {
    fn launch(&self, kernel: &'static Kernel, rows: &Rows, bindings: &[&Tensor]) -> Launch {
        self.launch_bent(kernel, rows, [0, 0], bindings)
    }

    fn launch_bent(
        &self,
        kernel: &'static Kernel,
        rows: &Rows,
        [bent, plain]: [usize; 2],
        bindings: &[&Tensor],
    ) -> Launch {
        let items = rows.count() * self.n;
        let (grid, groups_x) = flat_grid(items);
        let (rows, n) = (rows.count() as u32, self.n as u32);
        let form = Form { exact: self.exact, held: self.held };
        let params = Params { rows, n, groups_x, bent: bent as u32, plain: plain as u32, pad: [0; 3] };
        let launch = Launch::new(kernel, params, bindings, grid).constants(&form.constants());
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

    /// The hvp without what has reached x already.
    pub(crate) fn bent(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        (kept, bend): (&Kept, Bend<'_>),
        y_bar: &Tensor,
    ) -> Result<Tensor> {
        whole(NAME, self.held)?;
        let dims = [("rows", rows.count()), ("n", self.n)];
        y_bar.expect(NAME, &dims)?;
        let ([x], [x_dot]) = (kept.get(), bend.kept.get());
        x_dot.expect(NAME, &[("rows", bend.rows), ("n", self.n)])?;
        let x_bar = rec.tensor("gelu.bar", &dims)?;
        let bindings = [x, rows.table(), x_dot, y_bar, &x_bar];
        rec.launch(self.launch_bent(&HVP, rows, [bend.rows, bend.plain], &bindings))?;
        Ok(x_bar)
    }
}

impl Op for Gelu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn holding(&self, held: Held) -> Option<Arc<dyn Op>> {
        held.ratio.then(|| Arc::new(Self { held: true, ..*self }) as Arc<dyn Op>)
    }

    fn primal(&self, rec: &mut Recording, rows: &Rows, _: Option<&Kept>, inputs: &[&Tensor]) -> Result<Outcome> {
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
        whole(NAME, self.held)?;
        self.derivative(rec, (&JET, 2), rows, kept, x_jet[0])
    }

    fn tangent(&self, rec: &mut Recording, rows: &Rows, kept: &Kept, x_dot: &[&Tensor]) -> Result<Outcome> {
        whole(NAME, self.held)?;
        Ok(Outcome { y: self.jvp(rec, rows, kept, x_dot)?, kept: Kept::new(x_dot) })
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

    fn hvp(
        &self,
        rec: &mut Recording,
        rows: &Rows,
        kept: (&Kept, Bend<'_>),
        y_bar: &Tensor,
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let x_bar = self.bent(rec, rows, kept, y_bar)?;
        Ok(vec![crate::add::onto(rec, x_bar, &so_far[0])?])
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

/// `y = gelu(x)` for one row; also an epilogue of [`crate::matmul`].
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

/// What a product with the slope reads: the primal and the row table.
#[derive(Clone, Copy)]
pub(crate) struct Slope<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) rows: &'a [f32],
    pub(crate) form: Form,
}

impl Slope<'_> {
    /// `y *= gelu'(x)`, or where that is held `y *= gelu(x) / x`, for rows of `n` numbers; also an epilogue of
    /// [`crate::matmul`]. Where many rows share a primal, its slopes are computed once.
    pub(crate) fn times(self, y: &mut [f32], n: usize) {
        if self.is_shared(y.len()) {
            let slopes = self.table::<SlopeTable>(n);
            each_row_simd::<TimesRow>(y, n, (&slopes, self.rows));
        } else {
            each_row_simd::<SlopeRow>(y, n, self);
        }
    }

    /// `y_ddot = gelu'(x) y_ddot + gelu''(x) y_dot^2` and `y_dot *= gelu'(x)` for rows `[y_dot, y_ddot]` of `2 n` numbers;
    /// also an epilogue of [`crate::matmul`].
    pub(crate) fn bend(self, y: &mut [f32], n: usize) {
        if self.is_shared(y.len() / 2) {
            let (slopes, bends) = (self.table::<SlopeTable>(n), self.table::<BendTable>(n));
            each_row_simd::<BendRow>(y, 2 * n, (&slopes, &bends, self.rows));
        } else {
            each_row_simd::<JetRow>(y, 2 * n, self);
        }
    }

    /// Whether a table of the primal's derivatives is computed in less than half of the time that they take row by row.
    fn is_shared(self, numbers: usize) -> bool {
        numbers >= 2 * self.x.len()
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
row_body!(BendTable<'a>((&'a [f32], Form)) = bend_table_row);
row_body!(TimesRow<'a>((&'a [f32], &'a [f32])) = times_row);
row_body!(BendRow<'a>((&'a [f32], &'a [f32], &'a [f32])) = bend_row);

#[inline(always)]
fn slope_row(slope: Slope<'_>, i: usize, y: &mut [f32]) {
    let at = Row::read(as_u32(slope.rows), i).primal;
    slope_table_row((slope.x, slope.form), at, y);
}

/// `y *= gelu'(x)` for row `at` of the primal.
#[inline(always)]
fn slope_table_row((x, form): (&[f32], Form), at: usize, y: &mut [f32]) {
    let x = &x[at * y.len()..][..y.len()];
    let each = y.iter_mut().zip(x);
    match (form.held, form.exact) {
        (false, false) => each.for_each(|(y, x)| *y *= gelu_d(false, *x)),
        (false, true) => each.for_each(|(y, x)| *y *= gelu_d(true, *x)),
        (true, false) => each.for_each(|(y, x)| *y *= gelu_ratio(false, *x)),
        (true, true) => each.for_each(|(y, x)| *y *= gelu_ratio(true, *x)),
    }
}

/// `y *= gelu''(x)` for row `at` of the primal.
#[inline(always)]
fn bend_table_row((x, form): (&[f32], Form), at: usize, y: &mut [f32]) {
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
fn bend_row((slopes, bends, rows): (&[f32], &[f32], &[f32]), i: usize, y: &mut [f32]) {
    let n = y.len() / 2;
    let first = Row::read(as_u32(rows), i).primal * n;
    let (y_dot, y_ddot) = y.split_at_mut(n);
    let each = y_dot.iter_mut().zip(y_ddot).zip(&slopes[first..]).zip(&bends[first..]);
    for (((y_dot, y_ddot), slope), bend) in each {
        *y_ddot = slope * *y_ddot + bend * *y_dot * *y_dot;
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

/// jvp and vjp are the same product with the slope.
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
    Slope { x, rows, form }.bend(out, p.n as usize);
}

fn hvp(bound: Bound<'_>) {
    let (p, form) = (bound.params::<Params>(), Form::of(&bound));
    let ([x, rows, x_dot, y_bar], [x_bar]) = bound.slices();
    x_bar.copy_from_slice(y_bar);
    let bent = Bent { slope: Slope { x, rows, form }, x_dot, y_bar, p };
    each_row_simd::<HvpRow>(x_bar, p.n as usize, bent);
}

/// What an hvp reads.
#[derive(Clone, Copy)]
struct Bent<'a> {
    slope: Slope<'a>,
    x_dot: &'a [f32],
    y_bar: &'a [f32],
    p: Params,
}

row_body!(HvpRow<'a>(Bent<'a>) = hvp_row);

/// `x_bar = gelu'(x) y_bar`, and `+ gelu''(x) x_dot y_bar` of the plain run where there is a tangent.
#[inline(always)]
fn hvp_row(bent: Bent<'_>, i: usize, x_bar: &mut [f32]) {
    slope_row(bent.slope, i, x_bar);
    if i >= bent.p.bent as usize {
        return;
    }
    let (n, row) = (x_bar.len(), Row::read(as_u32(bent.slope.rows), i));
    let plain = bent.p.plain as usize + i - row.first;
    let x = &bent.slope.x[row.primal * n..][..n];
    let each = x_bar.iter_mut().zip(&bent.x_dot[i * n..]).zip(&bent.y_bar[plain * n..]).zip(x);
    if bent.slope.form.exact {
        each.for_each(|(((bar, dot), y), x)| *bar += gelu_dd(true, *x) * dot * y);
    } else {
        each.for_each(|(((bar, dot), y), x)| *bar += gelu_dd(false, *x) * dot * y);
    }
}
