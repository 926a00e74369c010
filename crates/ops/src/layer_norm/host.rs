//! Host bodies of layer norm's kernels.

use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::layer_norm::{self as shader, Params};

use crate::arguments::params;
use crate::host::{each_row_simd, each_two_rows_simd, row_body, sum, two_rows_body};
use crate::rows::{Row, shared_row};

pub(super) fn primal(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal::Bindings { x, gain, bias, y, stats } = shader::primal::Bindings::of(bound.slices());
    each_two_rows_simd::<PrimalRow>([y, stats], [p.d as usize, 2], Primal { x, gain, bias, eps: p.eps });
}

/// Rows whose numbers sum to more than this in size are scaled by [`DOWN`] before they are squared: squares beyond
/// 2^128 overflow. Both are powers of two, so a scaled row has the bits that an f32 without bounds on its exponent
/// gives.
const LARGE: f32 = (1u64 << 50) as f32;
/// 2^-77: numbers of f32 become at most 2^51.
const DOWN: f32 = 1.0 / (1u128 << 77) as f32;
/// 2^-16, what numbers are multiplied by in other sums.
const SMALL: f32 = 1.0 / (1 << 16) as f32;

/// Inputs of the primal.
#[derive(Clone, Copy)]
struct Primal<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

two_rows_body!(PrimalRow<'a>(Primal<'a>) = primal_row);

#[inline(always)]
fn primal_row(inputs: Primal<'_>, i: usize, [y, stats]: [&mut [f32]; 2]) {
    let (d, eps) = (y.len(), inputs.eps);
    let (x, gain, bias) = (&inputs.x[i * d..][..d], &inputs.gain[..d], &inputs.bias[..d]);
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

/// What the derivatives of one row read.
struct SharedRow<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    mean: f32,
    rstd: f32,
    t: &'a [f32],
}

impl<'a> Shared<'a> {
    /// Returns row i, with x and the statistics of its primal.
    #[inline(always)]
    fn row(&self, i: usize, d: usize) -> SharedRow<'a> {
        let at = Row::read(as_u32(self.rows), i).primal;
        SharedRow {
            x: &self.x[at * d..][..d],
            gain: &self.gain[..d],
            mean: self.residuals[2 * at],
            rstd: self.residuals[2 * at + 1],
            t: &self.t[i * d..][..d],
        }
    }
}

pub(super) fn jvp(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::jvp::Bindings::of(bound.slices());
    let shader::jvp::Bindings { x, gain, residuals, rows, x_dot: t, y_dot } = buffers;
    each_row_simd::<JvpRow>(y_dot, p.d as usize, Shared { x, gain, residuals, rows, t, frozen });
}

row_body!(JvpRow<'a>(Shared<'a>) = jvp_row);

#[inline(always)]
fn jvp_row(shared: Shared<'_>, i: usize, y_dot: &mut [f32]) {
    let d = y_dot.len();
    let SharedRow { x, gain, mean, rstd, t: x_dot } = shared.row(i, d);
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

pub(super) fn jet(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::jet::Bindings::of(bound.slices());
    let shader::jet::Bindings { x, gain, residuals, rows, x_jet: t, y_jet } = buffers;
    let shared = Shared { x, gain, residuals, rows, t, frozen: false };
    each_row_simd::<JetRow>(y_jet, 2 * p.d as usize, JetInputs { shared, eps: p.eps });
}

/// Inputs of a jet.
#[derive(Clone, Copy)]
struct JetInputs<'a> {
    shared: Shared<'a>,
    eps: f32,
}

row_body!(JetRow<'a>(JetInputs<'a>) = jet_row);

#[inline(always)]
fn jet_row(JetInputs { shared, eps }: JetInputs<'_>, i: usize, y_jet: &mut [f32]) {
    let d = y_jet.len() / 2;
    let SharedRow { x, gain, mean, rstd, .. } = shared.row(i, d);
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

pub(super) fn vjp(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::vjp::Bindings::of(bound.slices());
    let shader::vjp::Bindings { x, gain, residuals, rows, y_bar: t, x_bar } = buffers;
    each_row_simd::<VjpRow>(x_bar, p.d as usize, Shared { x, gain, residuals, rows, t, frozen });
}

pub(super) fn vjp_add(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::vjp_add::Bindings::of(bound.slices());
    let shader::vjp_add::Bindings { x, gain, residuals, rows, y_bar: t, add, x_bar } = buffers;
    let inputs = Shared { x, gain, residuals, rows, t, frozen };
    each_row_simd::<VjpAddRow>(x_bar, p.d as usize, Added { inputs, add });
}

row_body!(VjpRow<'a>(Shared<'a>) = vjp_row);

#[inline(always)]
fn vjp_row(shared: Shared<'_>, i: usize, x_bar: &mut [f32]) {
    let d = x_bar.len();
    let SharedRow { x, gain, mean, rstd, t: y_bar } = shared.row(i, d);
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

/// Inputs of a body, and the cotangents to which it adds its own.
#[derive(Clone, Copy)]
struct Added<'a, I> {
    inputs: I,
    add: &'a [f32],
}

row_body!(VjpAddRow<'a>(Added<'a, Shared<'a>>) = vjp_add_row);

#[inline(always)]
fn vjp_add_row(Added { inputs, add }: Added<'_, Shared<'_>>, i: usize, x_bar: &mut [f32]) {
    vjp_row(inputs, i, x_bar);
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

pub(super) fn hvp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::hvp::Bindings::of(bound.slices());
    let shader::hvp::Bindings { x, gain, residuals, rows, x_dot, y_bars: t, x_bars } = buffers;
    let shared = Shared { x, gain, residuals, rows, t, frozen: false };
    each_row_simd::<HvpRow>(x_bars, p.d as usize, HvpInputs { shared, x_dot, p });
}

pub(super) fn hvp_add(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::hvp_add::Bindings::of(bound.slices());
    let shader::hvp_add::Bindings { x, gain, residuals, rows, x_dot, y_bars: t, adds, x_bars } = buffers;
    let inputs = HvpInputs { shared: Shared { x, gain, residuals, rows, t, frozen: false }, x_dot, p };
    each_row_simd::<HvpAddRow>(x_bars, p.d as usize, Added { inputs, add: adds });
}

row_body!(HvpAddRow<'a>(Added<'a, HvpInputs<'a>>) = hvp_add_row);

#[inline(always)]
fn hvp_add_row(Added { inputs, add }: Added<'_, HvpInputs<'_>>, i: usize, x_bar: &mut [f32]) {
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
    let SharedRow { x, gain, mean, rstd, .. } = shared.row(i, d);
    let shared_cotangent = shared_row(as_u32(shared.rows), p.shared_from, i);
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
