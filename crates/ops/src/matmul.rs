//! Matrix product with a weight `[k, n]`: `y = x w + b`, optionally plus the residual stream.  `[rows, k] -> [rows, n]`
//!
//! Linear: jvp is the same kernel without the bias, jet is jvp over twice the rows, and vjp and hvp use the transposed
//! kernel. No residuals. There are several variants, selected by device and shape ([`crate::tuning`]). The GELU
//! epilogues belong to [`crate::mlp`].

use bytemuck::{Pod, Zeroable};
use resolvent_engine::host::{Weights, matmul};
use resolvent_engine::{Bound, Kernel, Launch, Recording, Result, Tensor};
use resolvent_shaders::matmul as shader;

use crate::gelu::{Form, Slope, ValueRow};
use crate::host::{each_row, each_row_simd};
use crate::matmul_f16;
use crate::op::Linear;
use crate::tuning::{self, Family, Size};
use crate::weight::{self, Weight};

const NAME: &str = "matmul";

/// `y = x w + b`, or `y = x w + b + r` where `add` is set and `r` is the second input.
#[derive(Clone, Debug)]
pub struct Matmul {
    /// Weight `[k, n]`.
    pub w: Weight,
    /// Bias `[n]`.
    pub bias: Tensor,
    /// Whether a second input is added.
    pub add: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    k: u32,
    n: u32,
    /// Row length of y.
    stride: u32,
    /// First of the `n` columns of y that this launch writes.
    from: u32,
    /// Whether w is f16, for the host body; on the GPU the variant of the shader decides.
    w_is_f16: u32,
    pad: [u32; 2],
}

/// A product to launch: the kernel and its operands.
pub(crate) struct Product<'a> {
    pub(crate) kernel: &'static Kernel,
    pub(crate) x: &'a Tensor,
    pub(crate) w: &'a Weight,
    /// Whether `w` is used transposed.
    pub(crate) transposed: bool,
    /// Further inputs, in slot order.
    pub(crate) more: &'a [&'a Tensor],
    /// Outputs, in slot order; the first is y.
    pub(crate) out: &'a [&'a Tensor],
    /// The GELU of the epilogue; `None` without one.
    pub(crate) gelu: Option<Form>,
    /// First column of y to write.
    pub(crate) from: usize,
}

impl Product<'_> {
    /// Records the product, in the selected variant for the device and the shape.
    pub(crate) fn record(&self, rec: &mut Recording) -> Result<()> {
        let lengths = |t: &Tensor| t.shape().lengths();
        let ([rows, k], [a, b], y) = (two(&lengths(self.x)), self.w.lengths(), two(&lengths(self.out[0])));
        let (inner, n) = if self.transposed { (b, a) } else { (a, b) };
        if inner != k || y[0] != rows || self.from + n > y[1] {
            let w = if self.transposed { "transposed " } else { "" };
            let (x, y) = (self.x.shape(), self.out[0].shape());
            let reason = format!("x {x} by {w}w [k={a}, n={b}] into y {y}");
            return Err(resolvent_engine::Error::shape(NAME, reason));
        }
        let rounding = self.w.rounds_inputs().then(|| matmul_f16::in_place_of(self.kernel)).flatten();
        let (kernel, family) = rounding.map_or((self.kernel, Family::Matmul), |k| (k, Family::MatmulF16));
        // A part of a wider y is written element by element.
        let vectors = k.is_multiple_of(4) && (n.is_multiple_of(4) || std::ptr::eq(self.kernel, &PART));
        let variant = tuning::choose(rec.device(), family, Size::of(rows), vectors);
        let packed = self.w.is_f16() && family == Family::Matmul;
        let variant = if packed { tuning::of_f16(variant) } else { variant };
        let number = |name| kernel.shader.variant(variant).and_then(|v| v.number(name)).unwrap_or(1);
        let grid = [(n as u32).div_ceil(number("GROUP_COLS")), (rows as u32).div_ceil(number("GROUP_ROWS")), 1];
        let params = Params {
            rows: rows as u32,
            k: k as u32,
            n: n as u32,
            stride: y[1] as u32,
            from: self.from as u32,
            w_is_f16: u32::from(self.w.is_f16()),
            pad: [0; 2],
        };
        let bindings: Vec<&Tensor> =
            [self.x, self.w.words()].iter().chain(self.more).chain(self.out).copied().collect();
        let (r, k, n) = (rows as f64, k as f64, n as f64);
        let of_w = if self.w.is_f16() { 0.5 } else { 1.0 };
        let bytes = 4.0 * (r * k + of_w * k * n + r * n * (self.out.len() + self.more.len()) as f64);
        let mut launch = Launch::new(kernel, params, &bindings, grid).variant(variant).work(2.0 * r * k * n, bytes);
        if let Some(form) = self.gelu {
            launch = launch.constants(&form.constants());
        }
        rec.launch(launch)
    }
}

fn two(lengths: &[usize]) -> [usize; 2] {
    [lengths[0], lengths[1..].iter().product()]
}

/// Writes `x w^T` to columns `from..` of `y`: all logits of a part of the vocabulary.
pub(crate) fn part_into(rec: &mut Recording, x: &Tensor, w: &Weight, y: &Tensor, from: usize) -> Result<()> {
    Product { kernel: &PART, x, w, transposed: true, more: &[], out: &[y], gelu: None, from }.record(rec)
}

/// Returns `x w`, plus `add` if given.
pub(crate) fn product(rec: &mut Recording, x: &Tensor, w: &Weight, add: Option<&Tensor>) -> Result<Tensor> {
    let [_, n] = w.lengths();
    let y = rec.tensor("matmul.dot", &[("rows", x.shape().lengths()[0]), ("n", n)])?;
    let more: Vec<&Tensor> = add.into_iter().collect();
    let kernel = if more.is_empty() { &JVP } else { &JVP_ADD };
    Product { kernel, x, w, transposed: false, more: &more, out: &[&y], gelu: None, from: 0 }.record(rec)?;
    Ok(y)
}

/// Returns `y_bar w^T`, the vjp of `x w`.
pub(crate) fn transposed_product(rec: &mut Recording, y_bar: &Tensor, w: &Weight) -> Result<Tensor> {
    let [k, _] = w.lengths();
    let x_bar = rec.tensor("matmul.bar", &[("rows", y_bar.shape().lengths()[0]), ("k", k)])?;
    let out = &[&x_bar];
    Product { kernel: &VJP, x: y_bar, w, transposed: true, more: &[], out, gelu: None, from: 0 }.record(rec)?;
    Ok(x_bar)
}

impl Linear for Matmul {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, rec: &mut Recording, x: &[&Tensor]) -> Result<Tensor> {
        product(rec, x[0], &self.w, self.add.then(|| x[1]))
    }

    fn affine(&self, rec: &mut Recording, inputs: &[&Tensor]) -> Result<Tensor> {
        let (x, w) = (inputs[0], &self.w);
        let y = rec.tensor(NAME, &[("rows", x.shape().lengths()[0]), ("n", w.lengths()[1])])?;
        let (kernel, more) = match self.add {
            true => (&PRIMAL_ADD, vec![&self.bias, inputs[1]]),
            false => (&PRIMAL, vec![&self.bias]),
        };
        Product { kernel, x, w, transposed: false, more: &more, out: &[&y], gelu: None, from: 0 }.record(rec)?;
        Ok(y)
    }

    fn transpose(&self, rec: &mut Recording, y_bar: &Tensor) -> Result<Vec<Tensor>> {
        let mut bars = vec![transposed_product(rec, y_bar, &self.w)?];
        bars.extend(self.add.then(|| y_bar.clone()));
        Ok(bars)
    }
}

static PRIMAL: Kernel = Kernel { shader: &shader::PRIMAL, host: primal::<false> };
static PRIMAL_ADD: Kernel = Kernel { shader: &shader::PRIMAL_ADD, host: primal_add::<false> };
static JVP: Kernel = Kernel { shader: &shader::JVP, host: jvp };
static JVP_ADD: Kernel = Kernel { shader: &shader::JVP_ADD, host: jvp_add };
static VJP: Kernel = Kernel { shader: &shader::VJP, host: vjp };
static PART: Kernel = Kernel { shader: &shader::PART, host: part };
pub(crate) static PRIMAL_GELU: Kernel = Kernel { shader: &shader::PRIMAL_GELU, host: primal_gelu::<false> };
pub(crate) static JVP_GELU: Kernel = Kernel { shader: &shader::JVP_GELU, host: jvp_gelu };
pub(crate) static VJP_GELU: Kernel = Kernel { shader: &shader::VJP_GELU, host: vjp_gelu };
pub(crate) static JET_GELU: Kernel = Kernel { shader: &shader::JET_GELU, host: jet_gelu };

/// This op's kernels.
pub static KERNELS: &[&Kernel] =
    &[&PRIMAL, &PRIMAL_ADD, &PRIMAL_GELU, &JVP, &JVP_ADD, &JVP_GELU, &JET_GELU, &VJP, &VJP_GELU, &PART];

impl Params {
    fn shape(&self) -> [usize; 3] {
        [self.rows, self.k, self.n].map(|n| n as usize)
    }

    fn straight<'a>(&self, w: &'a [f32]) -> Weights<'a> {
        weight::read(w, self.w_is_f16 != 0, false)
    }

    fn transposed<'a>(&self, w: &'a [f32]) -> Weights<'a> {
        weight::read(w, self.w_is_f16 != 0, true)
    }
}

/// Fills each row of `y` with its starting value and adds the product, so bias and residual cost no pass of their own.
/// With `ROUNDED`, x is rounded to f16, for [`matmul_f16`].
fn product_onto<const ROUNDED: bool>(
    p: Params,
    x: &[f32],
    w: &[f32],
    y: &mut [f32],
    start: impl Fn(usize, &mut [f32]) + Sync,
) {
    each_row(y, p.n as usize, start);
    if ROUNDED {
        let x = matmul_f16::rounded(x, p.k as usize);
        matmul(p.shape(), &x, p.straight(w), true, y);
    } else {
        matmul(p.shape(), x, p.straight(w), true, y);
    }
}

pub(crate) fn primal<const ROUNDED: bool>(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, w, bias], [y]) = bound.slices();
    product_onto::<ROUNDED>(p, x, w, y, |_, y| y.copy_from_slice(bias));
}

pub(crate) fn primal_add<const ROUNDED: bool>(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, w, bias, add], [y]) = bound.slices();
    let n = p.n as usize;
    product_onto::<ROUNDED>(p, x, w, y, |i, y| {
        for (e, y) in y.iter_mut().enumerate() {
            *y = bias[e] + add[i * n + e];
        }
    });
}

pub(crate) fn primal_gelu<const ROUNDED: bool>(bound: Bound<'_>) {
    let (p, exact) = (bound.params::<Params>(), bound.flag("EXACT"));
    let ([x, w, bias], [y, pre]) = bound.slices();
    product_onto::<ROUNDED>(p, x, w, pre, |_, pre| pre.copy_from_slice(bias));
    each_row_simd::<ValueRow>(y, p.n as usize, (&*pre, exact));
}

fn jvp(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, w], [y]) = bound.slices();
    matmul(p.shape(), x, p.straight(w), false, y);
}

fn jvp_add(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, w, add], [y]) = bound.slices();
    let n = p.n as usize;
    product_onto::<false>(p, x, w, y, |i, y| y.copy_from_slice(&add[i * n..][..n]));
}

fn jvp_gelu(bound: Bound<'_>) {
    let (p, form) = (bound.params::<Params>(), Form::of(&bound));
    let ([x, w, pre, rows], [y]) = bound.slices();
    matmul(p.shape(), x, p.straight(w), false, y);
    Slope { x: pre, rows, form }.times(y, p.n as usize);
}

fn jet_gelu(bound: Bound<'_>) {
    let (p, form) = (bound.params::<Params>(), Form::of(&bound));
    let ([x, w, pre, rows], [y]) = bound.slices();
    matmul(p.shape(), x, p.straight(w), false, y);
    Slope { x: pre, rows, form }.second_derivative(y, p.n as usize);
}

fn vjp(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, w], [y]) = bound.slices();
    matmul(p.shape(), x, p.transposed(w), false, y);
}

fn part(bound: Bound<'_>) {
    let p: Params = bound.params();
    let ([x, w], [y]) = bound.slices();
    let ([rows, k, n], stride, from) = (p.shape(), p.stride as usize, p.from as usize);
    if stride == n {
        matmul([rows, k, n], x, p.transposed(w), false, y);
    } else {
        // A part of the vocabulary: its columns lie between those of the other parts.
        let mut part = vec![0.0; rows * n];
        matmul([rows, k, n], x, p.transposed(w), false, &mut part);
        each_row(y, stride, |i, y| y[from..from + n].copy_from_slice(&part[i * n..][..n]));
    }
}

fn vjp_gelu(bound: Bound<'_>) {
    let (p, form) = (bound.params::<Params>(), Form::of(&bound));
    let ([x, w, pre, rows], [y]) = bound.slices();
    matmul(p.shape(), x, p.transposed(w), false, y);
    Slope { x: pre, rows, form }.times(y, p.n as usize);
}
