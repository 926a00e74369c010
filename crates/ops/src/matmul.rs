//! Matrix product with a weight `[k, n]`: `y = x w + b`, optionally plus the residual stream.  `[rows, k] -> [rows, n]`
//!
//! Linear: jvp is the same kernel without the bias, jet is jvp over twice the rows, and vjp and hvp use the transposed
//! kernel. No residuals. There are several variants, selected by device and shape ([`crate::tuning`]). The GELU
//! epilogues belong to [`crate::mlp`].

pub(crate) mod host;

use resolvent_engine::{Kernel, Launch, Recording, Result, Tensor};
use resolvent_shaders::Uniform;
use resolvent_shaders::matmul::{self as shader, Params};

use crate::arguments::slots;
use crate::gelu::Form;
use crate::linear::Linear;
use crate::matmul_f16;
use crate::tuning::{self, Family, Size};
use crate::weight::Weight;

use host::{jet_gelu, jvp, jvp_add, jvp_gelu, part, primal, primal_add, primal_gelu, vjp, vjp_gelu};

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

/// A product to launch: its operands, and what its kernel computes of them.
pub(crate) struct Product<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) w: &'a Weight,
    pub(crate) y: &'a Tensor,
    pub(crate) formula: Formula<'a>,
}

/// The formula of a product's kernel, with its further buffers.
#[derive(Clone, Copy)]
pub(crate) enum Formula<'a> {
    /// `y = x w + bias`
    Bias { bias: &'a Tensor },
    /// `y = x w + bias + add`
    BiasAdd { bias: &'a Tensor, add: &'a Tensor },
    /// `pre = x w + bias`, `y = gelu(pre)`
    BiasGelu { bias: &'a Tensor, pre: &'a Tensor, form: Form },
    /// `y = x w`
    Straight,
    /// `y = x w + carry`
    StraightAdd { carry: &'a Tensor },
    /// `y = gelu'(pre) (x w)`
    StraightSlope(Activation<'a>),
    /// `y_dot = gelu'(pre) a`, `y_ddot = gelu'(pre) b + gelu''(pre) a^2`, with `a = x_dot w`, `b = x_ddot w`
    StraightJet(Activation<'a>),
    /// `y = x w^T`
    Transposed,
    /// `y = gelu'(pre) (x w^T)`
    TransposedSlope(Activation<'a>),
    /// Columns of y from `first` on are `x w^T`.
    TransposedPart { first: usize },
}

/// The activation that a derivative passes: its primal input, and the batch rows.
#[derive(Clone, Copy)]
pub(crate) struct Activation<'a> {
    pub(crate) pre: &'a Tensor,
    pub(crate) rows: &'a Tensor,
    pub(crate) form: Form,
}

impl Product<'_> {
    /// Returns the kernel and its buffers in slot order.
    fn kernel(&self) -> (&'static Kernel, Vec<&Tensor>) {
        let (x, w, y) = (self.x, self.w.words(), self.y);
        let kernel = match self.formula {
            Formula::Bias { .. } => &PRIMAL,
            Formula::BiasAdd { .. } => &PRIMAL_ADD,
            Formula::BiasGelu { .. } => &PRIMAL_GELU,
            Formula::Straight => &JVP,
            Formula::StraightAdd { .. } => &JVP_ADD,
            Formula::StraightSlope(_) => &JVP_GELU,
            Formula::StraightJet(_) => &JET_GELU,
            Formula::Transposed => &VJP,
            Formula::TransposedSlope(_) => &VJP_GELU,
            Formula::TransposedPart { .. } => &PART,
        };
        let buffers = match self.formula {
            Formula::Bias { bias } => slots(kernel, shader::primal::Bindings { x, w, bias, y }),
            Formula::BiasAdd { bias, add } => slots(kernel, shader::primal_add::Bindings { x, w, bias, add, y }),
            Formula::BiasGelu { bias, pre, .. } => slots(kernel, shader::primal_gelu::Bindings { x, w, bias, y, pre }),
            Formula::Straight => slots(kernel, shader::jvp::Bindings { x, w, y }),
            Formula::StraightAdd { carry } => slots(kernel, shader::jvp_add::Bindings { x, w, carry, y }),
            Formula::StraightSlope(Activation { pre: pre_saved, rows, .. }) => {
                slots(kernel, shader::jvp_gelu::Bindings { x, w, pre_saved, rows, y })
            }
            Formula::StraightJet(Activation { pre: pre_saved, rows, .. }) => {
                slots(kernel, shader::jet_gelu::Bindings { x, w, pre_saved, rows, y })
            }
            Formula::Transposed => slots(kernel, shader::vjp::Bindings { x, w, y }),
            Formula::TransposedSlope(Activation { pre: pre_saved, rows, .. }) => {
                slots(kernel, shader::vjp_gelu::Bindings { x, w, pre_saved, rows, y })
            }
            Formula::TransposedPart { .. } => slots(kernel, shader::part::Bindings { x, w, wide_y: y }),
        };
        (kernel, buffers)
    }

    /// Whether the weight is used transposed.
    fn is_transposed(&self) -> bool {
        use Formula::{Transposed, TransposedPart, TransposedSlope};
        matches!(self.formula, Transposed | TransposedSlope(_) | TransposedPart { .. })
    }

    /// Returns the GELU of the formula.
    fn gelu(&self) -> Option<Form> {
        use Formula::{BiasGelu, StraightJet, StraightSlope, TransposedSlope};
        match self.formula {
            BiasGelu { form, .. } => Some(form),
            StraightSlope(activation) | StraightJet(activation) | TransposedSlope(activation) => Some(activation.form),
            _ => None,
        }
    }

    /// Records the product, in the selected variant for the device and the shape.
    pub(crate) fn record(&self, rec: &mut Recording) -> Result<()> {
        let lengths = |t: &Tensor| t.shape().lengths();
        let ([rows, k], [a, b], y) = (two(&lengths(self.x)), self.w.lengths(), two(&lengths(self.y)));
        let (inner, n) = if self.is_transposed() { (b, a) } else { (a, b) };
        let first = if let Formula::TransposedPart { first } = self.formula { first } else { 0 };
        if inner != k || y[0] != rows || first + n > y[1] {
            let w = if self.is_transposed() { "transposed " } else { "" };
            let (x, y) = (self.x.shape(), self.y.shape());
            let reason = format!("x {x} by {w}w [k={a}, n={b}] into y {y}");
            return Err(resolvent_engine::Error::shape(NAME, reason));
        }
        let (kernel, buffers) = self.kernel();
        let rounding = self.w.rounds_inputs().then(|| matmul_f16::in_place_of(kernel)).flatten();
        let (kernel, family) = rounding.map_or((kernel, Family::Matmul), |k| (k, Family::MatmulF16));
        // A part of a wider y is written element by element.
        let by_element = matches!(self.formula, Formula::TransposedPart { .. });
        let unit = if self.w.is_f16() { 8 } else { 4 };
        let vectors = k.is_multiple_of(unit) && (n.is_multiple_of(unit) || by_element);
        let variant = tuning::choose(rec.device(), family, Size::of(rows), vectors);
        let packed = self.w.is_f16() && family == Family::Matmul;
        let variant = if packed { tuning::of_f16(variant) } else { variant };
        let number = |name| kernel.shader.variant(variant).and_then(|v| v.number(name)).unwrap_or(1);
        let grid = [(n as u32).div_ceil(number("GROUP_COLS")), (rows as u32).div_ceil(number("GROUP_ROWS")), 1];
        let (r, depth, columns) = (rows as f64, k as f64, n as f64);
        // All buffers but x and w have the shape of y.
        let of_w = self.w.element_bytes() * depth * columns;
        let bytes = of_w + 4.0 * (r * depth + r * columns * (buffers.len() - 2) as f64);
        let [rows, k, n, stride, first] = [rows, k, n, y[1], first].map(|n| n as u32);
        let params = Params { rows, k, n, stride, first, w_is_f16: u32::from(self.w.is_f16()) };
        let mut launch = Launch::new(kernel, params.words(), &buffers, grid).variant(variant);
        if let Some(form) = self.gelu() {
            launch = launch.constants(&form.constants());
        }
        rec.launch(launch.work(2.0 * r * depth * columns, bytes))
    }
}

fn two(lengths: &[usize]) -> [usize; 2] {
    [lengths[0], lengths[1..].iter().product()]
}

/// Writes `x w^T` to the columns of `y` from `first` on: all logits of a part of the vocabulary.
pub(crate) fn part_into(rec: &mut Recording, x: &Tensor, w: &Weight, y: &Tensor, first: usize) -> Result<()> {
    Product { x, w, y, formula: Formula::TransposedPart { first } }.record(rec)
}

/// Returns `x w`, plus `add` if given.
pub(crate) fn product(rec: &mut Recording, x: &Tensor, w: &Weight, add: Option<&Tensor>) -> Result<Tensor> {
    let [_, n] = w.lengths();
    let y = rec.tensor("matmul.dot", &[("rows", x.shape().lengths()[0]), ("n", n)])?;
    let formula = add.map_or(Formula::Straight, |carry| Formula::StraightAdd { carry });
    Product { x, w, y: &y, formula }.record(rec)?;
    Ok(y)
}

/// Returns `y_bar w^T`, the vjp of `x w`.
pub(crate) fn transposed_product(rec: &mut Recording, y_bar: &Tensor, w: &Weight) -> Result<Tensor> {
    let [k, _] = w.lengths();
    let x_bar = rec.tensor("matmul.bar", &[("rows", y_bar.shape().lengths()[0]), ("k", k)])?;
    Product { x: y_bar, w, y: &x_bar, formula: Formula::Transposed }.record(rec)?;
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
        let bias = &self.bias;
        let formula = match self.add {
            true => Formula::BiasAdd { bias, add: inputs[1] },
            false => Formula::Bias { bias },
        };
        Product { x, w, y: &y, formula }.record(rec)?;
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
static PRIMAL_GELU: Kernel = Kernel { shader: &shader::PRIMAL_GELU, host: primal_gelu::<false> };
static JVP_GELU: Kernel = Kernel { shader: &shader::JVP_GELU, host: jvp_gelu };
static VJP_GELU: Kernel = Kernel { shader: &shader::VJP_GELU, host: vjp_gelu };
static JET_GELU: Kernel = Kernel { shader: &shader::JET_GELU, host: jet_gelu };

/// This op's kernels.
pub static KERNELS: &[&Kernel] =
    &[&PRIMAL, &PRIMAL_ADD, &PRIMAL_GELU, &JVP, &JVP_ADD, &JVP_GELU, &JET_GELU, &VJP, &VJP_GELU, &PART];
