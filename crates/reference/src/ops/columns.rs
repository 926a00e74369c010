//! columns:  some columns of each row.

use std::ops::Range;

use crate::Scalar;

/// Returns the columns `at` of each row. `x [T, width]` -> `[T, at.len()]`.
pub fn columns<S: Scalar>(x: &[S], width: usize, at: Range<usize>) -> Vec<S> {
    assert!(at.end <= width && x.len().is_multiple_of(width), "columns: {at:?} of rows of {width}, {} values", x.len());
    let rows = x.len() / width;
    (0..rows).flat_map(|r| at.clone().map(move |column| x[r * width + column])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    #[test]
    fn known_columns() {
        assert_eq!(columns(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 1..3), [2.0, 3.0, 5.0, 6.0]);
    }

    #[test]
    fn derivatives() {
        check::derivatives(&check::numbers(1, 8), |x| columns(x, 4, 1..3));
    }

    #[test]
    #[should_panic(expected = "columns: 2..4 of rows of 3, 6 values")]
    fn columns_outside_are_named() {
        columns(&[0.0; 6], 3, 2..4);
    }
}
