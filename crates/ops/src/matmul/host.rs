//! The host bodies of products.

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use resolvent_engine::Bound;
use resolvent_engine::host::{Weights, matmul};
use resolvent_shaders::matmul::{self as shader, Params};

use crate::arguments::params;
use crate::gelu::{Form, Slope, ValueRow, Values};
use crate::host::{each_row, each_row_simd};
use crate::weight;

/// Reads the lengths of a product and its weight.
fn operands(p: Params, w: &[f32], transposed: bool) -> ([usize; 3], Weights<'_>) {
    ([p.rows, p.k, p.n].map(|n| n as usize), weight::read(w, p.w_is_f16 != 0, transposed))
}

/// Computes `y = x w`.
fn straight(p: Params, x: &[f32], w: &[f32], y: &mut [f32]) {
    let (lengths, w) = operands(p, w, false);
    matmul(lengths, x, w, false, y);
}

/// Computes `y = x w^T`.
fn transposed(p: Params, x: &[f32], w: &[f32], y: &mut [f32]) {
    let (lengths, w) = operands(p, w, true);
    matmul(lengths, x, w, false, y);
}

/// Fills each row of `y` with its starting value and adds the product, so bias and residual cost no pass of their own.
/// With `ROUNDED`, x is rounded to f16, for `matmul_f16`.
fn product_onto<const ROUNDED: bool>(
    p: Params,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    start: impl Fn(usize, &mut [f32]) + Sync,
) {
    each_row(y, p.n as usize, start);
    let (lengths, w) = operands(p, w, false);
    if ROUNDED {
        matmul(lengths, &rounded(x, p.k as usize), w, true, y);
    } else {
        matmul(lengths, x, w, true, y);
    }
}

pub(crate) fn primal<const ROUNDED: bool>(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal::Bindings { x, w, bias, y } = shader::primal::Bindings::of(bound.slices());
    product_onto::<ROUNDED>(p, x, w, y, |_, y| y.copy_from_slice(bias));
}

pub(crate) fn primal_add<const ROUNDED: bool>(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::primal_add::Bindings { x, w, bias, add, y } = shader::primal_add::Bindings::of(bound.slices());
    let n = p.n as usize;
    product_onto::<ROUNDED>(p, x, w, y, |i, y| {
        for (e, y) in y.iter_mut().enumerate() {
            *y = bias[e] + add[i * n + e];
        }
    });
}

pub(crate) fn primal_gelu<const ROUNDED: bool>(bound: Bound<'_>) {
    let (p, exact) = (params::<Params>(&bound), bound.flag("EXACT"));
    let shader::primal_gelu::Bindings { x, w, bias, y, pre } = shader::primal_gelu::Bindings::of(bound.slices());
    product_onto::<ROUNDED>(p, x, w, pre, |_, pre| pre.copy_from_slice(bias));
    each_row_simd::<ValueRow>(y, p.n as usize, Values { x: pre, exact });
}

pub(super) fn jvp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::jvp::Bindings { x, w, y } = shader::jvp::Bindings::of(bound.slices());
    straight(p, x, w, y);
}

pub(super) fn jvp_add(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::jvp_add::Bindings { x, w, carry, y } = shader::jvp_add::Bindings::of(bound.slices());
    let n = p.n as usize;
    product_onto::<false>(p, x, w, y, |i, y| y.copy_from_slice(&carry[i * n..][..n]));
}

pub(super) fn jvp_gelu(bound: Bound<'_>) {
    let (p, form) = (params::<Params>(&bound), Form::of(&bound));
    let shader::jvp_gelu::Bindings { x, w, pre_saved, rows, y } = shader::jvp_gelu::Bindings::of(bound.slices());
    straight(p, x, w, y);
    Slope { x: pre_saved, rows, form }.times(y, p.n as usize);
}

pub(super) fn jet_gelu(bound: Bound<'_>) {
    let (p, form) = (params::<Params>(&bound), Form::of(&bound));
    let shader::jet_gelu::Bindings { x, w, pre_saved, rows, y } = shader::jet_gelu::Bindings::of(bound.slices());
    straight(p, x, w, y);
    Slope { x: pre_saved, rows, form }.second_derivative(y, p.n as usize);
}

pub(super) fn vjp(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::vjp::Bindings { x, w, y } = shader::vjp::Bindings::of(bound.slices());
    transposed(p, x, w, y);
}

pub(super) fn part(bound: Bound<'_>) {
    let p: Params = params(&bound);
    let shader::part::Bindings { x, w, wide_y } = shader::part::Bindings::of(bound.slices());
    let [rows, n, stride, first] = [p.rows, p.n, p.stride, p.first].map(|n| n as usize);
    if stride == n {
        transposed(p, x, w, wide_y);
    } else {
        // A part of the vocabulary: its columns lie between those of the other parts.
        let mut part = vec![0.0; rows * n];
        transposed(p, x, w, &mut part);
        each_row(wide_y, stride, |i, y| y[first..first + n].copy_from_slice(&part[i * n..][..n]));
    }
}

pub(super) fn vjp_gelu(bound: Bound<'_>) {
    let (p, form) = (params::<Params>(&bound), Form::of(&bound));
    let shader::vjp_gelu::Bindings { x, w, pre_saved, rows, y } = shader::vjp_gelu::Bindings::of(bound.slices());
    transposed(p, x, w, y);
    Slope { x: pre_saved, rows, form }.times(y, p.n as usize);
}

/// Rounds rows of `k` elements to the nearest f16.
fn rounded(x: &[f32], k: usize) -> Vec<f32> {
    let mut rounded = vec![0.0; x.len()];
    each_row(&mut rounded, k, |i, row| {
        let mut packed = vec![f16::ZERO; k];
        packed.convert_from_f32_slice(&x[i * k..][..k]);
        packed.convert_to_f32_slice(row);
    });
    rounded
}
