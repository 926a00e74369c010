//! Copies of stored rows as columns of a matrix.

use rayon::prelude::*;

/// Stored rows in a tile: in f32, their elements are two cache lines of a row of the matrix, and in f16 one.
const ROWS: usize = 32;

/// Elements of each stored row in a tile: whole cache lines, few enough that tiles stay in the first cache.
const INPUTS: usize = 64;

/// Writes each row of `stored` to the column of `matrix` beside it. A row of `matrix` has `n` elements.
///
/// Reading one element of row after row would load the same cache lines again and again: rows often lie a power of two
/// apart, and then only a few of their lines fit the cache together. So each line is read once, into a tile.
pub(crate) fn transpose<T: Copy + Default + Send + Sync>(stored: &[(usize, &[T])], matrix: &mut [T], n: usize) {
    matrix.par_chunks_mut(INPUTS * n).enumerate().for_each(|(band, rows)| {
        let (first, inputs) = (band * INPUTS, rows.len() / n);
        let mut tile = [[T::default(); ROWS]; INPUTS];
        for block in stored.chunks(ROWS) {
            for (r, (_, row)) in block.iter().enumerate() {
                for (line, x) in tile.iter_mut().zip(&row[first..first + inputs]) {
                    line[r] = *x;
                }
            }
            let start = block.first().map_or(0, |(column, _)| *column);
            let adjacent = block.iter().enumerate().all(|(i, (column, _))| *column == start + i);
            for (row, line) in rows.chunks_mut(n).zip(&tile) {
                if adjacent && let Some(to) = row[start..].first_chunk_mut::<ROWS>().filter(|_| block.len() == ROWS) {
                    *to = *line;
                } else {
                    block.iter().zip(line).for_each(|((column, _), x)| row[*column] = *x);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    fn check<T: Copy + Default + Send + Sync + PartialEq + std::fmt::Debug>(of: impl Fn(usize) -> T) {
        let cases = [(1, vec![0]), (5, vec![2, 0]), (63, (0..35).collect()), (65, (3..67).collect()), (64, vec![1; 1])];
        for (inputs, columns) in cases.into_iter().chain([(130, (0..96).rev().collect())]) {
            let n = columns.iter().max().map_or(0, |last| last + 2);
            let rows: Vec<Vec<T>> =
                columns.iter().map(|c| (0..inputs).map(|i| of(c * 1000 + i + 1)).collect()).collect();
            let stored: Vec<(usize, &[T])> = columns.iter().copied().zip(rows.iter().map(Vec::as_slice)).collect();
            let mut matrix = vec![of(0); inputs * n];
            transpose(&stored, &mut matrix, n);
            for (i, row) in matrix.chunks(n).enumerate() {
                for (c, &x) in row.iter().enumerate() {
                    let expected = if columns.contains(&c) { of(c * 1000 + i + 1) } else { of(0) };
                    assert_eq!(x, expected, "{inputs} inputs, row {i}, column {c}");
                }
            }
        }
    }

    #[test]
    fn rows_become_columns() {
        check(|i| i as f32);
        // Below infinity: a NaN equals nothing.
        check(|i| f16::from_bits((i % 0x7C00) as u16));
    }
}
