//! Matrix products on the host, by the fastest well-kept SIMD crate for the processor and the shape.
//!
//! Up to [`FEW_ROWS`] rows it is [`skinny`], ours. Measured with two threads on a Zen 4 server, in one run, weights in the cache
//! (GFLOP/s, straight 768x3072 | transposed):
//!
//! | rows | `private-gemm-x86` 0.1.22 | `gemm` 0.19 | `matrixmultiply` 0.3 |
//! |---|---|---|---|
//! | 1 | 18 \| 6 | 30 \| 28 | 3 \| 2 |
//! | 16 | 183 \| 52 | 76 \| 71 | 38 \| 23 |
//! | 64 | 168 \| 118 | 96 \| 133 | 108 \| 66 |
//! | 256 | 184 \| 185 | 186 \| 155 | 159 \| 138 |
//!
//! `private-gemm-x86` is what faer multiplies with; it has no body for other processors.

use std::cell::RefCell;

use gemm::Parallelism;
use half::slice::HalfFloatSliceExt as _;
use rayon::prelude::*;

use super::skinny;
use super::weights::{Elements, Weights};

/// Row count up to which a product is [`skinny`].
const FEW_ROWS: usize = 40;

thread_local! {
    /// Halves of one weight, widened for the crates that multiply many rows.
    static WIDENED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Halves that a thread widens at a time.
const WIDEN: usize = 1 << 15;

/// One product with its strides: `y = x w + beta y`, beta 0 or 1.
struct Call<'a> {
    shape: [usize; 3],
    x: &'a [f32],
    w: &'a [f32],
    transposed: bool,
    accumulate: bool,
    y: &'a mut [f32],
}

/// `y = x w`, or `y += x w`, for `x: [m, k]`, `w: [k, n]` (or its transpose) and `y: [m, n]`, all row-major.
///
/// # Panics
/// If a slice is shorter than its shape: the callers are kernels, whose bindings were checked.
pub fn matmul(shape: [usize; 3], x: &[f32], w: Weights<'_>, accumulate: bool, y: &mut [f32]) {
    let [m, k, n] = shape;
    assert!(x.len() >= m * k && w.elements.len() >= k * n && y.len() >= m * n, "operands hold [{m}, {k}, {n}]");
    if m <= FEW_ROWS {
        return skinny::product(shape, x, w, accumulate, y);
    }
    let w_transposed = w.transposed;
    let mut run = |w: &[f32]| dispatch(Call { shape, x, w, transposed: w_transposed, accumulate, y });
    match w.elements {
        Elements::F32(elements) => run(elements),
        Elements::F16(f16s) => WIDENED.with_borrow_mut(|wide| {
            wide.resize(k * n, 0.0);
            let chunks = wide.par_chunks_mut(WIDEN).zip(f16s[..k * n].par_chunks(WIDEN));
            chunks.for_each(|(wide, f16s)| f16s.convert_to_f32_slice(wide));
            run(wide);
        }),
    }
}

fn dispatch(mut call: Call<'_>) {
    #[cfg(target_arch = "x86_64")]
    if let Some(instructions) = x86::instructions() {
        return x86::run(&mut call, instructions);
    }
    portable(&mut call);
}

impl Call<'_> {
    /// Strides of w along k and along n.
    fn strides(&self) -> [isize; 2] {
        let [_, k, n] = self.shape;
        if self.transposed { [1, k as isize] } else { [n as isize, 1] }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use private_gemm_x86::{Accum, DType, DstKind, IType, InstrSet, gemm};

    use super::Call;

    /// The widest instructions that the crate has and the processor too.
    pub(super) fn instructions() -> Option<InstrSet> {
        if is_x86_feature_detected!("avx512f") {
            return Some(InstrSet::Avx512);
        }
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(InstrSet::Avx256)
    }

    pub(super) fn run(call: &mut Call<'_>, instructions: InstrSet) {
        let ([m, k, n], [along_k, along_n]) = (call.shape, call.strides());
        let (alpha, none) = (1.0f32, std::ptr::null());
        let beta = if call.accumulate { Accum::Add } else { Accum::Replace };
        let (x, w, y) = (call.x.as_ptr().cast(), call.w.as_ptr().cast(), call.y.as_mut_ptr().cast());
        // SAFETY: `matmul` has checked that the slices hold the shape, which bounds every access: element (i, j) of an
        // operand lies at i * row stride + j * column stride. `y` is exclusive, alpha an f32 as the type says, the
        // index and diagonal pointers are unused (null), and the processor has the instructions.
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
                k as isize,
                1,
                false,
                none,
                0,
                w,
                along_k,
                along_n,
                false,
                std::ptr::from_ref(&alpha).cast(),
                rayon::current_num_threads(),
            );
        }
    }
}

/// Row count from which `matrixmultiply` is the faster of the two portable crates, for operands that are not transposed.
const MANY_ROWS: usize = 512;

fn portable(call: &mut Call<'_>) {
    let ([m, k, n], [along_k, along_n]) = (call.shape, call.strides());
    let (k_stride, n_stride) = (k as isize, n as isize);
    let beta = if call.accumulate { 1.0 } else { 0.0 };
    let (x, w, y) = (call.x.as_ptr(), call.w.as_ptr(), call.y.as_mut_ptr());
    if m >= MANY_ROWS && !call.transposed {
        // SAFETY: `matmul` has checked that the slices hold the shape, which bounds every access: element (i, j) of an
        // operand lies at i * row stride + j * column stride. `y` is exclusive.
        unsafe {
            matrixmultiply::sgemm(m, k, n, 1.0, x, k_stride, 1, w, along_k, along_n, beta, y, n_stride, 1);
        }
    } else {
        let (read, threads) = (call.accumulate, Parallelism::Rayon(0));
        // SAFETY: as above; strides are given as (column, row).
        unsafe {
            gemm::gemm(
                m, n, k, y, 1, n_stride, read, x, 1, k_stride, w, along_n, along_k, beta, 1.0, false, false, false,
                threads,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    /// Every way to multiply, at shapes on both sides of each bound.
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
                    let mut f16s = y.clone();
                    let w = Weights { elements: Elements::F32(&data), transposed };
                    matmul([m, k, n], &x, w, accumulate, &mut y);
                    // Small whole numbers: every sum is exact, in any order, and so is a half.
                    assert_eq!(y, want, "{m} {k} {n} transposed {transposed} accumulate {accumulate}");
                    if k % 8 == 0 && n % 8 == 0 {
                        let packed: Vec<f16> = data.iter().map(|&x| f16::from_f32(x)).collect();
                        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&packed);
                        let elements = Elements::F16(bytemuck::cast_slice(&words));
                        matmul([m, k, n], &x, Weights { elements, transposed }, accumulate, &mut f16s);
                        assert_eq!(f16s, want, "halves {m} {k} {n} {transposed} {accumulate}");
                    }
                    let (mut y, shape) = (vec![start; m * n], [m, k, n]);
                    portable(&mut Call { shape, x: &x, w: &data, transposed, accumulate: true, y: &mut y });
                    assert_eq!(y, want, "portable {m} {k} {n} transposed {transposed}");
                }
            }
        }
    }
}
