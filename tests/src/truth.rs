//! True values: the reference's formulas in f64, and on dual numbers for derivatives.

use resolvent_reference::{Dual, Scalar};

use crate::random::Random;

/// A function of flat arrays, for any scalar.
pub trait Function {
    /// Returns its value at `x`.
    fn at<S: Scalar>(&self, x: &[S]) -> Vec<S>;
}

/// Converts constants to scalars without derivatives.
pub fn constants<S: Scalar>(x: &[f64]) -> Vec<S> {
    x.iter().map(|&x| S::from_f64(x)).collect()
}

/// Returns `J x_dot` at `x`.
pub fn jvp(f: &impl Function, x: &[f64], x_dot: &[f64]) -> Vec<f64> {
    assert_eq!(x.len(), x_dot.len(), "a tangent has the length of its point");
    let duals: Vec<Dual<f64>> = x.iter().zip(x_dot).map(|(&x, &dot)| Dual::new(x, dot)).collect();
    f.at(&duals).iter().map(|y| y.tangent).collect()
}

/// Returns first and second order of `f(x + a x_dot + a^2/2 x_ddot)` at a = 0, on duals of duals: with `a = e + e'` and
/// `e^2 = e'^2 = 0`, `a^2/2 = e e'`.
pub fn jet(f: &impl Function, x: &[f64], [x_dot, x_ddot]: [&[f64]; 2]) -> [Vec<f64>; 2] {
    assert!(x.len() == x_dot.len() && x.len() == x_ddot.len(), "a jet has the length of its point");
    let point = |i: usize| Dual::new(Dual::new(x[i], x_dot[i]), Dual::new(x_dot[i], x_ddot[i]));
    let y = f.at(&(0..x.len()).map(point).collect::<Vec<_>>());
    [y.iter().map(|y| y.primal.tangent).collect(), y.iter().map(|y| y.tangent.tangent).collect()]
}

/// Returns `J b` and the second derivative `f''[a, b]`, on duals of duals.
pub fn second_derivative(f: &impl Function, x: &[f64], [a, b]: [&[f64]; 2]) -> [Vec<f64>; 2] {
    assert!(x.len() == a.len() && x.len() == b.len(), "a direction has the length of its point");
    let point = |i: usize| Dual::new(Dual::new(x[i], a[i]), Dual::new(b[i], 0.0));
    let y = f.at(&(0..x.len()).map(point).collect::<Vec<_>>());
    [y.iter().map(|y| y.tangent.primal).collect(), y.iter().map(|y| y.tangent.tangent).collect()]
}

/// Returns `<a, b>`.
pub fn inner(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "vectors of an inner product have one length");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Estimates the relative L2 error of `x_bar` as `J^T y_bar` from random directions.
///
/// For normal v, the mean square of `<x_bar, v> - <y_bar, J v>` is the square of the error's length. `owned` selects
/// the entries that `x_bar` has.
pub fn vjp_error(f: &impl Function, x: &[f64], owned: &dyn Fn(usize) -> bool, bars: [&[f64]; 2]) -> f64 {
    const DIRECTIONS: u64 = 3;
    let [x_bar, y_bar] = bars;
    let square = |seed| {
        let mut random = Random::new(seed);
        let v: Vec<f64> = (0..x.len()).map(|i| if owned(i) { f64::from(random.normal()) } else { 0.0 }).collect();
        (inner(x_bar, &v) - inner(y_bar, &jvp(f, x, &v))).powi(2)
    };
    let mean = (0..DIRECTIONS).map(square).sum::<f64>() / DIRECTIONS as f64;
    let size = inner(x_bar, x_bar).sqrt();
    // If x_bar vanishes, the error is relative to the cotangent that it came from.
    mean.sqrt() / size.max(1e-3 * inner(y_bar, y_bar).sqrt())
}

/// Converts f32 values to f64.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Returns `|got - want| / |want|` for two results of one executor, which [`crate::compare`] refuses. If `want` is
/// zero, `got` must be zero.
pub fn relative(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "compared arrays have one length");
    let apart: Vec<f64> = got.iter().zip(want).map(|(g, w)| g - w).collect();
    let [apart, size] = [inner(&apart, &apart), inner(want, want)];
    if size > 0.0 || apart != 0.0 { (apart / size).sqrt() } else { 0.0 }
}
