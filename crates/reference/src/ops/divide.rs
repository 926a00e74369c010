//! divide:  y = c / s,  where a row is `[c | s]`.

use crate::Scalar;

/// Divides the first `d` values of each row by its last. `x [T, d + 1]` -> `[T, d]`.
pub fn divide<S: Scalar>(x: &[S], d: usize) -> Vec<S> {
    assert_eq!(x.len() % (d + 1), 0, "divide: {} values are not rows of {}", x.len(), d + 1);
    x.chunks_exact(d + 1).flat_map(|row| (0..d).map(move |i| row[i] / row[d])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn known_rows() {
        assert_eq!(divide(&[1.0, 4.0, 2.0, -3.0, 0.0, 3.0], 2), [0.5, 2.0, -1.0, 0.0]);
    }

    #[test]
    fn derivatives() {
        let mut x = check::numbers(1, 12);
        // Far from a division by zero.
        [x[3], x[7], x[11]] = [2.0, -1.7, 1.5];
        check::derivatives(&x, |x| divide(x, 3));
    }
}
