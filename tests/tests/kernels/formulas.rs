//! The ops as functions of their flat inputs, from the reference's formulas.

use resolvent_ops::attention_edit::EditedHead;
use resolvent_reference::ops::{KeyEdit, Keys};
use resolvent_reference::{Scalar, ops};
use resolvent_tests::truth::{Function, constants, wide};

pub(crate) use ops::{Frozen, GeluForm};

/// Returns the form of GELU that `exact` selects.
pub(crate) fn form(exact: bool) -> GeluForm {
    if exact { GeluForm::Erf } else { GeluForm::Tanh }
}

/// Returns `y + residual`, if there is a residual.
fn onto<S: Scalar>(y: Vec<S>, residual: &[S]) -> Vec<S> {
    if residual.is_empty() { y } else { ops::add(&y, residual) }
}

/// Layer norm `[rows, d] -> [rows, d]`.
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

/// RMS norm `[rows, n] -> [rows, n]` over segments (first column, width).
pub(crate) struct RmsNorm {
    pub(crate) gain: Vec<f64>,
    pub(crate) segments: Vec<(usize, usize)>,
    pub(crate) eps: f32,
    pub(crate) frozen: Frozen,
}

impl Function for RmsNorm {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        let segments: Vec<_> = self.segments.iter().map(|&(start, width)| start..start + width).collect();
        ops::rms_norm(x, &constants(&self.gain), &segments, f64::from(self.eps), self.frozen)
    }
}

/// Centred rows with their scales, `[rows, d] -> [rows, d + 1]`.
pub(crate) struct NormScale {
    pub(crate) d: usize,
    pub(crate) form: (bool, f64),
    pub(crate) frozen: Frozen,
}

impl Function for NormScale {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        ops::norm_scale(x, self.d, self.form, self.frozen)
    }
}

/// Rows divided by their last column, `[rows, d + 1] -> [rows, d]`.
pub(crate) struct Divide(pub(crate) usize);

impl Function for Divide {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        ops::divide(x, self.0)
    }
}

/// Gain and bias, `[rows, d] -> [rows, d]`.
pub(crate) struct Gain {
    pub(crate) gain: Vec<f64>,
    pub(crate) bias: Vec<f64>,
}

impl Function for Gain {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        ops::gain(x, &constants(&self.gain), &constants(&self.bias))
    }
}

/// GELU `[rows, n] -> [rows, n]`.
pub(crate) struct Gelu(pub(crate) GeluForm, pub(crate) Frozen);

impl Function for Gelu {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        ops::gelu(x, self.0, self.1)
    }
}

/// Sum `[rows, d], [rows, d] -> [rows, d]`.
pub(crate) struct Add;

impl Function for Add {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        let (a, b) = x.split_at(x.len() / 2);
        ops::add(a, b)
    }
}

/// The columns `first .. first + n` of rows of `width` elements.
pub(crate) struct Columns(pub(crate) resolvent_ops::columns::Columns);

impl Function for Columns {
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S> {
        let resolvent_ops::columns::Columns { width, first, n } = self.0;
        ops::columns(x, width, first..first + n)
    }
}

/// Weight `[k, n]` and bias `[n]` of a product, in f64.
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

/// Product `[rows, k] (, [rows, n]) -> [rows, n]`, with an optional residual.
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

/// MLP `[rows, d] (, [rows, d]) -> [rows, d]`, with an optional residual.
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

/// Attention over consecutive prompts, `[rows, row] -> [rows, heads d_head]`.
pub(crate) struct Attention {
    pub(crate) prompts: Vec<usize>,
    pub(crate) op: resolvent_ops::attention::Attention,
}

/// The same, with edits of the scores and weights of some heads of rows.
pub(crate) struct EditedAttention {
    pub(crate) attention: Attention,
    pub(crate) edited: Vec<EditedHead>,
}

impl Function for EditedAttention {
    fn at<S: Scalar>(&self, qkv: &[S]) -> Vec<S> {
        self.attention.edited(qkv, &mut |keys, [row, head], x: &mut [S]| {
            let here = |edited: &&EditedHead| edited.row == row && edited.head == head;
            let Some(edited) = self.edited.iter().find(here) else { return };
            for (x, map) in x.iter_mut().zip(&edited.maps) {
                let [factor, add] = match keys {
                    Keys::Scores => map.score,
                    Keys::Weights => map.weight,
                };
                // Keys outside of a window have no edits, and scores that are not finite.
                if [factor, add] != [1.0, 0.0] {
                    *x = S::from_f64(f64::from(factor)) * *x + S::from_f64(f64::from(add));
                }
            }
        })
    }
}

impl Function for Attention {
    fn at<S: Scalar>(&self, qkv: &[S]) -> Vec<S> {
        self.edited(qkv, &mut |_, _, _| ())
    }
}

impl Attention {
    /// Computes z, where `edit` also gets the row of the query, and its head.
    fn edited<S: Scalar>(&self, qkv: &[S], edit: &mut KeyEdit<'_, S>) -> Vec<S> {
        let op = &self.op;
        let heads = ops::Heads {
            count: op.heads,
            keys: op.kv_heads,
            width: op.d_head,
            scale: f64::from(op.scale),
            cap: op.cap.map(f64::from),
            window: op.window,
        };
        let frozen = Frozen { pattern: op.frozen, ..Frozen::default() };
        let (mut z, mut rest) = (Vec::new(), qkv);
        for tokens in &self.prompts {
            let (prompt, after) = rest.split_at(tokens * op.row());
            let first = z.len() / (op.heads * op.d_head);
            let mut edit = |keys: Keys, [head, t]: [usize; 2], x: &mut [S]| edit(keys, [first + t, head], x);
            z.extend(ops::edited_attention(prompt, heads, frozen, &mut edit));
            rest = after;
        }
        z
    }
}
