//! What the tests of every op share: numbers to try, and derivatives against differences.

use crate::{Dual, Scalar};

/// The scalar that the derivative check runs an op on; constants of an op are lifted to it by [`constants`].
pub(crate) type Jet = Dual<Dual<f64>>;

/// `len` fixed numbers between -1.5 and 1.5, other ones for every `seed` (a linear congruential generator).
pub(crate) fn numbers(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..len).map(|_| 3.0 * next() - 1.5).collect()
}

/// `x` without derivatives.
pub(crate) fn constants(x: &[f64]) -> Vec<Jet> {
    x.iter().map(|&x| Jet::from_f64(x)).collect()
}

/// |found - expected| <= tolerance (1 + |expected|), element by element; NaN fails.
#[track_caller]
pub(crate) fn close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (&a, &b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "[{i}]: {a:e} is not {b:e}");
    }
}

/// First and second derivatives of `op` at `x` along two directions at once, against central differences in f64.
///
/// The step 1e-3 with the five-point rules leaves a truncation error of about h^4 = 1e-12 and a rounding error of
/// 1e-16 / h^2 = 1e-10 in the second derivative.
#[track_caller]
pub(crate) fn derivatives(x: &[f64], op: impl Fn(&[Jet]) -> Vec<Jet>) {
    let directions = [numbers(101, x.len()), numbers(102, x.len())];
    for v in &directions {
        let lifted: Vec<Jet> = x.iter().zip(v).map(|(&x, &v)| Dual::new(Dual::new(x, v), Dual::new(v, 0.0))).collect();
        let y = op(&lifted);
        let first: Vec<f64> = y.iter().map(|y| y.primal.tangent).collect();
        let other: Vec<f64> = y.iter().map(|y| y.tangent.primal).collect();
        let second: Vec<f64> = y.iter().map(|y| y.tangent.tangent).collect();

        let h = 1e-3;
        let at = |steps: f64| -> Vec<f64> {
            let moved: Vec<f64> = x.iter().zip(v).map(|(&x, &v)| x + steps * h * v).collect();
            op(&constants(&moved)).iter().map(|y| y.value()).collect()
        };
        let [far_down, down, here, up, far_up] = [-2.0, -1.0, 0.0, 1.0, 2.0].map(at);
        let rows = 0..here.len();
        let slope = |i: usize| (far_down[i] - 8.0 * down[i] + 8.0 * up[i] - far_up[i]) / (12.0 * h);
        let second_derivative =
            |i: usize| (16.0 * (up[i] + down[i]) - far_up[i] - far_down[i] - 30.0 * here[i]) / (12.0 * h * h);
        assert!(first.iter().any(|&d| d != 0.0), "a check of zero against zero proves nothing");
        close(&first, &rows.clone().map(slope).collect::<Vec<_>>(), 1e-8);
        close(&second, &rows.map(second_derivative).collect::<Vec<_>>(), 1e-6);
        close(&first, &other, 1e-14);
    }
}
