//! The ops as functions of their flat inputs, from the reference's formulas.

use resolvent_reference::{Scalar, ops};
use resolvent_tests::truth::{Function, constants, wide};

pub(crate) use ops::{Frozen, GeluForm};

/// The form that `exact` means.
pub(crate) fn form(exact: bool) -> GeluForm {
    if exact { GeluForm::Erf } else { GeluForm::Tanh }
}

/// `y + residual`, where there is one.
fn onto<S: Scalar>(y: Vec<S>, residual: &[S]) -> Vec<S> {
    if residual.is_empty() { y } else { ops::add(&y, residual) }
}

/// `[rows, d] -> [rows, d]`
pub(crate) struct LayerNorm {
    pub(crate) gain: Vec<f64>,
    pub(crate) bias: Vec<f64>,
    pub(crate) eps: f32,
    pub(crate) frozen: Frozen,
}

impl Function for LayerNorm {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        let eps = f64::from(self.eps);
        ops::layer_norm(x, &constants(&self.gain), &constants(&self.bias), eps, self.frozen)
    }
}

/// `[rows, n] -> [rows, n]`
pub(crate) struct Gelu(pub(crate) GeluForm, pub(crate) Frozen);

impl Function for Gelu {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        ops::gelu(x, self.0, self.1)
    }
}

/// `[rows, d], [rows, d] -> [rows, d]`
pub(crate) struct Add;

impl Function for Add {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        let (a, b) = x.split_at(x.len() / 2);
        ops::add(a, b)
    }
}

/// A product's weight `[k, n]` and bias `[n]`, in f64.
pub(crate) struct Affine {
    pub(crate) w: Vec<f64>,
    pub(crate) bias: Vec<f64>,
}

impl Affine {
    pub(crate) fn new(w: &[f32], bias: &[f32]) -> Self {
        Self { w: wide(w), bias: wide(bias) }
    }

    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        ops::matmul(x, &constants(&self.w), &constants(&self.bias))
    }

    fn k(&self) -> usize {
        self.w.len() / self.bias.len()
    }
}

/// `[rows, k] (, [rows, n]) -> [rows, n]`
pub(crate) struct Matmul {
    pub(crate) product: Affine,
    pub(crate) rows: usize,
}

impl Function for Matmul {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        let (x, residual) = x.split_at(self.rows * self.product.k());
        onto(self.product.at(x), residual)
    }
}

/// `[rows, d] (, [rows, d]) -> [rows, d]`
pub(crate) struct Mlp {
    pub(crate) fc: Affine,
    pub(crate) proj: Affine,
    pub(crate) form: GeluForm,
    pub(crate) frozen: Frozen,
    pub(crate) rows: usize,
}

impl Function for Mlp {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        let (x, residual) = x.split_at(self.rows * self.fc.k());
        onto(self.proj.at(&ops::gelu(&self.fc.at(x), self.form, self.frozen)), residual)
    }
}

/// Prompts that follow one another, `[rows, 3d] -> [rows, d]`
pub(crate) struct Attention {
    pub(crate) prompts: Vec<usize>,
    pub(crate) heads: usize,
    pub(crate) width: usize,
    pub(crate) scale: f32,
    pub(crate) frozen: Frozen,
}

impl Function for Attention {
    fn at<S: Scalar>(&self, qkv: &[S]) -> Vec<S> {
        let heads = ops::Heads { count: self.heads, width: self.width, scale: f64::from(self.scale) };
        let (mut z, mut rest) = (Vec::new(), qkv);
        for tokens in &self.prompts {
            let (prompt, after) = rest.split_at(tokens * 3 * self.heads * self.width);
            z.extend(ops::attention(prompt, heads, self.frozen));
            rest = after;
        }
        z
    }
}
