//! Rows of maps over levels, blocks or heads: their names, and the choice of those with the largest values.

use resolvent_field::Array;

/// Returns the names of the rows of an array whose last axis is the token: levels `h3`, blocks `L3`, heads `L3H5`;
/// `None` for other axes.
pub(crate) fn names(axes: &[(&str, usize)]) -> Option<Vec<String>> {
    match axes {
        [("level", levels), ("token", _)] => Some((0..*levels).map(|l| format!("h{l}")).collect()),
        [("block", blocks), ("token", _)] => Some((0..*blocks).map(|l| format!("L{l}")).collect()),
        [("block", blocks), ("head", heads), ("token", _)] => {
            Some((0..blocks * heads).map(|i| format!("L{}H{}", i / heads, i % heads)).collect())
        }
        _ => None,
    }
}

/// Returns the largest magnitude of each row of values `[rows, tokens]`.
pub(crate) fn row_sizes(values: &[f32], tokens: usize) -> Vec<f32> {
    let largest = |row: &[f32]| row.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f32::max);
    values.chunks(tokens.max(1)).map(largest).collect()
}

/// Returns the `count` rows with the largest magnitudes of an array over rows and tokens, in the order of the array.
pub fn strongest_rows(array: &Array, count: usize) -> Vec<usize> {
    let sizes = row_sizes(&array.data, array.axes.last().map_or(1, |axis| axis.1));
    let mut rows: Vec<usize> = (0..sizes.len()).collect();
    rows.sort_by(|&a, &b| sizes[b].total_cmp(&sizes[a]));
    rows.truncate(count);
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_rows_are_in_their_order() {
        let axes = vec![("block", 2), ("head", 2), ("token", 2)];
        let array = Array { name: "effect.z", axes, data: vec![0.0, 9.0, 1.0, 0.0, -2.0, 0.5, f32::NAN, 0.0] };
        assert_eq!(strongest_rows(&array, 2), [0, 2]);
        assert_eq!(strongest_rows(&array, 9), [0, 1, 2, 3]);
        assert_eq!(names(&array.axes).expect("heads")[3], "L1H1");
    }
}
