//! Matrix products on the host.
//!
//! [`skinny`] of this crate computes products of few rows, and [`tiles`](super::tiles) those of many rows with AVX-512
//! or AVX2. Other processors leave many rows to the faster of two maintained crates. Measured with two threads on a Zen
//! 4 server, in one process, weights in the cache (GFLOP/s, straight 768x3072 | transposed):
//!
//! | rows | `gemm` 0.19 | `matrixmultiply` 0.3 |
//! |---|---|---|
//! | 1 | 30 \| 28 | 3 \| 2 |
//! | 16 | 76 \| 71 | 38 \| 23 |
//! | 64 | 96 \| 133 | 108 \| 66 |
//! | 256 | 186 \| 155 | 159 \| 138 |
//!
//! Without AVX2, [`skinny`] has only single floats: `gemm` is the fastest below 4 rows, and `matrixmultiply` from there
//! on.
//!
//! The bits of a row of y do not depend on how many rows there are, so a prompt has the same numbers in any batch. For
//! `y = x w`, all of them sum along k in order, one fused multiply-add a step. The crates add the sums of blocks of k,
//! whose size they choose, so they get [`DEPTH`] of k at a time. Transposed weights are for
//! [`dots`](super::dots) alone, which sums k in the lanes of a vector; with AVX2 they are for tiles alone.

use std::cell::RefCell;

use gemm::Parallelism;
use half::slice::HalfFloatSliceExt as _;
use pulp::Arch;
use rayon::prelude::*;

use super::instructions::{instructions, name};
use super::skinny;
use super::weights::{DEPTH, Elements, Weights};

/// Most rows of a product that [`skinny`] computes, where a crate computes those of more.
const FEW_ROWS: usize = 40;

/// Rows from which [`super::tiles`] computes a product with AVX-512.
#[cfg(target_arch = "x86_64")]
const MANY_ROWS_AVX512: usize = 96;

thread_local! {
    /// A block of an f16 weight, widened for the crates that multiply many rows. It stays in the cache.
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
    multiply(instructions(), shape, x, w, accumulate, y);
}

/// Computes a product with the instructions of `arch`.
fn multiply(arch: Arch, shape: [usize; 3], x: &[f32], w: Weights<'_>, accumulate: bool, y: &mut [f32]) {
    let [m, k, _] = shape;
    match (arch, m) {
        // All transposed weights too: where registers are few, sums in the lanes of a vector take twice as long.
        #[cfg(target_arch = "x86_64")]
        (Arch::V3(simd), _) if w.transposed || m > FEW_ROWS => {
            super::tiles::product(simd, shape, (x, w), accumulate, y);
        }
        _ if w.transposed => super::dots::product(arch, shape, (&x[..m * k], w.elements), accumulate, y),
        #[cfg(target_arch = "x86_64")]
        (Arch::V4(simd), MANY_ROWS_AVX512..) => super::tiles::product(simd, shape, (x, w), accumulate, y),
        #[cfg(target_arch = "x86_64")]
        (Arch::V4(_), _) => skinny::product(arch, shape, (x, w.elements), accumulate, y),
        (Arch::Scalar, _) => {
            in_blocks(shape, (x, w.elements), accumulate, y, |call| portable(call, MANY_ROWS_BASELINE));
        }
        (_, ..=FEW_ROWS) => skinny::product(arch, shape, (x, w.elements), accumulate, y),
        _ => in_blocks(shape, (x, w.elements), accumulate, y, |call| portable(call, MANY_ROWS)),
    }
}

/// Describes how [`matmul`] computes products on this processor.
pub fn products() -> String {
    let arch = instructions();
    let how = match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => format!("up to {} rows skinny, more tiles", MANY_ROWS_AVX512 - 1),
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => format!("up to {FEW_ROWS} rows skinny, more and transposed tiles"),
        Arch::Scalar => format!("below {MANY_ROWS_BASELINE} rows gemm, more matrixmultiply"),
        _ => format!("up to {FEW_ROWS} rows skinny, more gemm, and matrixmultiply from {MANY_ROWS}"),
    };
    format!("{}, {how}", name(arch))
}

/// Computes a product of untransposed weights, [`DEPTH`] of k at a time.
fn in_blocks(
    [m, k, n]: [usize; 3],
    (x, w): (&[f32], Elements<'_>),
    accumulate: bool,
    y: &mut [f32],
    run: impl Fn(Call<'_>),
) {
    for from in (0..k).step_by(DEPTH) {
        let depth = DEPTH.min(k - from);
        let mut add = |w: &[f32]| {
            let (shape, accumulate) = ([m, depth, n], accumulate || from > 0);
            run(Call { shape, x: &x[from..], w, x_stride: k, accumulate, y: &mut *y });
        };
        let range = from * n..(from + depth) * n;
        match w {
            Elements::F32(elements) => add(&elements[range]),
            Elements::F16(packed) => {
                // While it waits for others, a thread may compute another product: the buffer is not borrowed.
                let mut wide = WIDENED.take();
                wide.resize(range.len(), 0.0);
                let chunks = wide.par_chunks_mut(WIDEN).zip(packed[range].par_chunks(WIDEN));
                chunks.for_each(|(wide, packed)| packed.convert_to_f32_slice(wide));
                add(&wide);
                WIDENED.set(wide);
            }
        }
    }
}

/// Row count from which `matrixmultiply` is faster than `gemm`: with vectors, and with the baseline of x86-64, for
/// which only the former has vectors.
const MANY_ROWS: usize = 512;
const MANY_ROWS_BASELINE: usize = 4;

/// Computes a product with `matrixmultiply` from `many` rows on, and with `gemm` below.
fn portable(mut call: Call<'_>, many: usize) {
    let [m, _, n] = call.shape;
    if m < MANY_ROWS_BASELINE && call.accumulate {
        // `gemm` adds the products of a single row to y one by one, and the sum of all products for several rows.
        let mut sums = vec![0.0; m * n];
        portable(Call { accumulate: false, y: &mut sums, ..call }, many);
        call.y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum);
        return;
    }
    call_crate(&mut call, many);
}

fn call_crate(call: &mut Call<'_>, many: usize) {
    let [m, k, n] = call.shape;
    let (x_stride, n_stride) = (call.x_stride as isize, n as isize);
    let beta = if call.accumulate { 1.0 } else { 0.0 };
    let (x, w, y) = (call.x.as_ptr(), call.w.as_ptr(), call.y.as_mut_ptr());
    if m >= many {
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

    use super::super::instructions::all;
    use super::*;

    /// Every crate and form of a product, at shapes on both sides of each bound.
    #[test]
    fn all_forms_agree_with_the_sum() {
        let odd = [
            (1, 7, 5),
            (2, 33, 17),
            (13, 1603, 11),
            (31, 70, 90),
            (40, 9, 130),
            (97, 31, 19),
            (520, 9, 6),
            (103, 300, 145),
        ];
        let whole = [(1, 8, 8), (5, 16, 40), (17, 56, 136), (40, 72, 1000), (50, 16, 24), (96, 64, 48), (99, 520, 104)];
        for (m, k, n) in odd.into_iter().chain(whole) {
            let number = |i: usize| ((i * 37) % 19) as f32 - 9.0;
            let x: Vec<f32> = (0..m * k).map(number).collect();
            for transposed in [false, true] {
                let data: Vec<f32> = (0..k * n).map(|i| number(i + 5)).collect();
                let w = |i: usize, j: usize| if transposed { data[j * k + i] } else { data[i * n + j] };
                let packed: Vec<f16> = data.iter().map(|&x| f16::from_f32(x)).collect();
                let words: Vec<u32> =
                    if packed.len().is_multiple_of(2) { bytemuck::pod_collect_to_vec(&packed) } else { Vec::new() };
                for accumulate in [false, true] {
                    // The values are small integers: they are exact in f16, and every sum is exact in any order.
                    let start = if accumulate { 3.0 } else { 0.0 };
                    let want: Vec<f32> = (0..m * n)
                        .map(|at| start + (0..k).map(|i| x[at / n * k + i] * w(i, at % n)).sum::<f32>())
                        .collect();
                    let check = |what: &str, run: &mut dyn FnMut(&mut [f32])| {
                        let mut y = vec![if accumulate { 3.0 } else { f32::NAN }; m * n];
                        run(&mut y);
                        assert_eq!(y, want, "{what} {m} {k} {n} transposed {transposed} accumulate {accumulate}");
                    };
                    let mut forms = vec![Elements::F32(&data)];
                    // Rows of f16 elements have an even length.
                    if (if transposed { k } else { n }) % 2 == 0 {
                        forms.push(Elements::F16(bytemuck::cast_slice(&words)));
                    }
                    for elements in forms {
                        let kind = if matches!(elements, Elements::F32(_)) { "f32" } else { "f16" };
                        for arch in all() {
                            let w = Weights { elements, transposed };
                            check(&format!("{arch:?} {kind}"), &mut |y| {
                                multiply(arch, [m, k, n], &x, w, accumulate, y);
                            });
                        }
                        #[cfg(target_arch = "x86_64")]
                        if !transposed {
                            check(&format!("tiles of scalars {kind}"), &mut |y| {
                                let w = Weights { elements, transposed };
                                super::super::tiles::product(pulp::Scalar, [m, k, n], (&x, w), accumulate, y);
                            });
                        }
                    }
                    if !transposed && accumulate {
                        check("portable", &mut |y| {
                            in_blocks([m, k, n], (&x, Elements::F32(&data)), true, y, |call| portable(call, MANY_ROWS));
                        });
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
                for rows in [1, 2, 7, 16, 40, 41, 64, 65, 95, 96, 101, 513] {
                    let some = product(rows);
                    let apart = some.iter().zip(&whole).position(|(a, b)| a.to_bits() != b.to_bits());
                    assert_eq!(apart, None, "{rows} rows of {many}, [{k}, {n}], {transposed} {accumulate}");
                }
                if !transposed {
                    let mut y = start.clone();
                    in_blocks([many, k, n], (&x, Elements::F32(&data)), accumulate, &mut y, |call| {
                        portable(call, MANY_ROWS);
                    });
                    assert!(y.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits()), "portable [{k}, {n}]");
                }
            }
        }
    }
}
