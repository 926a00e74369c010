//! rope:  the first columns of a head are rotated in pairs (x_i, x_{i + rotary/2}) by angle = position * frequency_i:
//! y_i = s (x_i cos - x_{i + rotary/2} sin),  y_{i + rotary/2} = s (x_{i + rotary/2} cos + x_i sin).

use crate::Scalar;

/// The rotated heads of a row, and their frequencies.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    /// Number of heads that are rotated, from column 0 on.
    pub heads: usize,
    /// Columns of a head.
    pub d_head: usize,
    /// Angular frequencies, in radians a token, of the pairs of columns; `rotary` is twice their number.
    pub frequencies: &'a [f64],
    /// Factor of cosines and sines.
    pub scale: f64,
}

/// Rotates the heads of each row by the row's position. `x [T, n]`, `positions [T]` -> `[T, n]`.
pub fn rope<S: Scalar>(x: &[S], n: usize, positions: &[usize], rotation: Rotation<'_>) -> Vec<S> {
    let Rotation { heads, d_head, frequencies, scale } = rotation;
    let pairs = frequencies.len();
    assert_eq!(x.len(), positions.len() * n, "rope: {} values are not {} rows of {n}", x.len(), positions.len());
    assert!(2 * pairs <= d_head && heads * d_head <= n, "rope: {heads} heads of {d_head} columns in a row of {n}");
    let mut y = x.to_vec();
    for (row, &position) in positions.iter().enumerate() {
        for head in 0..heads {
            for (i, frequency) in frequencies.iter().enumerate() {
                let angle = position as f64 * frequency;
                let (c, s) = (S::from_f64(scale * libm::cos(angle)), S::from_f64(scale * libm::sin(angle)));
                let at = row * n + head * d_head + i;
                y[at] = x[at] * c - x[at + pairs] * s;
                y[at + pairs] = x[at + pairs] * c + x[at] * s;
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{FRAC_PI_2, FRAC_PI_6};

    use super::*;
    use crate::ops::check;

    /// Quarter turns a token for the first pair, and twelfths for the second.
    const TURNS: [f64; 2] = [FRAC_PI_2, FRAC_PI_6];

    #[test]
    fn known_rotations() {
        // Two heads of five columns, the last of which are copied, and one column behind the heads.
        let head = [1.0, 2.0, 3.0, 4.0, 5.0];
        let row = [&head[..], &head[..], &[9.0]].concat();
        let rotation = Rotation { heads: 2, d_head: 5, frequencies: &TURNS, scale: 1.0 };
        let y = rope(&[row.clone(), row.clone()].concat(), 11, &[0, 1], rotation);
        assert_eq!(y[..11], row, "at position 0, nothing is rotated");
        let (c, s) = (0.75_f64.sqrt(), 0.5);
        let turned = [-3.0, 2.0 * c - 4.0 * s, 1.0, 4.0 * c + 2.0 * s, 5.0];
        check::close(&y[11..], &[&turned[..], &turned[..], &[9.0]].concat(), 1e-15);
        let doubled = rope(&row, 11, &[1], Rotation { heads: 1, scale: 2.0, ..rotation });
        check::close(&doubled[..4], &[0, 1, 2, 3].map(|i| 2.0 * turned[i]), 1e-15);
        assert_eq!(doubled[4..], row[4..], "only the first head is rotated");
    }

    /// Scores depend on the distance of positions only.
    #[test]
    fn inner_products_depend_on_the_distance() {
        let (q, k) = (check::numbers(1, 4), check::numbers(2, 4));
        let rotation = Rotation { heads: 1, d_head: 4, frequencies: &[0.9, 0.07], scale: 1.0 };
        let score = |i: usize, j: usize| -> f64 {
            let (q, k) = (rope(&q, 4, &[i], rotation), rope(&k, 4, &[j], rotation));
            q.iter().zip(k).map(|(q, k)| q * k).sum()
        };
        check::close(&[score(7, 4), score(103, 100)], &[score(3, 0); 2], 1e-13);
    }

    #[test]
    fn derivatives() {
        let rotation = Rotation { heads: 2, d_head: 5, frequencies: &TURNS, scale: 1.2 };
        check::derivatives(&check::numbers(3, 22), |x| rope(x, 11, &[3, 5], rotation));
    }
}
