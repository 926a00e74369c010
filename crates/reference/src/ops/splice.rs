//! splice: one row of a slab, or some of its columns, is edited in place.
//! - add:          x <- x + s
//! - put:          x <- s
//! - scale:        x <- c x          (c = 0 ablates)
//! - project out:  x <- x - <x, u> / <u, u> u

use std::ops::Range;

use crate::Scalar;

/// What happens to the row; vectors are as long as the column range.
#[derive(Clone, Copy, Debug)]
pub enum Edit<'a, S> {
    /// Add a vector.
    Add(&'a [S]),
    /// Put a vector in place.
    Put(&'a [S]),
    /// Multiply by a number.
    Scale(S),
    /// Remove the component along a vector of any length but zero.
    ProjectOut(&'a [S]),
}

/// Edits `columns` of row `token` of `x [T, width]`; the columns are those of a head, or all of `0..width`.
pub fn splice<S: Scalar>(x: &mut [S], width: usize, token: usize, columns: Range<usize>, edit: Edit<'_, S>) {
    assert!(columns.end <= width, "splice: columns {columns:?} of a row of {width}");
    assert!((token + 1) * width <= x.len(), "splice: token {token} of {}", x.len() / width);
    let row = &mut x[token * width..][columns];
    if let Edit::Add(s) | Edit::Put(s) | Edit::ProjectOut(s) = edit {
        assert_eq!(s.len(), row.len(), "splice: vector and columns differ in length");
    }
    match edit {
        Edit::Add(s) => row.iter_mut().zip(s).for_each(|(x, &s)| *x += s),
        Edit::Put(s) => row.copy_from_slice(s),
        Edit::Scale(c) => row.iter_mut().for_each(|x| *x = *x * c),
        Edit::ProjectOut(u) => {
            let (mut along, mut square) = (S::from_f64(0.0), S::from_f64(0.0));
            for (&x, &u) in row.iter().zip(u) {
                along += x * u;
                square += u * u;
            }
            assert!(square.value() > 0.0, "splice: cannot project out the zero vector");
            row.iter_mut().zip(u).for_each(|(x, &u)| *x = *x - along / square * u);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check;

    /// A slab of two rows of four after an edit of columns 1..3 of row 1.
    fn edited(edit: Edit<'_, f64>) -> Vec<f64> {
        let mut x = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        splice(&mut x, 4, 1, 1..3, edit);
        assert_eq!(x[..5], [1.0, 2.0, 3.0, 4.0, 5.0], "the rest is untouched");
        assert_eq!(x[7], 8.0, "the rest is untouched");
        x[5..7].to_vec()
    }

    #[test]
    fn each_edit_by_hand() {
        assert_eq!(edited(Edit::Add(&[0.5, -1.0])), [6.5, 6.0]);
        assert_eq!(edited(Edit::Put(&[0.5, -1.0])), [0.5, -1.0]);
        assert_eq!(edited(Edit::Scale(2.0)), [12.0, 14.0]);
        assert_eq!(edited(Edit::ProjectOut(&[3.0, 0.0])), [0.0, 7.0]);
        assert_eq!(edited(Edit::ProjectOut(&[1.0, 1.0])), [-0.5, 0.5]);
    }

    #[test]
    fn derivatives() {
        let s = check::numbers(7, 3);
        check::derivatives(&check::numbers(8, 10), |x| {
            let mut y = x.to_vec();
            splice(&mut y, 5, 0, 1..4, Edit::ProjectOut(&check::constants(&s)));
            splice(&mut y, 5, 1, 2..5, Edit::Add(&x[..3]));
            splice(&mut y, 5, 1, 0..1, Edit::Scale(x[1]));
            splice(&mut y, 5, 0, 0..1, Edit::Put(&x[4..5]));
            y
        });
    }

    #[test]
    #[should_panic(expected = "vector and columns differ in length")]
    fn a_wrong_length_is_named() {
        edited(Edit::Add(&[1.0]));
    }
}
