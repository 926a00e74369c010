//! Resampling of maps from one depth to another.

use super::Maps;

/// Resamples a map at `levels` levels, linearly between the two levels that are nearest in relative depth `l / L`.
///
/// If one of the two values is NaN, the other is used.
pub(super) fn align(map: &Maps, levels: usize) -> Maps {
    let row = map.data.len() / map.levels;
    let mut data = Vec::with_capacity(levels * row);
    for level in 0..levels {
        let at = level as f64 * (map.levels - 1) as f64 / (levels - 1).max(1) as f64;
        let (low, share) = (at.floor() as usize, at.fract());
        let high = (low + 1).min(map.levels - 1);
        for i in 0..row {
            let (a, b) = (map.data[low * row + i], map.data[high * row + i]);
            data.push(match (a.is_nan(), b.is_nan()) {
                (false, true) => a,
                (true, false) => b,
                _ => a + share * (b - a),
            });
        }
    }
    Maps { levels, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_relative() {
        let map = Maps { levels: 3, data: vec![0.0, 10.0, 1.0, 20.0, 4.0, 0.0] };
        let same = align(&map, 3);
        assert_eq!(same.data, map.data);
        let finer = align(&map, 5);
        assert_eq!(finer.data, [0.0, 10.0, 0.5, 15.0, 1.0, 20.0, 2.5, 10.0, 4.0, 0.0]);
        let gap = align(&Maps { levels: 2, data: vec![1.0, 2.0, f64::NAN, 4.0] }, 3);
        assert_eq!(gap.data[..4], [1.0, 2.0, 1.0, 3.0]);
        let coarser = align(&map, 2);
        assert_eq!(coarser.data, [0.0, 10.0, 4.0, 0.0]);
    }
}
