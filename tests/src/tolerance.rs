//! Every tolerance of the tests, with its derivation. All are relative errors in the L2 norm unless noted otherwise.
//!
//! Rounding is modelled as independent relative errors of variance `U^2 / 3` for each operation. The partial sums of k
//! random terms grow as the square root of their number. So the relative error of the sum is about `U sqrt(k / 6)` if
//! terms are added one by one, and less in lanes. `FACTOR` covers effects outside of the model: correlated errors, and
//! fused multiply-adds on one side only. Each tolerance lists the measured errors.

use crate::op_check::Allowed;
use crate::truth::inner;

/// Half the distance from 1 to the next f32.
pub const U: f64 = 1.0 / (1u64 << 24) as f64;

const FACTOR: f64 = 4.0;

/// One rounding for each element, as in a sum of two.
pub const POINTWISE: f64 = FACTOR * U;

/// `<u, J v>` against `<J^T u, v>`.
///
/// Both sides round like the op. The error is relative to a product of random vectors, which is smaller than the
/// product of their sizes by the square root of their length. The documentation guarantees this figure. Measured:
/// 5.5e-7, and 1.6e-6 for attention with scores of sixty.
pub const ADJOINT: f64 = 1e-5;

/// Returns the tolerance of a dot product of `k` random terms.
pub fn product(k: usize) -> f64 {
    FACTOR * U * (1.0 + (k as f64 / 6.0).sqrt())
}

/// Layer norm, for rows of any length.
///
/// The error of a mean is smaller than that of its terms by the root of their number. About four roundings for each
/// element remain; in the second order of a jet, three such terms and their products. The vjp projects two directions
/// out of a row. If the row has only three elements, the remainder is small and its relative error large. Measured:
/// 5.4e-8, 1.0e-7, 2.1e-7, 4.3e-7.
pub const LAYER_NORM: Allowed = Allowed { primal: 8.0 * U, jvp: 8.0 * U, jet: 16.0 * U, vjp: 16.0 * U };

/// RMS norm, for segments of any width.
///
/// As for layer norm, the error of a mean is smaller than that of its terms, and about four roundings for each element
/// remain. The derivatives project one direction out of a segment, which leaves little of a narrow one: the tests give
/// segments of one or two columns a large eps. Measured: 8.2e-8, 7.8e-8, 1.6e-7, 2.2e-7.
pub const RMS_NORM: Allowed = Allowed { primal: 8.0 * U, jvp: 8.0 * U, jet: 16.0 * U, vjp: 16.0 * U };

/// Centred rows and their scales: as [`RMS_NORM`], with a projection less.
pub const NORM_SCALE: Allowed = Allowed { primal: 8.0 * U, jvp: 8.0 * U, jet: 16.0 * U, vjp: 8.0 * U };

/// Rows divided by scales of any size: up to six roundings for each element. The cotangent of a scale is a dot product
/// of two rows, divided by the scale: the smallest scale determines the norm of the result, and its dot product may
/// cancel. Measured in vjp: 1.3e-6.
pub const DIVIDE: Allowed = Allowed { primal: 4.0 * U, jvp: 8.0 * U, jet: 16.0 * U, vjp: 64.0 * U };

/// GELU of normal inputs: about six roundings, including those of `exp`. Measured: 5.5e-8, 1.0e-7, 1.6e-7, 1.9e-7.
pub const GELU: Allowed = Allowed { primal: 8.0 * U, jvp: 8.0 * U, jet: 8.0 * U, vjp: 8.0 * U };

/// A gate: the activation as [`GELU`], and up to four products and sums of it.
pub const GATE: Allowed = Allowed { primal: 8.0 * U, jvp: 12.0 * U, jet: 16.0 * U, vjp: 12.0 * U };

/// A rotary embedding: cosine and sine are composed of two rounded factors each, then two products and a sum.
pub const ROPE: Allowed = Allowed { primal: 6.0 * U, jvp: 6.0 * U, jet: 6.0 * U, vjp: 6.0 * U };

/// A soft-cap: a hyperbolic tangent, a slope with its exponential, and up to four products; sums over a row.
pub const SOFTCAP: f64 = 16.0 * U;

/// Returns the tolerances of `x w` with `w [k, n]`. Measured at k = 768: 2.1e-7 in lanes and in pieces of k, 5.6e-7 one
/// by one; the tolerance is 2.9e-6.
pub fn matmul(k: usize, n: usize) -> Allowed {
    Allowed { primal: product(k), jvp: product(k), jet: product(k), vjp: product(n) }
}

/// Returns the tolerances of an MLP: two products and a GELU; a jet squares the first product. Measured: 1.6e-7,
/// 2.8e-7, 3.5e-7 of 2.4e-6; 3.1e-7 of 3.1e-6.
pub fn mlp(d: usize, inner: usize) -> Allowed {
    let one = product(d) + product(inner) + GELU.primal;
    Allowed { primal: one, jvp: one, jet: one + product(d), vjp: one }
}

/// Returns the tolerances of attention over `rows` tokens.
///
/// A score of `d_head` terms is an exponent, so its absolute error of about `U sqrt(d_head / 6)` is a relative error of
/// the weight. The sums over tokens follow. The derivatives multiply weights and scores; in the second order, too, the
/// weights have the largest errors. Measured: 2.5e-7 of 2.4e-6; 3.0e-7, 4.2e-7 and 8.6e-7 of 3.6e-6.
pub fn attention(rows: usize, d_head: usize) -> Allowed {
    let one = product(d_head) + product(rows);
    Allowed { primal: one, jvp: 2.0 * one, jet: 2.0 * one, vjp: 2.0 * one }
}

/// Returns the tolerances of attention whose scores, and therefore their absolute errors, are `scale sqrt(d_head)`
/// times larger than usual. Measured for scores of sixty: 9.0e-7 of 3.3e-5; 4.7e-6, 5.8e-6 and 2.1e-5 of 6.5e-5.
pub fn sharp_attention(rows: usize, d_head: usize, scale: f64) -> Allowed {
    let (usual, larger) = (attention(rows, d_head), scale * (d_head as f64).sqrt());
    let [primal, jvp, jet, vjp] = [usual.primal, usual.jvp, usual.jet, usual.vjp].map(|one| larger * one);
    Allowed { primal, jvp, jet, vjp }
}

/// Returns the tolerance of up to five edits of a row, each a product of at most `d` terms. Measured: 7.8e-8 of 6.7e-7.
pub fn splice(d: usize) -> f64 {
    2.0 * product(d)
}

/// Returns the typical size of `<a, b>` for random vectors: the product of their sizes over the root of their length.
pub fn typical(a: &[f64], b: &[f64]) -> f64 {
    (inner(a, a) * inner(b, b) / a.len() as f64).sqrt()
}

/// Scalars of a row of logits through its softmax, their slopes and second derivatives.
///
/// The absolute error of log p is that of a difference of logits of about 30, `32 U` at most, and it is the relative
/// error of p. Means subtract and products follow. Measured: 4.1e-6 along a random direction at V = 50 257.
pub const OBSERVE: f64 = 128.0 * U;

/// GELU, its slope and its second derivative on a grid; absolute below 1 and relative above.
///
/// Half an ulp of 1 is `U`. The functions need about eight operations on values of order one, and `exp` may add an
/// error of a few ulp. Measured: 2.0e-7.
pub const GELU_ON_A_GRID: f64 = 8.0 * U;

/// A whole model of a few blocks against f64.
///
/// Each of about ten operations of a block has an error of a few 1e-7 at most, and derivatives multiply these errors.
/// The self-test of an adapter uses the same tolerance between two executors. Measured: 4.9e-7 for values, 1.7e-6 for
/// derivatives, and 7.5e-6 for a slope that is a small difference of large terms.
pub const MODEL: f64 = 2e-5;

/// Derivatives of models of other families against f64: they multiply more errors, those of norms of queries, rotations
/// and gates too. Measured: 2.1e-5 for a slope that is a small difference of large terms.
pub const DERIVATIVES: f64 = 5e-5;

/// Second derivatives of models of other families along one source, relative to themselves: a small difference of large
/// terms, as in [`DERIVATIVES`], with the squares of tangents among them.
pub const SECOND_OF_FAMILIES: f64 = 1e-3;

/// Both orders of a whole model's jets against f64, and Hessian-vector products.
///
/// The second order multiplies two tangents and a curvature, each with the error of a tangent. Measured: 1.2e-6 and
/// 9.5e-6. Hessian-vector products have as many factors. Measured: 2.5e-6.
pub const JETS: f64 = 2.0 * MODEL;

/// A value of a batch against the same prompt run alone, on one executor: the products may be split differently.
/// Measured: 1.9e-6 for effects, which are differences.
pub const ALONE: f64 = 1e-5;

/// A tangent or a cotangent of a batch against the same one alone: on the host, products of few rows sum in another
/// order than those of many. Measured: 1.3e-6.
pub const BATCH: f64 = 4e-6;

/// Two executors whose products round their inputs to f16.
///
/// If their inputs differ by a few times `U` near the midpoint of two f16 values, they round to different values, 2^-11
/// apart. Measured over eight tokens and two blocks, where this did not happen: 5.8e-8.
pub const ROUNDED: f64 = 5e-5;
