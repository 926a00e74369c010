//! Matrix products on the host, by the fastest maintained SIMD crate for the processor and the shape.
//!
//! Up to [`FEW_ROWS`] rows, [`skinny`] of this crate computes the product. Measured with two threads on a Zen 4 server,
//! in one process, weights in the cache (GFLOP/s, straight 768x3072 | transposed):
//!
//! | rows | `private-gemm-x86` 0.1.22 | `gemm` 0.19 | `matrixmultiply` 0.3 |
//! |---|---|---|---|
//! | 1 | 18 \| 6 | 30 \| 28 | 3 \| 2 |
//! | 16 | 183 \| 52 | 76 \| 71 | 38 \| 23 |
//! | 64 | 168 \| 118 | 96 \| 133 | 108 \| 66 |
//! | 256 | 184 \| 185 | 186 \| 155 | 159 \| 138 |
//!
//! faer multiplies with `private-gemm-x86`, which supports x86 only.
//!
//! The bits of a row of y do not depend on how many rows there are, so a prompt has the same numbers in any batch. For
//! `y = x w`, both [`skinny`] and the crates sum along k in order, one fused multiply-add a step. The crates add the
//! sums of blocks of k, whose size they choose, so they get [`DEPTH`] of k at a time. Transposed weights are for
//! [`skinny`] alone: it sums k in the lanes of a vector, which the crates do not.

use std::cell::RefCell;

use gemm::Parallelism;
use half::slice::HalfFloatSliceExt as _;
use rayon::prelude::*;

use super::skinny;
use super::weights::{DEPTH, Elements, Weights};

/// Largest row count for which [`skinny`] computes the product.
const FEW_ROWS: usize = 40;

/// Rows of x that [`skinny`] multiplies with transposed weights at a time: they stay in the L2 cache.
const BLOCK_ROWS: usize = 64;

thread_local! {
    /// One f16 weight, widened for the crates that multiply many rows.
    static WIDENED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Elements that a thread widens at a time.
const WIDEN: usize = 1 << 15;

/// One product with its strides: `y = x w + beta y`, beta 0 or 1.
struct Call<'a> {
    shape: [usize; 3],
    x: &'a [f32],
    w: &'a [f32],
    /// Distance between rows of x.
    x_stride: usize,
    accumulate: bool,
    y: &'a mut [f32],
}

/// Computes `y = x w`, or `y += x w`, for `x: [m, k]`, `w: [k, n]` (or its transpose) and `y: [m, n]`, all row-major.
///
/// # Panics
/// If a slice is shorter than its shape. The callers are kernels, and a launch checks its bindings before it runs.
pub fn matmul(shape: [usize; 3], x: &[f32], w: Weights<'_>, accumulate: bool, y: &mut [f32]) {
    let [m, k, n] = shape;
    assert!(x.len() >= m * k && w.elements.len() >= k * n && y.len() >= m * n, "operands shorter than [{m}, {k}, {n}]");
    if w.transposed {
        for (x, y) in x[..m * k].chunks(BLOCK_ROWS * k).zip(y.chunks_mut(BLOCK_ROWS * n)) {
            skinny::product([x.len() / k, k, n], x, w, accumulate, y);
        }
        return;
    }
    if m <= FEW_ROWS {
        return skinny::product(shape, x, w, accumulate, y);
    }
    let mut run = |w: &[f32]| in_blocks(shape, (x, w), accumulate, y, dispatch);
    match w.elements {
        Elements::F32(elements) => run(elements),
        Elements::F16(packed) => WIDENED.with_borrow_mut(|wide| {
            wide.resize(k * n, 0.0);
            let chunks = wide.par_chunks_mut(WIDEN).zip(packed[..k * n].par_chunks(WIDEN));
            chunks.for_each(|(wide, packed)| packed.convert_to_f32_slice(wide));
            run(wide);
        }),
    }
}

/// Computes a product of untransposed weights, [`DEPTH`] of k at a time.
fn in_blocks([m, k, n]: [usize; 3], (x, w): (&[f32], &[f32]), accumulate: bool, y: &mut [f32], run: impl Fn(Call<'_>)) {
    for from in (0..k).step_by(DEPTH) {
        let shape = [m, DEPTH.min(k - from), n];
        let accumulate = accumulate || from > 0;
        run(Call { shape, x: &x[from..], w: &w[from * n..], x_stride: k, accumulate, y: &mut *y });
    }
}

fn dispatch(mut call: Call<'_>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(instructions) = x86::instructions() {
        return x86::run(&mut call, instructions);
    }
    portable(&mut call);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use private_gemm_x86::{Accum, DType, DstKind, IType, InstrSet, gemm};

    use super::Call;

    /// Returns the widest instructions that both the crate and the processor support.
    pub(super) fn instructions() -> Option<InstrSet> {
        if is_x86_feature_detected!("avx512f") {
            return Some(InstrSet::Avx512);
        }
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(InstrSet::Avx256)
    }

    pub(super) fn run(call: &mut Call<'_>, instructions: InstrSet) {
        let [m, k, n] = call.shape;
        let (alpha, none) = (1.0f32, std::ptr::null());
        let beta = if call.accumulate { Accum::Add } else { Accum::Replace };
        let (x, w, y) = (call.x.as_ptr().cast(), call.w.as_ptr().cast(), call.y.as_mut_ptr().cast());
        // SAFETY: `matmul` has checked the lengths of the slices against the shape. This bounds every access: element
        // (i, j) of an operand lies at i * row stride + j * column stride. `y` is exclusive. alpha is an f32, as the
        // type argument says. The index and diagonal pointers are unused (null). The processor has the instructions.
        unsafe {
            gemm(
                DType::F32,
                IType::U64,
                instructions,
                m,
                n,
                k,
                y,
                n as isize,
                1,
                none,
                none,
                DstKind::Full,
                beta,
                x,
                call.x_stride as isize,
                1,
                false,
                none,
                0,
                w,
                n as isize,
                1,
                false,
                std::ptr::from_ref(&alpha).cast(),
                rayon::current_num_threads(),
            );
        }
    }
}

/// Row count from which `matrixmultiply` is faster than `gemm`.
const MANY_ROWS: usize = 512;

fn portable(call: &mut Call<'_>) {
    let [m, k, n] = call.shape;
    let (x_stride, n_stride) = (call.x_stride as isize, n as isize);
    let beta = if call.accumulate { 1.0 } else { 0.0 };
    let (x, w, y) = (call.x.as_ptr(), call.w.as_ptr(), call.y.as_mut_ptr());
    if m >= MANY_ROWS {
        // SAFETY: `matmul` has checked the lengths of the slices against the shape. This bounds every access: element
        // (i, j) of an operand lies at i * row stride + j * column stride. `y` is exclusive.
        unsafe {
            matrixmultiply::sgemm(m, k, n, 1.0, x, x_stride, 1, w, n_stride, 1, beta, y, n_stride, 1);
        }
    } else {
        let (read, threads) = (call.accumulate, Parallelism::Rayon(0));
        // SAFETY: as above; strides are given as (column, row).
        unsafe {
            gemm::gemm(
                m, n, k, y, 1, n_stride, read, x, 1, x_stride, w, 1, n_stride, beta, 1.0, false, false, false, threads,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    /// Every crate and form of a product, at shapes on both sides of each bound.
    #[test]
    fn all_crates_agree_with_the_sum() {
        let odd = [(1, 7, 5), (2, 33, 17), (31, 70, 90), (40, 9, 130), (97, 31, 19), (520, 9, 6)];
        let whole = [(1, 8, 8), (5, 16, 40), (17, 56, 136), (40, 72, 1000), (50, 16, 24)];
        for (m, k, n) in odd.into_iter().chain(whole) {
            let number = |i: usize| ((i * 37) % 19) as f32 - 9.0;
            let x: Vec<f32> = (0..m * k).map(number).collect();
            for transposed in [false, true] {
                let data: Vec<f32> = (0..k * n).map(|i| number(i + 5)).collect();
                let w = |i: usize, j: usize| if transposed { data[j * k + i] } else { data[i * n + j] };
                for accumulate in [false, true] {
                    let mut y = vec![if accumulate { 3.0 } else { f32::NAN }; m * n];
                    let start = if accumulate { 3.0 } else { 0.0 };
                    let want: Vec<f32> = (0..m * n)
                        .map(|at| start + (0..k).map(|i| x[at / n * k + i] * w(i, at % n)).sum::<f32>())
                        .collect();
                    let mut y_f16 = y.clone();
                    let w = Weights { elements: Elements::F32(&data), transposed };
                    matmul([m, k, n], &x, w, accumulate, &mut y);
                    // The values are small integers: they are exact in f16, and every sum is exact in any order.
                    assert_eq!(y, want, "{m} {k} {n} transposed {transposed} accumulate {accumulate}");
                    // Rows of f16 elements have an even length.
                    if (if transposed { k } else { n }) % 2 == 0 {
                        let packed: Vec<f16> = data.iter().map(|&x| f16::from_f32(x)).collect();
                        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&packed);
                        let elements = Elements::F16(bytemuck::cast_slice(&words));
                        matmul([m, k, n], &x, Weights { elements, transposed }, accumulate, &mut y_f16);
                        assert_eq!(y_f16, want, "f16 {m} {k} {n} {transposed} {accumulate}");
                    }
                    if !transposed {
                        let mut y = vec![start; m * n];
                        in_blocks([m, k, n], (&x, &data), true, &mut y, |mut call| portable(&mut call));
                        assert_eq!(y, want, "portable {m} {k} {n}");
                    }
                }
            }
        }
    }

    /// A row has the same bits in every batch, whichever crate multiplies it.
    #[test]
    fn rows_do_not_depend_on_their_number() {
        let number = |i: usize| (i as f32 * 0.618).sin();
        for (k, n) in [(33, 17), (192, 96), (256, 40), (700, 130), (1100, 67)] {
            let many = 600;
            let x: Vec<f32> = (0..many * k).map(number).collect();
            let data: Vec<f32> = (0..k * n).map(|i| number(i + 5)).collect();
            let start: Vec<f32> = (0..many * n).map(|i| number(i + 9)).collect();
            for (transposed, accumulate) in [(false, false), (false, true), (true, false), (true, true)] {
                let product = |rows: usize| {
                    let (w, mut y) =
                        (Weights { elements: Elements::F32(&data), transposed }, start[..rows * n].to_vec());
                    matmul([rows, k, n], &x[..rows * k], w, accumulate, &mut y);
                    y
                };
                let whole = product(many);
                for rows in [1, 2, 7, 16, 40, 41, 64, 65, 513] {
                    let some = product(rows);
                    let apart = some.iter().zip(&whole).position(|(a, b)| a.to_bits() != b.to_bits());
                    assert_eq!(apart, None, "{rows} rows of {many}, [{k}, {n}], {transposed} {accumulate}");
                }
                if !transposed {
                    let mut y = start.clone();
                    in_blocks([many, k, n], (&x, &data), accumulate, &mut y, |mut call| portable(&mut call));
                    assert!(y.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits()), "portable [{k}, {n}]");
                }
            }
        }
    }
}
