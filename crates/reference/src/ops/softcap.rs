//! softcap:  y = c tanh(x / c).

use crate::Scalar;

/// Caps each element softly. `x [..]` -> `[..]`.
pub fn softcap<S: Scalar>(x: &[S], cap: f64) -> Vec<S> {
    x.iter().map(|&x| S::from_f64(cap) * (x * S::from_f64(1.0 / cap)).tanh()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn known_values() {
        // tanh(1/2), tanh(1) and tanh(-2), computed with 40 digits and rounded.
        let want = [0.462_117_157_260_009_8, 0.761_594_155_955_764_9, -0.964_027_580_075_816_9].map(|x| 3.0 * x);
        check::close(&softcap(&[1.5, 3.0, -6.0], 3.0), &want, 1e-15);
        check::close(&softcap(&[1e-6, 1e9], 3.0), &[1e-6, 3.0], 1e-15);
    }

    #[test]
    fn derivatives() {
        check::derivatives(&check::numbers(6, 9), |x| softcap(x, 0.8));
    }
}
