//! The primal of [`crate::matmul`] with inputs rounded to 16-bit floats: `y = r(x) w + b`.  `[rows, k] -> [rows, n]`
//!
//! For a weight in halves [whose inputs are rounded](crate::Weight::rounding_inputs). What devices with matrix units are fast at;
//! all devices round alike, so that their results agree. Derivatives take rounding for the identity: they are `matmul`'s, in f32.

use bytemuck::{Pod, Zeroable};
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use resolvent_engine::host::matmul;
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor};
use resolvent_shaders::matmul_half as shader;

use crate::gelu::ValueRow;
use crate::host::{each_row, each_row_simd};
use crate::matmul::Product;
use crate::tuning::{self, Family, Size};
use crate::weight;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    k: u32,
    n: u32,
    pad: u32,
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal };
static PRIMAL_ADD: Kernel = Kernel { shader: &shader::PRIMAL_ADD, host: primal_add };
static PRIMAL_GELU: Kernel = Kernel { shader: &shader::PRIMAL_GELU, host: primal_gelu };

/// This op's kernels.
pub(crate) static KERNELS: &[&Kernel] = &[&PRIMAL, &PRIMAL_ADD, &PRIMAL_GELU];

/// The kernel in the place of `kernel`, one of [`crate::matmul`]'s; `None` for what is no primal.
pub(crate) fn in_place_of(kernel: &Kernel) -> Option<&'static Kernel> {
    KERNELS.iter().find(|own| own.shader.entry == kernel.shader.entry).copied()
}

/// Records `product`, whose lengths have been checked, by `kernel`.
pub(crate) fn record(
    rec: &mut Recording,
    product: &Product<'_>,
    kernel: &'static Kernel,
    [rows, k, n]: [usize; 3],
) -> Result<()> {
    let variant = tuning::choose(rec.device(), Family::MatmulHalf, Size::of(rows), true);
    let number = |name| kernel.shader.variant(variant).and_then(|v| v.number(name)).unwrap_or(1);
    let grid = [(n as u32).div_ceil(number("GROUP_COLS")), (rows as u32).div_ceil(number("GROUP_ROWS")), 1];
    let params = Params { rows: rows as u32, k: k as u32, n: n as u32, pad: 0 };
    let bindings: Vec<&Tensor> =
        [product.x, product.w.words()].iter().chain(product.more).chain(product.out).copied().collect();
    let (r, k, n) = (rows as f64, k as f64, n as f64);
    let bytes = 4.0 * (r * k + 0.5 * k * n + r * n * (product.out.len() + product.more.len()) as f64);
    let mut launch =
        Launch::new(kernel, params, &bindings, grid).variant(variant).work(2.0 * r * k * n, bytes);
    if let Some(form) = product.gelu {
        launch = launch.constants(&form.constants());
    }
    rec.launch(launch)
}

/// Fills each row of `y` from its starting value and adds the product of the rounded x.
fn product_onto(p: Params, x: &[f32], w: &[f32], y: &mut [f32], start: impl Fn(usize, &mut [f32]) + Sync) {
    let [rows, k, n] = [p.rows, p.k, p.n].map(|n| n as usize);
    let mut rounded = vec![0.0; rows * k];
    each_row(&mut rounded, k, |i, row| {
        let mut halves = vec![f16::ZERO; k];
        halves.convert_from_f32_slice(&x[i * k..][..k]);
        halves.convert_to_f32_slice(row);
    });
    each_row(y, n, start);
    matmul([rows, k, n], &rounded, weight::read(w, true, false), true, y);
}

fn primal(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, w, bias], [y]) = bound.slices();
    product_onto(p, x, w, y, |_, y| y.copy_from_slice(bias));
}

fn primal_add(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, w, bias, add], [y]) = bound.slices();
    let n = p.n as usize;
    product_onto(p, x, w, y, |i, y| {
        for (e, y) in y.iter_mut().enumerate() {
            *y = bias[e] + add[i * n + e];
        }
    });
}

fn primal_gelu(bound: Bound<'_>) {
    let (p, exact) = (bound.params::<Params>(), bound.flag("EXACT"));
    let ([x, w, bias], [y, pre]) = bound.slices();
    product_onto(p, x, w, pre, |_, pre| pre.copy_from_slice(bias));
    each_row_simd::<ValueRow>(y, p.n as usize, (&*pre, exact));
}
