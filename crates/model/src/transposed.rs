//! Copies of stored rows as columns of a matrix.

use rayon::prelude::*;

/// Elements of a stored row that are read at a time: a cache line of f32. As many rows of them fit the registers.
const TILE: usize = 16;

/// Writes each row of `stored` to the column of `matrix` beside it. A row of `matrix` has `n` elements.
///
/// Reading one element of row after row would load the same cache lines again and again: rows often lie a power of two
/// apart, and then only a few of their lines fit the cache together. So each line is read once, into a tile.
pub(crate) fn transpose(stored: &[(usize, &[f32])], matrix: &mut [f32], n: usize) {
    matrix.par_chunks_mut(TILE * n).enumerate().for_each(|(band, rows)| {
        let first = band * TILE;
        for block in stored.chunks(TILE) {
            let mut tile = [[0.0f32; TILE]; TILE];
            for ((_, row), line) in block.iter().zip(&mut tile) {
                match row[first..].first_chunk::<TILE>() {
                    Some(whole) => *line = *whole,
                    None => line[..row.len() - first].copy_from_slice(&row[first..]),
                }
            }
            let start = block.first().map_or(0, |(column, _)| *column);
            let adjacent = block.len() == TILE && block.iter().enumerate().all(|(i, (column, _))| *column == start + i);
            for (i, row) in rows.chunks_mut(n).enumerate() {
                if adjacent && let Some(to) = row[start..].first_chunk_mut::<TILE>() {
                    to.iter_mut().zip(&tile).for_each(|(x, line)| *x = line[i]);
                } else {
                    block.iter().zip(&tile).for_each(|((column, _), line)| row[*column] = line[i]);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        for (inputs, columns) in [(1, vec![0]), (5, vec![2, 0]), (33, (0..35).collect()), (16, (0..48).rev().collect())]
        {
            let n = columns.len() + 1;
            let rows: Vec<Vec<f32>> =
                columns.iter().map(|c| (0..inputs).map(|i| (c * 1000 + i) as f32).collect()).collect();
            let stored: Vec<(usize, &[f32])> = columns.iter().copied().zip(rows.iter().map(Vec::as_slice)).collect();
            let mut matrix = vec![-1.0; inputs * n];
            transpose(&stored, &mut matrix, n);
            for (i, row) in matrix.chunks(n).enumerate() {
                for (c, &x) in row.iter().enumerate() {
                    let expected = if columns.contains(&c) { (c * 1000 + i) as f32 } else { -1.0 };
                    assert_eq!(x, expected, "{inputs} inputs, row {i}, column {c}");
                }
            }
        }
    }
}
