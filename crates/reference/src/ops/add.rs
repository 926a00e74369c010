//! add:  y = a + b, element by element: the residual stream.

use crate::Scalar;

/// Sum of two arrays of one shape. `a [..]`, `b [..]` -> `[..]`.
pub fn add<S: Scalar>(a: &[S], b: &[S]) -> Vec<S> {
    assert_eq!(a.len(), b.len(), "add: {} values and {} values", a.len(), b.len());
    a.iter().zip(b).map(|(&a, &b)| a + b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn known_sums() {
        assert_eq!(add(&[1.0, -2.0], &[0.5, 2.0]), [1.5, 0.0]);
    }

    #[test]
    fn derivatives() {
        check::derivatives(&check::numbers(1, 8), |x| add(&x[..4], &x[4..]));
    }

    #[test]
    #[should_panic(expected = "add: 2 values and 1 values")]
    fn a_wrong_length_is_named() {
        add(&[0.0; 2], &[0.0]);
    }
}
