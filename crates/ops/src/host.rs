//! Functions that host bodies share: fixed-order reductions, and elementary functions that compile to SIMD.
//!
//! `pulp` picks the widest instructions of the processor at run time. The functions here are inlined into its calls, so
//! they are compiled for those instructions.

use rayon::prelude::*;
use resolvent_engine::host::instructions;

/// Lanes of a fixed-order sum: the same order on every processor.
const LANES: usize = 16;

/// Runs `body` on each row of `y` (`d` elements each) over all threads. For bodies that are bound by memory.
pub(crate) fn each_row(y: &mut [f32], d: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    y.par_chunks_mut(d).enumerate().for_each(|(i, row)| body(i, row));
}

/// The body of a kernel over one row, compiled for each set of instructions. A function or closure as a value does not
/// serve here: its call is compiled once, for the oldest processor, unless the optimiser inlines it.
pub(crate) trait RowBody {
    /// Inputs of the body.
    type Args<'a>: Copy + Sync;

    /// Computes row `i` of the output, which is `y`.
    fn row(args: Self::Args<'_>, i: usize, y: &mut [f32]);
}

/// Like [`RowBody`], over the rows of two arrays at once.
pub(crate) trait TwoRowsBody {
    /// Inputs of the body.
    type Args<'a>: Copy + Sync;

    /// Computes row `i` of both outputs.
    fn rows(args: Self::Args<'_>, i: usize, y: [&mut [f32]; 2]);
}

/// `row_body!(Name<'a>(Args<'a>) = function)` declares a [`RowBody`] whose function is always inlined.
macro_rules! row_body {
    ($vis:vis $name:ident<$a:lifetime>($args:ty) = $row:path) => {
        $vis struct $name;

        impl $crate::host::RowBody for $name {
            type Args<$a> = $args;

            #[inline(always)]
            fn row(args: Self::Args<'_>, i: usize, y: &mut [f32]) {
                $row(args, i, y);
            }
        }
    };
}

/// Like `row_body!`, for a [`TwoRowsBody`].
macro_rules! two_rows_body {
    ($name:ident<$a:lifetime>($args:ty) = $rows:path) => {
        struct $name;

        impl $crate::host::TwoRowsBody for $name {
            type Args<$a> = $args;

            #[inline(always)]
            fn rows(args: Self::Args<'_>, i: usize, y: [&mut [f32]; 2]) {
                $rows(args, i, y);
            }
        }
    };
}

pub(crate) use {row_body, two_rows_body};

/// Like [`each_row`], compiled for the processor's widest instructions.
pub(crate) fn each_row_simd<B: RowBody>(y: &mut [f32], d: usize, args: B::Args<'_>) {
    let arch = instructions();
    y.par_chunks_mut(d).enumerate().for_each(|(i, row)| arch.dispatch(RowCall::<B> { args, i, row }));
}

/// Like [`each_row_simd`], over the rows of two arrays at once.
pub(crate) fn each_two_rows_simd<B: TwoRowsBody>([y, z]: [&mut [f32]; 2], [d, e]: [usize; 2], args: B::Args<'_>) {
    let arch = instructions();
    let rows = y.par_chunks_mut(d).zip(z.par_chunks_mut(e)).enumerate();
    rows.for_each(|(i, (row, other))| arch.dispatch(TwoRowsCall::<B> { args, i, rows: [row, other] }));
}

/// One call of a body, in a form that is inlined into each set of instructions.
struct RowCall<'a, 'b, B: RowBody> {
    args: B::Args<'b>,
    i: usize,
    row: &'a mut [f32],
}

impl<B: RowBody> pulp::NullaryFnOnce for RowCall<'_, '_, B> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        B::row(self.args, self.i, self.row);
    }
}

struct TwoRowsCall<'a, 'b, B: TwoRowsBody> {
    args: B::Args<'b>,
    i: usize,
    rows: [&'a mut [f32]; 2],
}

impl<B: TwoRowsBody> pulp::NullaryFnOnce for TwoRowsCall<'_, '_, B> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        B::rows(self.args, self.i, self.rows);
    }
}

/// Returns `sum f(a_i, b_i, ..)` over slices of one length, in a fixed order: each lane over the blocks, then the rest,
/// then the sum of the lanes.
#[inline(always)]
pub(crate) fn sum<const N: usize>(slices: [&[f32]; N], f: impl Fn([f32; N]) -> f32) -> f32 {
    let n = slices.iter().map(|s| s.len()).min().unwrap_or(0);
    let mut lanes = [0.0; LANES];
    // The compiler knows the length of a block: there are no checks of bounds inside, and a block fits a register.
    let parts = slices.map(|s| s[..n].as_chunks::<LANES>());
    for block in 0..n / LANES {
        let blocks = parts.map(|(blocks, _)| &blocks[block]);
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(blocks.map(|b| b[lane]));
        }
    }
    for (i, total) in (0..n % LANES).zip(&mut lanes) {
        *total += f(parts.map(|(_, rest)| rest[i]));
    }
    lanes.iter().sum()
}

/// Returns `<a, b>`.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum([a, b], |[a, b]| a * b)
}

/// Computes `y += a x`.
#[inline(always)]
pub(crate) fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// Returns `exp(x)` to about 2 ulp, without branches: `x = n ln 2 + r`, a polynomial in r, and n added to the exponent.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    // ln 2 in two parts, the first exact in few bits, so that n times it is exact
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let series = 1.987_569_1e-4;
    let series = series * r + 1.398_199_9e-3;
    let series = series * r + 8.333_452e-3;
    let series = series * r + 4.166_579_6e-2;
    let series = series * r + 1.666_666_5e-1;
    let series = series * r + 0.5;
    let value = series * r * r + r + 1.0;
    // n is within -126 and 127, and the low bits of `shifted` are those of n. A conversion to an integer has rules for
    // NaN and for overflow, which AVX2 computes one by one.
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    value * scale
}

/// Returns `1 / (1 + exp(-x))`. Its relative accuracy is good also where it is tiny, because no terms are subtracted.
#[inline(always)]
pub(crate) fn logistic(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

/// Returns the derivative of tanh, `1 - tanh^2`, without the cancellation where tanh saturates.
#[inline(always)]
pub(crate) fn tanh_d(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    4.0 * e / ((1.0 + e) * (1.0 + e))
}

/// Returns the normal distribution function and `exp(-x^2 / 2)`. Where x is far from 0 it uses erfc, so a negative x
/// causes no cancellation. Both polynomials are minimax, good to 1e-8.
#[inline(always)]
fn normal_cdf(x: f32) -> (f32, f32) {
    const NEAR: [f32; 7] = [
        7.875_875e-5,
        -8.016_864e-4,
        5.189_087_4e-3,
        -2.685_421_2e-2,
        0.112_835_95,
        -0.376_126_27,
        std::f32::consts::FRAC_2_SQRT_PI,
    ];
    const FAR: [f32; 8] =
        [9.506_194e-2, -0.230_928_78, 8.823_694e-2, 5.715_053e-2, 0.180_271_3, 0.246_630_08, 0.282_079_5, 0.282_096_45];
    let series = |terms: &[f32], at: f32| terms.iter().fold(0.0, |sum, term| sum * at + term);
    let (r, bell) = (std::f32::consts::FRAC_1_SQRT_2 * x, exp(-0.5 * x * x));
    // erf(r) = r NEAR(r^2) up to |r| = 1, and erfc(|r|) = exp(-r^2) t FAR(t) beyond, with t = 1 / (1 + |r| / 2).
    let t = 1.0 / (1.0 + 0.5 * r.abs());
    let tail = 0.5 * bell * t * series(&FAR, t);
    let near = 0.5 + 0.5 * r * series(&NEAR, r * r);
    let far = if x >= 0.0 { 1.0 - tail } else { tail };
    (if r.abs() < 1.0 { near } else { far }, bell)
}

const C0: f32 = 1.595_769; // 2 sqrt(2 / pi)
const C1: f32 = 0.044_715;

/// Returns GELU: GPT-2's tanh form, `x logistic(2 u)` with `u = sqrt(2 / pi) (x + C1 x^3)`, or exact, `x Phi(x)`.
#[inline(always)]
pub(crate) fn gelu(exact: bool, x: f32) -> f32 {
    x * gelu_ratio(exact, x)
}

/// Returns `gelu(x) / x`, also at 0.
#[inline(always)]
pub(crate) fn gelu_ratio(exact: bool, x: f32) -> f32 {
    if exact { normal_cdf(x).0 } else { logistic(C0 * x * (1.0 + C1 * x * x)) }
}

/// Returns the derivative of [`gelu`].
#[inline(always)]
pub(crate) fn gelu_d(exact: bool, x: f32) -> f32 {
    if exact {
        let (cdf, bell) = normal_cdf(x);
        cdf + 0.398_942_3 * x * bell
    } else {
        let u2 = C0 * x * (1.0 + C1 * x * x);
        let s = logistic(u2);
        // Past |x| = 16 the second term is 0 in f32, and the clamp keeps the power in it finite.
        let c = x.clamp(-16.0, 16.0);
        s + c * s * logistic(-u2) * C0 * (1.0 + 3.0 * C1 * c * c)
    }
}

/// Returns the second derivative of [`gelu`].
#[inline(always)]
pub(crate) fn gelu_dd(exact: bool, x: f32) -> f32 {
    // Past |x| = 16 it vanishes, and the clamp keeps the powers in it finite.
    let c = x.clamp(-16.0, 16.0);
    if exact {
        0.398_942_3 * exp(-0.5 * c * c) * (2.0 - c * c)
    } else {
        let u2 = C0 * c * (1.0 + C1 * c * c);
        let (s, t) = (logistic(u2), logistic(-u2));
        let w = C0 * (1.0 + 3.0 * C1 * c * c);
        s * t * (2.0 * w + c * (6.0 * C0 * C1 * c + w * w * (t - s)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(range: std::ops::Range<i32>, ours: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) -> f64 {
        range
            .map(|i| i as f32 * 0.001)
            .map(|x| (f64::from(ours(x)) - truth(f64::from(x))).abs() / truth(f64::from(x)).abs().max(1e-3))
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_and_logistic_are_good_to_a_few_ulp() {
        assert!(worst(-20_000..20_000, exp, f64::exp) < 3e-7);
        assert!(worst(-20_000..20_000, logistic, |x| 1.0 / (1.0 + (-x).exp())) < 5e-7);
        assert_eq!([logistic(-1e4), logistic(1e4)].map(|x| x > 0.5), [false, true]);
    }

    #[test]
    fn gelu_d_is_the_slope_of_gelu_and_gelu_dd_that_of_gelu_d() {
        for exact in [false, true] {
            for i in -60..60 {
                let (x, step) = (i as f32 * 0.1 + 0.05, 1e-2);
                let slope = (gelu(exact, x + step) - gelu(exact, x - step)) / (2.0 * step);
                assert!((slope - gelu_d(exact, x)).abs() < 2e-4, "{exact} {x} {slope}");
                let second_derivative = (gelu_d(exact, x + step) - gelu_d(exact, x - step)) / (2.0 * step);
                assert!((second_derivative - gelu_dd(exact, x)).abs() < 2e-4, "{exact} {x} {second_derivative}");
            }
        }
    }
}
