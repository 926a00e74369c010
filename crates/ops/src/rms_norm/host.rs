//! Host bodies of rms norm's kernels.

use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::rms_norm::{self as shader, Params};

use super::COPIED;
use crate::arguments::params;
use crate::host::{each_row_simd, each_two_rows_simd, row_body, sum, two_rows_body};
use crate::rows::{Row, shared_row};

/// Segments whose elements sum to more than this in size are scaled by [`DOWN`] before they are squared: squares beyond
/// 2^128 overflow. Both are powers of two, so a scaled segment has the bits that an f32 without bounds on its exponent
/// gives.
const LARGE: f32 = (1u64 << 50) as f32;
/// 2^-77: elements of f32 become at most 2^51.
const DOWN: f32 = 1.0 / (1u128 << 77) as f32;
/// 2^-16, what elements are multiplied by in that sum.
const SMALL: f32 = 1.0 / (1 << 16) as f32;

/// Columns of a row, as the table has them: a segment with its index, or columns that are copied.
#[derive(Clone, Copy)]
struct Stretch {
    start: usize,
    width: usize,
    segment: Option<usize>,
}

impl Stretch {
    /// Reads all stretches of a row.
    #[inline(always)]
    fn each(table: &[f32]) -> impl Iterator<Item = Self> {
        as_u32(table).chunks_exact(4).map(|entry| Self {
            start: entry[0] as usize,
            width: entry[1] as usize,
            segment: (entry[2] != COPIED).then_some(entry[2] as usize),
        })
    }

    /// Returns its part of row i of an array.
    #[inline(always)]
    fn of<'a>(&self, array: &'a [f32], i: usize, n: usize) -> &'a [f32] {
        &array[i * n + self.start..][..self.width]
    }
}

pub(super) fn primal(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal::Bindings { x, gain, stretches, y, inverses } = shader::primal::Bindings::of(bound.slices());
    let inputs = Primal { x, gain, stretches, eps: p.eps };
    each_two_rows_simd::<PrimalRow>([y, inverses], [p.n as usize, p.segments as usize], inputs);
}

/// Inputs of the primal.
#[derive(Clone, Copy)]
struct Primal<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    stretches: &'a [f32],
    eps: f32,
}

two_rows_body!(PrimalRow<'a>(Primal<'a>) = primal_row);

#[inline(always)]
fn primal_row(inputs: Primal<'_>, i: usize, [y, inverses]: [&mut [f32]; 2]) {
    let (n, eps) = (y.len(), inputs.eps);
    for stretch in Stretch::each(inputs.stretches) {
        let (x, y) = (stretch.of(inputs.x, i, n), &mut y[stretch.start..][..stretch.width]);
        let Some(segment) = stretch.segment else {
            y.copy_from_slice(x);
            continue;
        };
        let (width, gain) = (y.len(), stretch.of(inputs.gain, 0, n));
        let scale = if sum([x], |[x]| x.abs() * SMALL) > LARGE * SMALL { DOWN } else { 1.0 };
        let square = sum([x], |[x]| (x * scale) * (x * scale));
        // Below DOWN^2 eps underflows; but then the elements are so large that it has no effect.
        let r = 1.0 / (square / width as f32 + eps * scale * scale).sqrt();
        for e in 0..width {
            y[e] = gain[e] * (x[e] * scale * r);
        }
        inverses[segment] = r * scale;
    }
}

/// What the derivatives of a row read: the primal, its 1/rms, the row table, and the tangent, jet or cotangent.
#[derive(Clone, Copy)]
struct Shared<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    stretches: &'a [f32],
    residuals: &'a [f32],
    rows: &'a [f32],
    t: &'a [f32],
    p: Params,
    frozen: bool,
}

/// What the derivatives of one segment read of the primal.
struct Segment<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    r: f32,
}

impl<'a> Shared<'a> {
    /// Returns segment `segment` of the primal of row i.
    #[inline(always)]
    fn primal(&self, i: usize, stretch: Stretch, segment: usize) -> Segment<'a> {
        let (at, n) = (Row::read(as_u32(self.rows), i).primal, self.p.n as usize);
        Segment {
            x: stretch.of(self.x, at, n),
            gain: stretch.of(self.gain, 0, n),
            r: self.residuals[at * self.p.segments as usize + segment],
        }
    }
}

/// Returns `<f(a_i, b_i, ..)>` over slices of one length.
#[inline(always)]
fn mean<const N: usize>(slices: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    sum(slices, f) / slices[0].len() as f32
}

pub(super) fn jvp(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::jvp::Bindings::of(bound.slices());
    let shader::jvp::Bindings { x, gain, stretches, residuals, rows, x_dot: t, y_dot } = buffers;
    each_row_simd::<JvpRow>(y_dot, p.n as usize, Shared { x, gain, stretches, residuals, rows, t, p, frozen });
}

row_body!(JvpRow<'a>(Shared<'a>) = jvp_row);

#[inline(always)]
fn jvp_row(shared: Shared<'_>, i: usize, y_dot: &mut [f32]) {
    let n = y_dot.len();
    for stretch in Stretch::each(shared.stretches) {
        let (x_dot, y_dot) = (stretch.of(shared.t, i, n), &mut y_dot[stretch.start..][..stretch.width]);
        let Some(segment) = stretch.segment else {
            y_dot.copy_from_slice(x_dot);
            continue;
        };
        let Segment { x, gain, r } = shared.primal(i, stretch, segment);
        if shared.frozen {
            for e in 0..y_dot.len() {
                y_dot[e] = gain[e] * r * x_dot[e];
            }
            continue;
        }
        let m = mean([x, x_dot], |[x, x_dot]| x * r * x_dot);
        for e in 0..y_dot.len() {
            y_dot[e] = gain[e] * r * (x_dot[e] - x[e] * r * m);
        }
    }
}

pub(super) fn jet(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::jet::Bindings::of(bound.slices());
    let shader::jet::Bindings { x, gain, stretches, residuals, rows, x_jet: t, y_jet } = buffers;
    let shared = Shared { x, gain, stretches, residuals, rows, t, p, frozen: false };
    each_row_simd::<JetRow>(y_jet, 2 * p.n as usize, shared);
}

row_body!(JetRow<'a>(Shared<'a>) = jet_row);

#[inline(always)]
fn jet_row(shared: Shared<'_>, i: usize, y_jet: &mut [f32]) {
    let (n, eps) = (y_jet.len() / 2, shared.p.eps);
    let (y_dot, y_ddot) = y_jet.split_at_mut(n);
    for stretch in Stretch::each(shared.stretches) {
        let (x_dot, x_ddot) = (stretch.of(shared.t, 2 * i, n), stretch.of(shared.t, 2 * i + 1, n));
        let [y_dot, y_ddot] = [&mut *y_dot, &mut *y_ddot].map(|y| &mut y[stretch.start..][..stretch.width]);
        let Some(segment) = stretch.segment else {
            y_dot.copy_from_slice(x_dot);
            y_ddot.copy_from_slice(x_ddot);
            continue;
        };
        let Segment { x, gain, r } = shared.primal(i, stretch, segment);
        let [m, along] = [x_dot, x_ddot].map(|t| mean([x, t], |[x, t]| x * r * t));
        let w = |x: f32, x_dot: f32| r * (x_dot - x * r * m);
        let square = mean([x, x_dot], |[x, x_dot]| w(x, x_dot) * w(x, x_dot));
        let alpha = r * m;
        let inward = square + eps * r * r * alpha * alpha;
        for e in 0..y_dot.len() {
            let u = x[e] * r;
            let linear = r * (x_ddot[e] - u * along);
            y_dot[e] = gain[e] * w(x[e], x_dot[e]);
            y_ddot[e] = gain[e] * (linear - 2.0 * alpha * w(x[e], x_dot[e]) - inward * u);
        }
    }
}

pub(super) fn vjp(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::vjp::Bindings::of(bound.slices());
    let shader::vjp::Bindings { x, gain, stretches, residuals, rows, y_bar: t, x_bar } = buffers;
    each_row_simd::<VjpRow>(x_bar, p.n as usize, Shared { x, gain, stretches, residuals, rows, t, p, frozen });
}

row_body!(VjpRow<'a>(Shared<'a>) = vjp_row);

#[inline(always)]
fn vjp_row(shared: Shared<'_>, i: usize, x_bar: &mut [f32]) {
    let n = x_bar.len();
    for stretch in Stretch::each(shared.stretches) {
        let (y_bar, x_bar) = (stretch.of(shared.t, i, n), &mut x_bar[stretch.start..][..stretch.width]);
        let Some(segment) = stretch.segment else {
            x_bar.copy_from_slice(y_bar);
            continue;
        };
        let Segment { x, gain, r } = shared.primal(i, stretch, segment);
        if shared.frozen {
            for e in 0..x_bar.len() {
                x_bar[e] = r * gain[e] * y_bar[e];
            }
            continue;
        }
        let m = mean([x, gain, y_bar], |[x, gain, y_bar]| x * r * gain * y_bar);
        for e in 0..x_bar.len() {
            x_bar[e] = r * (gain[e] * y_bar[e] - x[e] * r * m);
        }
    }
}

pub(super) fn vjp_add(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let buffers = shader::vjp_add::Bindings::of(bound.slices());
    let shader::vjp_add::Bindings { x, gain, stretches, residuals, rows, y_bar: t, add, x_bar } = buffers;
    let shared = Shared { x, gain, stretches, residuals, rows, t, p, frozen };
    each_row_simd::<VjpAddRow>(x_bar, p.n as usize, Added { shared, add });
}

/// Inputs of a vjp, and the cotangents to which it adds its own.
#[derive(Clone, Copy)]
struct Added<'a> {
    shared: Shared<'a>,
    add: &'a [f32],
}

row_body!(VjpAddRow<'a>(Added<'a>) = vjp_add_row);

#[inline(always)]
fn vjp_add_row(Added { shared, add }: Added<'_>, i: usize, x_bar: &mut [f32]) {
    vjp_row(shared, i, x_bar);
    let add = &add[i * x_bar.len()..];
    for (bar, add) in x_bar.iter_mut().zip(add) {
        *bar += add;
    }
}

pub(super) fn hvp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let buffers = shader::hvp::Bindings::of(bound.slices());
    let shader::hvp::Bindings { x, gain, stretches, residuals, rows, x_dot, y_bars: t, x_bars } = buffers;
    let shared = Shared { x, gain, stretches, residuals, rows, t, p, frozen: false };
    each_row_simd::<HvpRow>(x_bars, p.n as usize, HvpInputs { shared, x_dot });
}

/// What an hvp reads: `t` of the shared part is the cotangents.
#[derive(Clone, Copy)]
struct HvpInputs<'a> {
    shared: Shared<'a>,
    x_dot: &'a [f32],
}

row_body!(HvpRow<'a>(HvpInputs<'a>) = hvp_row);

#[inline(always)]
fn hvp_row(HvpInputs { shared, x_dot }: HvpInputs<'_>, i: usize, x_bar: &mut [f32]) {
    vjp_row(shared, i, x_bar);
    if i >= shared.p.tangent_rows as usize {
        return;
    }
    let n = x_bar.len();
    let shared_cotangent = shared_row(as_u32(shared.rows), shared.p.shared_from, i);
    for stretch in Stretch::each(shared.stretches) {
        // The derivative of a copy is a constant.
        let Some(segment) = stretch.segment else { continue };
        let Segment { x, gain, r } = shared.primal(i, stretch, segment);
        let (x_dot, y_bar) = (stretch.of(x_dot, i, n), stretch.of(shared.t, shared_cotangent, n));
        let x_bar = &mut x_bar[stretch.start..][..stretch.width];
        let m = mean([x, x_dot], |[x, x_dot]| x * r * x_dot);
        let along = mean([x, gain, y_bar], |[x, gain, y_bar]| x * r * gain * y_bar);
        let w = |x: f32, x_dot: f32| r * (x_dot - x * r * m);
        let turn = mean([x, x_dot, gain, y_bar], |[x, x_dot, gain, y_bar]| w(x, x_dot) * gain * y_bar);
        for e in 0..x_bar.len() {
            let u = x[e] * r;
            let g = gain[e] * y_bar[e] - u * along;
            x_bar[e] -= r * (r * m * g + w(x[e], x_dot[e]) * along + u * turn);
        }
    }
}
