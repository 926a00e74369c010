//! Host bodies of the kernels of divisions by scales.

use resolvent_engine::{Bound, as_u32};
use resolvent_shaders::divide::{self as shader, Params};

use crate::arguments::params;
use crate::host::{each_row, sum};
use crate::rows::{Row, shared_row};

/// Returns row i of `[c | s]`, as both.
fn row(x: &[f32], i: usize, d: usize) -> (&[f32], f32) {
    let row = &x[i * (d + 1)..][..d + 1];
    (&row[..d], row[d])
}

pub(super) fn primal(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal::Bindings { x, y } = shader::primal::Bindings::of(bound.slices());
    each_row(y, p.d as usize, |i, y| {
        let (c, s) = row(x, i, y.len());
        y.iter_mut().zip(c).for_each(|(y, c)| *y = c / s);
    });
}

pub(super) fn jvp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::jvp::Bindings { x, rows, x_dot, y_dot } = shader::jvp::Bindings::of(bound.slices());
    each_row(y_dot, p.d as usize, |i, y_dot| {
        let d = y_dot.len();
        let ((c, s), (c_dot, s_dot)) = (row(x, Row::read(as_u32(rows), i).primal, d), row(x_dot, i, d));
        for e in 0..d {
            y_dot[e] = (c_dot[e] - c[e] / s * s_dot) / s;
        }
    });
}

pub(super) fn jet(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::jet::Bindings { x, rows, x_jet, y_jet } = shader::jet::Bindings::of(bound.slices());
    let d = p.d as usize;
    each_row(y_jet, 2 * d, |i, y_jet| {
        let (c, s) = row(x, Row::read(as_u32(rows), i).primal, d);
        let ((c_dot, s_dot), (c_ddot, s_ddot)) = (row(x_jet, 2 * i, d), row(x_jet, 2 * i + 1, d));
        for e in 0..d {
            let n = c[e] / s;
            let n_dot = (c_dot[e] - n * s_dot) / s;
            y_jet[e] = n_dot;
            y_jet[d + e] = (c_ddot[e] - n * s_ddot - 2.0 * n_dot * s_dot) / s;
        }
    });
}

pub(super) fn vjp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::vjp::Bindings { x, rows, y_bar, x_bar } = shader::vjp::Bindings::of(bound.slices());
    let d = p.d as usize;
    each_row(x_bar, d + 1, |i, x_bar| {
        let (c, s) = row(x, Row::read(as_u32(rows), i).primal, d);
        let y_bar = &y_bar[i * d..][..d];
        x_bar.iter_mut().zip(y_bar).for_each(|(x, y)| *x = y / s);
        x_bar[d] = -sum([y_bar, c], |[y, c]| y * (c / s)) / s;
    });
}

pub(super) fn hvp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::hvp::Bindings { x, rows, x_dot, y_bars, x_bars } = shader::hvp::Bindings::of(bound.slices());
    let d = p.d as usize;
    each_row(x_bars, d + 1, |i, x_bar| {
        let (c, s) = row(x, Row::read(as_u32(rows), i).primal, d);
        let own = &y_bars[i * d..][..d];
        let along = sum([own, c], |[y, c]| y * (c / s));
        if i >= p.tangent_rows as usize {
            x_bar.iter_mut().zip(own).for_each(|(x, y)| *x = y / s);
            x_bar[d] = -along / s;
            return;
        }
        let ((c_dot, s_dot), shared) = (row(x_dot, i, d), shared_row(as_u32(rows), p.shared_from, i));
        let (b, turn) = (&y_bars[shared * d..][..d], s_dot / s);
        for e in 0..d {
            x_bar[e] = (own[e] - b[e] * turn) / s;
        }
        let second = sum([b, c, c_dot], |[b, c, c_dot]| b * (c_dot / s - 2.0 * (c / s) * turn));
        x_bar[d] = -(along + second) / s;
    });
}
