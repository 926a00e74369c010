//! One module an operation: shapes, the residuals that it keeps, launches of primal, jvp, jet, vjp and hvp, host
//! bodies.
//!
//! An [`Op`] appends launches to a recording and never waits. Tangents (`x_dot`), jets (`x_dot` and `x_ddot`),
//! cotangents (`x_bar`) and their tangents (hvp) come in ragged batches ([`Rows`]): K of them share one primal, each
//! owning the rows that its source can reach.
//!
//! | op | primal | jvp, jet | vjp, hvp | residuals |
//! |---|---|---|---|---|
//! | [`embed`] | gather of token and position rows | none: they start from h\[0\] | none | none |
//! | [`layer_norm`] | fused | fused | fused, with the residual path's add | input, mean and 1/std |
//! | [`rms_norm`] | fused, over segments of a row | fused | fused, with the residual path's add | input and 1/rms |
//! | [`norm_scale`] | centred row and its scale | fused | fused | output |
//! | [`divide`] | centred row by its scale | fused | fused | input |
//! | [`gain`] | gain and bias | without bias | same kernel as jvp | none |
//! | [`matmul`] | with bias, GELU or residual add | same kernel | transposed kernel | none |
//! | [`mlp`] | two products, GELU fused | GELU' (and GELU'') fused | GELU' fused, in hvp a launch | the pre-activation |
//! | [`attention`] | fused, online softmax | fused | fused, two launches and three | q, k, v, z, log-sum-exp |
//! | [`attention_edit`] | again for heads with edits | the same | the same, in three launches | those of attention |
//! | [`gelu`] | pointwise | pointwise | pointwise | input |
//! | [`gate`] | pointwise: act(a) b | pointwise | pointwise | input |
//! | [`rope`] | turns by the token | same kernel | turns back | none |
//! | [`observe`] | scalars of a row through its softmax | second derivative along a tangent | slope, its tangents | log p |
//! | [`softcap`] | pointwise, on logits | slope | slope, second derivative | none |
//! | [`unembed`] | wanted rows and entries | same kernel | weighted rows | none |
//! | [`add`] | residual add | same kernel | no launch | none |
//! | [`columns`] | some columns of each row | same kernel | zeros beside them | none |
//! | [`splice`] | joins and edits | same kernel, linear parts of edits | same kernel | the plan |

mod accumulate;
pub mod add;
mod arguments;
pub mod attention;
pub mod attention_edit;
mod attention_second;
pub mod columns;
pub mod divide;
pub mod embed;
pub mod gain;
pub mod gate;
pub mod gelu;
mod host;
pub mod layer_norm;
mod linear;
pub mod matmul;
mod matmul_f16;
pub mod mlp;
pub mod norm_scale;
pub mod observe;
mod op;
pub mod peak;
pub mod rms_norm;
pub mod rope;
mod rows;
pub mod softcap;
pub mod splice;
pub mod tuning;
pub mod unembed;
mod weight;

pub use linear::Linear;
pub use op::{Frozen, HvpResiduals, Nonlinear, Op, Outcome, Paired, Residuals, SecondOrder};
pub use rows::{Rows, Span};
pub use weight::Weight;

use resolvent_engine::Kernel;

/// Every kernel of this crate: what the tests compare, the self-test runs and the bench times.
pub fn kernels() -> Vec<&'static Kernel> {
    [add::KERNELS, attention::KERNELS, attention_second::KERNELS, embed::KERNELS, gate::KERNELS, gelu::KERNELS]
        .into_iter()
        .chain([attention_edit::KERNELS, columns::KERNELS, layer_norm::KERNELS, matmul::KERNELS, matmul_f16::KERNELS])
        .chain([
            divide::KERNELS,
            gain::KERNELS,
            norm_scale::KERNELS,
            observe::KERNELS,
            peak::KERNELS,
            rms_norm::KERNELS,
            rope::KERNELS,
            softcap::KERNELS,
            splice::KERNELS,
            unembed::KERNELS,
        ])
        .flatten()
        .copied()
        .collect()
}

/// Workgroups of 64 invocations for `n` items, as a grid and its width: one dimension ends at 65 535 groups.
fn flat_grid(n: usize) -> ([u32; 3], u32) {
    let groups = n.div_ceil(64) as u32;
    let width = groups.min(32_768);
    ([width, groups.div_ceil(width.max(1)), 1], width)
}
