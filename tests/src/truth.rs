//! Truth for derivatives, from f64 values alone.

use crate::random::Random;

/// A function of flat f64 arrays.
pub type Function<'a> = &'a dyn Fn(&[f64]) -> Vec<f64>;

/// `J x_dot` at `x`, by a five-point difference in f64: the step leaves about eleven good digits.
pub fn jvp(f: Function<'_>, x: &[f64], x_dot: &[f64]) -> Vec<f64> {
    const STEP: f64 = 1e-4;
    let at = |steps: f64| {
        let moved: Vec<f64> = x.iter().zip(x_dot).map(|(x, dot)| x + steps * STEP * dot).collect();
        f(&moved)
    };
    let (near, far) = ((at(1.0), at(-1.0)), (at(2.0), at(-2.0)));
    (0..near.0.len())
        .map(|i| (8.0 * (near.0[i] - near.1[i]) - (far.0[i] - far.1[i])) / (12.0 * STEP))
        .collect()
}

/// `<a, b>`.
pub fn inner(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "inner product of one length");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Relative L2 error of `x_bar` as `J^T y_bar`, estimated from directions: for normal v, the mean square of
/// `<x_bar, v> - <y_bar, J v>` is the square of the error's length. `owned` masks the entries that `x_bar` claims.
pub fn vjp_error(f: Function<'_>, x: &[f64], owned: &dyn Fn(usize) -> bool, bars: [&[f64]; 2]) -> f64 {
    const DIRECTIONS: u64 = 3;
    let [x_bar, y_bar] = bars;
    let square = |seed| {
        let mut random = Random::new(seed);
        let v: Vec<f64> =
            (0..x.len()).map(|i| if owned(i) { f64::from(random.normal()) } else { 0.0 }).collect();
        (inner(x_bar, &v) - inner(y_bar, &jvp(f, x, &v))).powi(2)
    };
    let mean = (0..DIRECTIONS).map(square).sum::<f64>() / DIRECTIONS as f64;
    let size = inner(x_bar, x_bar).sqrt();
    // A vanishing x_bar has no size to compare with; what it came from has.
    mean.sqrt() / size.max(1e-3 * inner(y_bar, y_bar).sqrt())
}

/// f32 numbers as f64.
pub fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
