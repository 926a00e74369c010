//! Host bodies of the kernels of norm scales.

use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::norm_scale::{self as shader, Params};

use crate::arguments::params;
use crate::host::{each_row, sum};
use crate::rows::{Row, shared_row};

/// Rows whose elements sum to more than this in size are scaled by [`DOWN`] before they are squared: squares beyond
/// 2^128 overflow. Both are powers of two.
const LARGE: f32 = (1u64 << 50) as f32;
/// 2^-77: elements of f32 become at most 2^51.
const DOWN: f32 = 1.0 / (1u128 << 77) as f32;
/// 2^-16, what elements are multiplied by in that sum.
const SMALL: f32 = 1.0 / (1 << 16) as f32;

/// What the derivatives of a row read of the primal.
struct Primal<'a> {
    c: &'a [f32],
    s: f32,
}

/// Returns row `at` of the saved output.
fn primal_at(y_saved: &[f32], at: usize, d: usize) -> Primal<'_> {
    let row = &y_saved[at * (d + 1)..][..d + 1];
    Primal { c: &row[..d], s: row[d] }
}

/// Returns the mean that a layer norm takes off `t`, and the mean of t n.
fn means(p: Params, Primal { c, s }: &Primal<'_>, t: &[f32]) -> [f32; 2] {
    let d = t.len() as f32;
    let along = sum([t, c], |[t, c]| t * (c / s)) / d;
    [taken(p, t), along]
}

fn taken(p: Params, t: &[f32]) -> f32 {
    if p.centred == 1 { sum([t], |[t]| t) / t.len() as f32 } else { 0.0 }
}

pub(super) fn primal(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal::Bindings { x, y } = shader::primal::Bindings::of(bound.slices());
    let d = p.d as usize;
    each_row(y, d + 1, |i, y| {
        let x = &x[i * d..][..d];
        // In sums, elements are multiplied by SMALL so that no sum overflows. Powers of two change no bit.
        let size = sum([x], |[x]| x.abs() * SMALL);
        let mean = if p.centred == 1 { sum([x], |[x]| x * SMALL) / d as f32 / SMALL } else { 0.0 };
        let scale = if size > LARGE * SMALL { DOWN } else { 1.0 };
        let square = sum([x], |[x]| (x * scale - mean * scale) * (x * scale - mean * scale));
        // Below DOWN^2 eps underflows; the second part keeps its effect, which is to bound the quotient of a constant
        // row.
        let deviation = (square / d as f32 + p.eps * scale * scale).sqrt().max(p.eps.sqrt() * scale);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x - mean);
        y[d] = deviation / scale;
    });
}

pub(super) fn jvp(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let shader::jvp::Bindings { y_saved, rows, x_dot, y_dot } = shader::jvp::Bindings::of(bound.slices());
    let d = p.d as usize;
    each_row(y_dot, d + 1, |i, y_dot| {
        let of = primal_at(y_saved, Row::read(as_u32(rows), i).primal, d);
        let x_dot = &x_dot[i * d..][..d];
        let [mean, along] = means(p, &of, x_dot);
        y_dot.iter_mut().zip(x_dot).for_each(|(y, x)| *y = x - mean);
        y_dot[d] = if frozen { 0.0 } else { along };
    });
}

pub(super) fn jet(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::jet::Bindings { y_saved, rows, x_jet, y_jet } = shader::jet::Bindings::of(bound.slices());
    let d = p.d as usize;
    each_row(y_jet, 2 * (d + 1), |i, y_jet| {
        let of = primal_at(y_saved, Row::read(as_u32(rows), i).primal, d);
        let (x_dot, x_ddot) = x_jet[2 * i * d..][..2 * d].split_at(d);
        let [[mean, s_dot], [mean_ddot, along]] = [means(p, &of, x_dot), means(p, &of, x_ddot)];
        let w = |x_dot: f32, c: f32| (x_dot - mean - c / of.s * s_dot) / of.s;
        let square = sum([x_dot, of.c], |[x_dot, c]| w(x_dot, c) * w(x_dot, c));
        let turn = s_dot / of.s;
        let (dot, ddot) = y_jet.split_at_mut(d + 1);
        dot.iter_mut().zip(x_dot).for_each(|(y, x)| *y = x - mean);
        ddot.iter_mut().zip(x_ddot).for_each(|(y, x)| *y = x - mean_ddot);
        dot[d] = s_dot;
        ddot[d] = along + of.s * (square / d as f32) + p.eps / of.s * turn * turn;
    });
}

pub(super) fn vjp(bound: Bound<'_>) {
    let (p, frozen) = (params::<Params>(&bound), bound.flag("FROZEN"));
    let shader::vjp::Bindings { y_saved, rows, y_bar, x_bar } = shader::vjp::Bindings::of(bound.slices());
    each_row(x_bar, p.d as usize, |i, x_bar| {
        let of = primal_at(y_saved, Row::read(as_u32(rows), i).primal, x_bar.len());
        vjp_row(p, &of, (y_bar, i), frozen, x_bar);
    });
}

/// Computes row i of the vjp of `y_bar`.
fn vjp_row(p: Params, of: &Primal<'_>, (y_bar, i): (&[f32], usize), frozen: bool, x_bar: &mut [f32]) {
    let d = x_bar.len();
    let (c_bar, s_bar) = y_bar[i * (d + 1)..][..d + 1].split_at(d);
    let mean = taken(p, c_bar);
    let along = if frozen { 0.0 } else { s_bar[0] / d as f32 };
    for e in 0..d {
        x_bar[e] = c_bar[e] - mean + along * (of.c[e] / of.s);
    }
}

pub(super) fn hvp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::hvp::Bindings { y_saved, rows, x_dot, y_bars, x_bars } = shader::hvp::Bindings::of(bound.slices());
    let d = p.d as usize;
    each_row(x_bars, d, |i, x_bar| {
        let of = primal_at(y_saved, Row::read(as_u32(rows), i).primal, d);
        vjp_row(p, &of, (y_bars, i), false, x_bar);
        if i < p.tangent_rows as usize {
            let x_dot = &x_dot[i * d..][..d];
            let [mean, s_dot] = means(p, &of, x_dot);
            let s_bar = y_bars[shared_row(as_u32(rows), p.shared_from, i) * (d + 1) + d] / d as f32;
            for e in 0..d {
                x_bar[e] += s_bar * ((x_dot[e] - mean - of.c[e] / of.s * s_dot) / of.s);
            }
        }
    });
}
