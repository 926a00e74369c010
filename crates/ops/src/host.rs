//! What host bodies share: fixed-order reductions and elementary functions that the compiler turns into SIMD.
//!
//! `pulp` picks the widest instructions of the processor at run time; the functions here are inlined into what it
//! calls, so that they are compiled for them.

use pulp::Arch;
use rayon::prelude::*;

/// Lanes of a fixed-order sum: the same order on every processor.
const LANES: usize = 16;

/// Runs `body` on each row of `y` (`d` numbers each) over all threads, with the processor's widest instructions.
pub(crate) fn each_row(y: &mut [f32], d: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    let arch = Arch::new();
    y.par_chunks_mut(d).enumerate().for_each(|(i, row)| arch.dispatch(|| body(i, row)));
}

/// `sum f(i)` over `0..n`, in a fixed order.
#[inline(always)]
pub(crate) fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = n - n % LANES;
    for at in (0..whole).step_by(LANES) {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(at + lane);
        }
    }
    for i in whole..n {
        lanes[i - whole] += f(i);
    }
    lanes.iter().sum()
}

/// `<a, b>`.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    sum(n, |i| a[i] * b[i])
}

/// `y += a x`.
#[inline(always)]
pub(crate) fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// `exp(x)` to about 2 ulp, without branches: `x = n ln 2 + r`, a polynomial in r, and n added to the exponent.
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
    let scale = f32::from_bits(((n as i32 + 127) << 23) as u32);
    value * scale
}

/// `tanh(x)` through [`exp`]; a short series where `exp(2x) - 1` would cancel.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let e = exp(-2.0 * a.min(20.0));
    let far = (1.0 - e) / (1.0 + e);
    let s = a * a;
    let near = a * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))));
    let size = if a < 0.35 { near } else { far };
    if x < 0.0 { -size } else { size }
}

/// The error function to 1.5e-7 absolute (Abramowitz and Stegun 7.1.26).
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let size = 1.0 - poly * exp(-a * a);
    if x < 0.0 { -size } else { size }
}

const C0: f32 = 0.797_884_56; // sqrt(2 / pi)
const C1: f32 = 0.044_715;

/// GELU, in GPT-2's tanh form or exact.
#[inline(always)]
pub(crate) fn gelu(exact: bool, x: f32) -> f32 {
    if exact {
        0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
    } else {
        0.5 * x * (1.0 + tanh(C0 * (x + C1 * x * x * x)))
    }
}

/// Derivative of [`gelu`].
#[inline(always)]
pub(crate) fn gelu_d(exact: bool, x: f32) -> f32 {
    if exact {
        let density = 0.398_942_28 * exp(-0.5 * x * x);
        0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)) + x * density
    } else {
        let t = tanh(C0 * (x + C1 * x * x * x));
        0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * C0 * (1.0 + 3.0 * C1 * x * x)
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
    fn exp_and_tanh_are_good_to_a_few_ulp() {
        assert!(worst(-20_000..20_000, exp, f64::exp) < 3e-7);
        assert!(worst(-20_000..20_000, tanh, f64::tanh) < 5e-7);
        assert_eq!(tanh(-100.0), -1.0);
    }

    #[test]
    fn gelu_slope_is_the_slope_of_gelu() {
        for exact in [false, true] {
            for i in -60..60 {
                let (x, step) = (i as f32 * 0.1 + 0.05, 1e-2);
                let slope = (gelu(exact, x + step) - gelu(exact, x - step)) / (2.0 * step);
                assert!((slope - gelu_d(exact, x)).abs() < 2e-4, "{exact} {x} {slope}");
            }
        }
    }
}
