//! gain:  y = gain x + bias,  column by column.

use crate::Scalar;

/// Multiplies each column by its gain and adds its bias. `x [T, d]`, `gain [d]`, `bias [d]` -> `[T, d]`.
pub fn gain<S: Scalar>(x: &[S], gain: &[S], bias: &[S]) -> Vec<S> {
    let d = gain.len();
    assert!(bias.len() == d && x.len().is_multiple_of(d), "gain: {} values are not rows of {d}", x.len());
    x.iter().enumerate().map(|(i, &x)| x * gain[i % d] + bias[i % d]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn known_rows() {
        assert_eq!(gain(&[1.0, 2.0, 3.0, 4.0], &[2.0, -1.0], &[0.0, 10.0]), [2.0, 8.0, 6.0, 6.0]);
    }

    #[test]
    fn derivatives() {
        let (a, b) = (check::constants(&check::numbers(2, 3)), check::constants(&check::numbers(3, 3)));
        check::derivatives(&check::numbers(1, 12), |x| gain(x, &a, &b));
    }
}
