// Scalar functions that WGSL lacks or specifies too loosely. All use `exp` of arguments <= 0, so nothing overflows.
// Every finite argument has a finite value; NaN gives NaN.
//
// Largest error on [-12, 12], measured in f32 against f64 at 4 million points, with a correctly rounded `exp` and, in
// brackets, with one that errs by all that WGSL allows, (3 + 2 |x|) ulp. An ulp of 1 is 1.2e-7.
//   absolute            logistic 9e-8 (1.4e-7)   tanh_safe 9e-8 (2.0e-7)   erf_safe 1.5e-7 (same)
//                       normal_cdf 1.1e-7 (same)   gelu_new_d 2.2e-7 (2.7e-7)   gelu_erf_d 1.8e-7 (2.4e-7)
//                       gelu_new_dd 2.8e-7 (4.2e-7)   gelu_erf_dd 1.3e-7 (4.1e-7)
//   over max(1, |y|)    gelu_new 1.8e-7 (2.2e-7)   gelu_erf 1.6e-7 (same)
//   relative            tanh_safe 1.5e-7 (3.4e-7)   erf_safe 1.8e-7 (same), both down to the smallest |x|
// The negative tails of GELU lose no digits to cancellation: relative errors stay below 3e-5 where |y| is 1e-30.

// 1 / (1 + exp(-x)). Its relative accuracy is good also where it is tiny, because no terms are subtracted.
fn logistic(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// tanh. Above 0.625, it is (1 - s) / (1 + s) = 1 - 2 s / (1 + s) with s = exp(-2 |x|). It tends to 1 as s underflows.
// Below, that difference cancels: its error is 1 ulp of 1, whatever x. So there it is x + x^3 P(x^2) with the minimax P
// of Cephes' tanhf, whose only error near 0 is the rounding of the sum.
fn tanh_safe(x: f32) -> f32 {
    let a = abs(x);
    let s = exp(-2.0 * a);
    let z = min(x * x, 1.0);
    let p = ((((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1) * z
        - 3.33332819422e-1) * z;
    return select(sign(x) * (1.0 - 2.0 * s / (1.0 + s)), x + x * p, a < 0.625);
}

// Its derivative, 1 - tanh^2, without the cancellation where tanh saturates.
fn tanh_d(x: f32) -> f32 {
    let e = exp(-2.0 * abs(x));
    return 4.0 * e / ((1.0 + e) * (1.0 + e));
}

// erf(x) for |x| <= 1, x P(x^2): minimax, 1.3e-9.
fn erf_near(x: f32) -> f32 {
    let z = x * x;
    let p = ((((7.875875063e-5 * z - 8.016864287e-4) * z + 5.189087423e-3) * z - 2.685421201e-2) * z
        + 1.128359472e-1) * z - 3.761262667e-1;
    return x * (p * z + 1.128379166);
}

// exp(a^2) erfc(a) for a >= 1: t P(t) with t = 1 / (1 + a / 2), minimax on 1 <= a <= 11, 8e-9.
fn erfcx_far(a: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * a);
    let p = (((((9.506194042e-2 * t - 2.309287762e-1) * t + 8.823693964e-2) * t + 5.715053074e-2) * t
        + 1.802713019e-1) * t + 2.466300841e-1) * t + 2.820794893e-1;
    return t * (p * t + 2.820964459e-1);
}

fn erf_safe(x: f32) -> f32 {
    let a = abs(x);
    return select(sign(x) * (1.0 - exp(-a * a) * erfcx_far(a)), erf_near(x), a < 1.0);
}

// The normal distribution function, (1 + erf(x / sqrt 2)) / 2, from erfc where x is far below 0: no cancellation.
fn normal_cdf(x: f32) -> f32 {
    let r = 0.70710678 * x;
    let tail = 0.5 * exp(-0.5 * x * x) * erfcx_far(abs(r));
    return select(select(tail, 1.0 - tail, x >= 0.0), 0.5 + 0.5 * erf_near(r), abs(r) < 1.0);
}

// GELU in GPT-2's form, x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), written as x logistic(2 u).
fn gelu_new(x: f32) -> f32 {
    return x * gelu_new_ratio(x);
}

// gelu(x) / x, also at 0; of the exact form it is normal_cdf.
fn gelu_new_ratio(x: f32) -> f32 {
    return logistic(1.5957691 * x * (1.0 + 0.044715 * x * x));
}

// Its derivative, s + x s (1 - s) 2 du/dx with s = logistic(2 u). Past |x| = 16 the second term is 0 in f32, and the
// clamp keeps the power in it finite.
fn gelu_new_d(x: f32) -> f32 {
    let u2 = 1.5957691 * x * (1.0 + 0.044715 * x * x);
    let s = logistic(u2);
    let c = clamp(x, -16.0, 16.0);
    return s + c * s * logistic(-u2) * 1.5957691 * (1.0 + 0.134145 * c * c);
}

// Its second derivative, s (1 - s) (2 w + x w' + x w^2 (1 - 2 s)) with w = 2 du/dx. All of it has the factor s (1 - s),
// so the tails keep their digits. 1 - 2 s is logistic(-2 u) - logistic(2 u): it cancels only near x = 0, where it is
// multiplied by x.
fn gelu_new_dd(x: f32) -> f32 {
    let c = clamp(x, -16.0, 16.0);
    let u2 = 1.5957691 * c * (1.0 + 0.044715 * c * c);
    let s = logistic(u2);
    let t = logistic(-u2);
    let w = 1.5957691 * (1.0 + 0.134145 * c * c);
    return s * t * (2.0 * w + c * (0.4281289 * c + w * w * (t - s)));
}

// Exact GELU, x Phi(x).
fn gelu_erf(x: f32) -> f32 {
    return x * normal_cdf(x);
}

// Its derivative, Phi(x) + x phi(x).
fn gelu_erf_d(x: f32) -> f32 {
    return normal_cdf(x) + 0.39894228 * x * exp(-0.5 * x * x);
}

// Its second derivative, phi(x) (2 - x^2); past |x| = 16 phi is 0 in f32, and the clamp keeps the square finite.
fn gelu_erf_dd(x: f32) -> f32 {
    let c = clamp(x, -16.0, 16.0);
    return 0.39894228 * exp(-0.5 * c * c) * (2.0 - c * c);
}

// SiLU, x logistic(x). Its ratio silu(x) / x is logistic.
fn silu(x: f32) -> f32 {
    return x * logistic(x);
}

// Its derivative, s + x s (1 - s) with s = logistic(x). 1 - s is logistic(-x), so nothing cancels in the tails.
fn silu_d(x: f32) -> f32 {
    let s = logistic(x);
    return s + x * s * logistic(-x);
}

// Its second derivative, s (1 - s) (2 + x (1 - 2 s)). 1 - 2 s is logistic(-x) - logistic(x): it cancels only near
// x = 0, where it is multiplied by x.
fn silu_dd(x: f32) -> f32 {
    let s = logistic(x);
    let t = logistic(-x);
    return s * t * (2.0 + x * (t - s));
}
