//! Every tolerance of the tests, with its derivation. All are relative errors in the L2 norm unless they say otherwise.
//!
//! Rounding is modelled as independent relative errors of variance `U^2 / 3` an operation. A sum of k random terms
//! has partial sums that grow as the square root of their number, so its relative error is about `U sqrt(k / 6)`
//! added one by one, and less in lanes. `FACTOR` covers what the model leaves out: correlated errors, and fused
//! multiply-adds that one side has and the other has not. What was measured is written beside what is allowed.

/// Half the distance from 1 to the next f32.
pub const U: f64 = 1.0 / (1u64 << 24) as f64;

const FACTOR: f64 = 4.0;

/// One rounding an element, as in a sum of two.
pub const POINTWISE: f64 = FACTOR * U;

/// `<u, J v>` against `<J^T u, v>`: both sides round like the op, against a product of random vectors that is itself
/// smaller than the vectors' sizes by the square root of their length. The project's own promise.
pub const ADJOINT: f64 = 1e-5;

/// A dot product of `k` random terms.
pub fn product(k: usize) -> f64 {
    FACTOR * U * (1.0 + (k as f64 / 6.0).sqrt())
}

use crate::plan::Allowed;

/// Layer norm over `d` numbers: two sums of `d` terms, and a difference from the mean.
pub fn layer_norm(d: usize) -> Allowed {
    let one = product(d) * 4.0;
    Allowed { primal: one, jvp: one, vjp: one }
}

/// GELU of normal numbers.
pub const GELU: Allowed = Allowed { primal: 8.0 * U, jvp: 8.0 * U, vjp: 8.0 * U };

/// `x w` with `w [k, n]`.
pub fn matmul(k: usize, n: usize) -> Allowed {
    Allowed { primal: product(k), jvp: product(k), vjp: product(n) }
}

/// Two products and a GELU.
pub fn mlp(d: usize, inner: usize) -> Allowed {
    let one = product(d) + product(inner) + GELU.primal;
    Allowed { primal: one, jvp: one, vjp: one }
}
