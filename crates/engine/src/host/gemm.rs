//! Matrix products on the host, by the faster well-kept SIMD crate for the shape.
//!
//! Measured with two threads on a Zen 4 server at 3072x768 (GFLOP/s at 16 / 64 / 256 / 1024 rows): `gemm` 0.19
//! 112 / 122 / 237 / 254, `matrixmultiply` 0.3 with threads 69 / 186 / 325 / 389.

use gemm::Parallelism;

/// A right-hand operand stored row-major: `[k, n]`, or `[n, k]` to be used transposed.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// The numbers, row-major.
    pub data: &'a [f32],
    /// Whether `data` is `[n, k]`.
    pub transposed: bool,
}

/// Row count from which `matrixmultiply` is the faster of the two.
const MANY_ROWS: usize = 48;

/// `y = x w + beta y` for `x: [m, k]`, `w: [k, n]` (or its transpose) and `y: [m, n]`, all row-major.
///
/// # Panics
/// If a slice is shorter than its shape: the callers are kernels, whose bindings were checked.
pub fn matmul([m, k, n]: [usize; 3], x: &[f32], w: Weights<'_>, beta: f32, y: &mut [f32]) {
    assert!(x.len() >= m * k && w.data.len() >= k * n && y.len() >= m * n, "operands hold [{m}, {k}, {n}]");
    let (row, col) = if w.transposed { (1, k as isize) } else { (n as isize, 1) };
    let (k_stride, n_stride) = (k as isize, n as isize);
    if m >= MANY_ROWS {
        // SAFETY: the assertion above bounds every access: element (i, j) of an operand lies at
        // i * row stride + j * column stride, below the product of its dimensions. `y` is exclusive.
        unsafe {
            matrixmultiply::sgemm(
                m,
                k,
                n,
                1.0,
                x.as_ptr(),
                k_stride,
                1,
                w.data.as_ptr(),
                row,
                col,
                beta,
                y.as_mut_ptr(),
                n_stride,
                1,
            );
        }
    } else {
        let threads = Parallelism::Rayon(0);
        // SAFETY: as above; strides are given as (column, row).
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                y.as_mut_ptr(),
                1,
                n_stride,
                beta != 0.0,
                x.as_ptr(),
                1,
                k_stride,
                w.data.as_ptr(),
                col,
                row,
                beta,
                1.0,
                false,
                false,
                false,
                threads,
            );
        }
    }
}
