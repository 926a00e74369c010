//! Layer norm: `y = gain (x - mean) / std + bias` over each row.  `[rows, d] -> [rows, d]`
//!
//! Residuals: the input `[primal, d]` and its statistics `[primal, 2]` (mean, 1/std).

use std::sync::Arc;

use resolvent_engine::{Bound, Kernel, Recording, Result, Tensor, as_u32};
use resolvent_shaders::layer_norm::{self as shader, Params};

use crate::arguments::{launch, params};
use crate::host::{each_row_simd, each_two_rows_simd, row_body, sum, two_rows_body};
use crate::op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Residuals, SecondOrder, switch};
use crate::rows::{Row, Rows};

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
        Params { rows: rows as u32, d: d as u32, eps: self.eps, tangent_rows: 0, shared_cotangent: 0 }
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
        let params = Params {
            tangent_rows: paired.rows as u32,
            shared_cotangent: paired.shared_cotangent as u32,
            ..self.params(r, d)
        };
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

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: jvp };
static JET: Kernel = Kernel { shader: &shader::JET, host: jet };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: vjp };
static VJP_ADD: Kernel = Kernel { shader: &shader::VJP_ADD, host: vjp_add };
static HVP: Kernel = Kernel { shader: &shader::HVP, host: hvp };
static HVP_ADD: Kernel = Kernel { shader: &shader::HVP_ADD, host: hvp_add };

/// This op's kernels.
pub static KERNELS: &[&Kernel] = &[&PRIMAL, &JVP, &JET, &VJP, &VJP_ADD, &HVP, &HVP_ADD];

fn primal(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal::Bindings { x, gain, bias, y, stats } = shader::primal::Bindings::of(bound.slices());
    each_two_rows_simd::<PrimalRow>([y, stats], [p.d as usize, 2], (x, gain, bias, p.eps));
}

/// Rows whose numbers sum to more than this in size are scaled by [`DOWN`] before they are squared: squares beyond
/// 2^128 overflow. Both are powers of two, so a scaled row has the bits that an f32 without bounds on its exponent gives.
const LARGE: f32 = (1u64 << 50) as f32;
/// 2^-77: numbers of f32 become at most 2^51.
const DOWN: f32 = 1.0 / (1u128 << 77) as f32;
/// 2^-16, what numbers are multiplied by in other sums.
const SMALL: f32 = 1.0 / (1 << 16) as f32;

two_rows_body!(PrimalRow<'a>((&'a [f32], &'a [f32], &'a [f32], f32)) = primal_row);

#[inline(always)]
fn primal_row((x, gain, bias, eps): (&[f32], &[f32], &[f32], f32), i: usize, [y, stats]: [&mut [f32]; 2]) {
    let d = y.len();
    let (x, gain, bias) = (&x[i * d..][..d], &gain[..d], &bias[..d]);
    // In sums, numbers are multiplied by SMALL so that no sum of numbers of f32 overflows. Powers of two change no bit.
    let size = sum([x], |[x]| x.abs() * SMALL);
    let mean = sum([x], |[x]| x * SMALL) / d as f32 / SMALL;
    let scale = if size > LARGE * SMALL { DOWN } else { 1.0 };
    let square = sum([x], |[x]| (x * scale - mean * scale) * (x * scale - mean * scale));
    // Below DOWN^2 eps underflows; the second part keeps its effect, which is to bound the quotient of a constant row.
    let deviation = (square / d as f32 + eps * scale * scale).sqrt().max(eps.sqrt() * scale);
    let rstd = 1.0 / deviation;
    for e in 0..d {
        y[e] = gain[e] * ((x[e] * scale - mean * scale) * rstd) + bias[e];
    }
    stats.copy_from_slice(&[mean, rstd * scale]);
}

/// What the derivatives of a row read: the primal, its statistics, the row table, and the tangent, jet or cotangent.
#[derive(Clone, Copy)]
struct Shared<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    residuals: &'a [f32],
    rows: &'a [f32],
    t: &'a [f32],
    frozen: bool,
}

impl<'a> Shared<'a> {
    /// Row i: x, gain, mean and 1/std of its primal, and t.
    #[inline(always)]
    fn row(&self, i: usize, d: usize) -> (&'a [f32], &'a [f32], [f32; 2], &'a [f32]) {
        let at = Row::read(as_u32(self.rows), i).primal;
        let stats = [self.residuals[2 * at], self.residuals[2 * at + 1]];
        (&self.x[at * d..][..d], &self.gain[..d], stats, &self.t[i * d..][..d])
    }
}

fn jvp(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::jvp::Bindings::of(bound.slices());
    let shader::jvp::Bindings { x, gain, residuals, rows, x_dot: t, y_dot } = buffers;
    each_row_simd::<JvpRow>(y_dot, p.d as usize, Shared { x, gain, residuals, rows, t, frozen });
}

row_body!(JvpRow<'a>(Shared<'a>) = jvp_row);

#[inline(always)]
fn jvp_row(shared: Shared<'_>, i: usize, y_dot: &mut [f32]) {
    let d = y_dot.len();
    let (x, gain, [mean, rstd], x_dot) = shared.row(i, d);
    let m0 = sum([x_dot], |[x_dot]| x_dot) / d as f32;
    if shared.frozen {
        for e in 0..d {
            y_dot[e] = gain[e] * rstd * (x_dot[e] - m0);
        }
        return;
    }
    let m1 = sum([x, x_dot], |[x, x_dot]| x_dot * ((x - mean) * rstd)) / d as f32;
    for e in 0..d {
        y_dot[e] = gain[e] * rstd * (x_dot[e] - m0 - (x[e] - mean) * rstd * m1);
    }
}

fn jet(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::jet::Bindings::of(bound.slices());
    let shader::jet::Bindings { x, gain, residuals, rows, x_jet: t, y_jet } = buffers;
    each_row_simd::<JetRow>(y_jet, 2 * p.d as usize, (Shared { x, gain, residuals, rows, t, frozen: false }, p.eps));
}

row_body!(JetRow<'a>((Shared<'a>, f32)) = jet_row);

#[inline(always)]
fn jet_row((shared, eps): (Shared<'_>, f32), i: usize, y_jet: &mut [f32]) {
    let d = y_jet.len() / 2;
    let (x, gain, [mean, rstd], _) = shared.row(i, d);
    let (x_dot, x_ddot) = shared.t[2 * i * d..][..2 * d].split_at(d);
    let [m0, n0] = [x_dot, x_ddot].map(|t| sum([t], |[t]| t) / d as f32);
    let [m1, n1] = [x_dot, x_ddot].map(|t| sum([x, t], |[x, t]| t * ((x - mean) * rstd)) / d as f32);
    let u = |x: f32, x_dot: f32| rstd * (x_dot - m0 - (x - mean) * rstd * m1);
    let square = sum([x, x_dot], |[x, x_dot]| u(x, x_dot) * u(x, x_dot)) / d as f32;
    let alpha = rstd * m1;
    let inward = square + eps * rstd * rstd * alpha * alpha;
    let (y_dot, y_ddot) = y_jet.split_at_mut(d);
    for e in 0..d {
        let x_hat = (x[e] - mean) * rstd;
        let linear = rstd * (x_ddot[e] - n0 - x_hat * n1);
        y_dot[e] = gain[e] * u(x[e], x_dot[e]);
        y_ddot[e] = gain[e] * (linear - 2.0 * alpha * u(x[e], x_dot[e]) - inward * x_hat);
    }
}

fn vjp(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::vjp::Bindings::of(bound.slices());
    let shader::vjp::Bindings { x, gain, residuals, rows, y_bar: t, x_bar } = buffers;
    each_row_simd::<VjpRow>(x_bar, p.d as usize, Shared { x, gain, residuals, rows, t, frozen });
}

fn vjp_add(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::vjp_add::Bindings::of(bound.slices());
    let shader::vjp_add::Bindings { x, gain, residuals, rows, y_bar: t, add, x_bar } = buffers;
    each_row_simd::<VjpAddRow>(x_bar, p.d as usize, (Shared { x, gain, residuals, rows, t, frozen }, add));
}

row_body!(VjpRow<'a>(Shared<'a>) = vjp_row);

#[inline(always)]
fn vjp_row(shared: Shared<'_>, i: usize, x_bar: &mut [f32]) {
    let d = x_bar.len();
    let (x, gain, [mean, rstd], y_bar) = shared.row(i, d);
    let m0 = sum([gain, y_bar], |[gain, y_bar]| gain * y_bar) / d as f32;
    if shared.frozen {
        for e in 0..d {
            x_bar[e] = rstd * (gain[e] * y_bar[e] - m0);
        }
        return;
    }
    let m1 = sum([gain, y_bar, x], |[gain, y_bar, x]| gain * y_bar * ((x - mean) * rstd)) / d as f32;
    for e in 0..d {
        x_bar[e] = rstd * (gain[e] * y_bar[e] - m0 - (x[e] - mean) * rstd * m1);
    }
}

row_body!(VjpAddRow<'a>((Shared<'a>, &'a [f32])) = vjp_add_row);

#[inline(always)]
fn vjp_add_row((shared, add): (Shared<'_>, &[f32]), i: usize, x_bar: &mut [f32]) {
    vjp_row(shared, i, x_bar);
    add_row(add, i, x_bar);
}

#[inline(always)]
fn add_row(add: &[f32], i: usize, x_bar: &mut [f32]) {
    let add = &add[i * x_bar.len()..];
    for (bar, add) in x_bar.iter_mut().zip(add) {
        *bar += add;
    }
}

/// What an hvp reads: `t` of the shared part is the cotangents.
#[derive(Clone, Copy)]
struct HvpInputs<'a> {
    shared: Shared<'a>,
    x_dot: &'a [f32],
    p: Params,
}

fn hvp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::hvp::Bindings::of(bound.slices());
    let shader::hvp::Bindings { x, gain, residuals, rows, x_dot, y_bars: t, x_bars } = buffers;
    let shared = Shared { x, gain, residuals, rows, t, frozen: false };
    each_row_simd::<HvpRow>(x_bars, p.d as usize, HvpInputs { shared, x_dot, p });
}

fn hvp_add(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::hvp_add::Bindings::of(bound.slices());
    let shader::hvp_add::Bindings { x, gain, residuals, rows, x_dot, y_bars: t, adds, x_bars } = buffers;
    let inputs = HvpInputs { shared: Shared { x, gain, residuals, rows, t, frozen: false }, x_dot, p };
    each_row_simd::<HvpAddRow>(x_bars, p.d as usize, (inputs, adds));
}

row_body!(HvpAddRow<'a>((HvpInputs<'a>, &'a [f32])) = hvp_add_row);

#[inline(always)]
fn hvp_add_row((inputs, add): (HvpInputs<'_>, &[f32]), i: usize, x_bar: &mut [f32]) {
    hvp_row(inputs, i, x_bar);
    add_row(add, i, x_bar);
}

row_body!(HvpRow<'a>(HvpInputs<'a>) = hvp_row);

#[inline(always)]
fn hvp_row(HvpInputs { shared, x_dot, p }: HvpInputs<'_>, i: usize, x_bar: &mut [f32]) {
    vjp_row(shared, i, x_bar);
    if i >= p.tangent_rows as usize {
        return;
    }
    let d = x_bar.len();
    let (x, gain, [mean, rstd], _) = shared.row(i, d);
    let shared_cotangent = p.shared_cotangent as usize + i - Row::read(as_u32(shared.rows), i).first;
    let (x_dot, y_bar) = (&x_dot[i * d..][..d], &shared.t[shared_cotangent * d..][..d]);
    let m0 = sum([x_dot], |[x_dot]| x_dot) / d as f32;
    let m1 = sum([x, x_dot], |[x, x_dot]| x_dot * ((x - mean) * rstd)) / d as f32;
    let g0 = sum([gain, y_bar], |[gain, y_bar]| gain * y_bar) / d as f32;
    let g1 = sum([gain, y_bar, x], |[gain, y_bar, x]| gain * y_bar * ((x - mean) * rstd)) / d as f32;
    let u = |x: f32, x_dot: f32| rstd * (x_dot - m0 - (x - mean) * rstd * m1);
    let turn = sum([x, x_dot, gain, y_bar], |[x, x_dot, gain, y_bar]| u(x, x_dot) * gain * y_bar) / d as f32;
    for e in 0..d {
        let x_hat = (x[e] - mean) * rstd;
        let g = gain[e] * y_bar[e] - g0 - x_hat * g1;
        x_bar[e] -= rstd * (rstd * m1 * g + u(x[e], x_dot[e]) * g1 + x_hat * turn);
    }
}
