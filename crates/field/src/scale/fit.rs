//! Affine maps from one model's values to another's, one for each level.

use super::Maps;

/// `y = slope x + offset` at each level.
pub(super) struct Fit {
    /// (slope, offset) of each level.
    lines: Vec<(f64, f64)>,
}

impl Fit {
    /// Fits by least squares over all prompts and all values of a level. If x is constant, predicts the mean of y.
    pub(super) fn new(x: &[Maps], y: &[Maps]) -> Self {
        let levels = y.first().map_or(0, |map| map.levels);
        let line = |level: usize| {
            let points = || {
                let each = x.iter().zip(y);
                let each = each.flat_map(move |(x, y)| at(x, level).iter().zip(at(y, level)));
                each.map(|(x, y)| (*x, *y)).filter(|(x, y)| x.is_finite() && y.is_finite())
            };
            let n = points().count() as f64;
            let (mx, my) = points().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
            let (xy, xx) =
                points().fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + (x - mx) * (y - my), xx + (x - mx).powi(2)));
            let slope = if xx > 0.0 { xy / xx } else { 0.0 };
            (slope, my - slope * mx)
        };
        Self { lines: (0..levels).map(line).collect() }
    }

    /// Fits constants: the mean of y at each level.
    pub(super) fn means(y: &[Maps]) -> Self {
        let nothing: Vec<Maps> =
            y.iter().map(|map| Maps { levels: map.levels, data: vec![0.0; map.data.len()] }).collect();
        Self::new(&nothing, y)
    }

    /// Returns the predictions from x.
    pub(super) fn apply(&self, x: &Maps) -> Vec<f64> {
        let each = self.lines.iter().enumerate();
        each.flat_map(|(level, (slope, offset))| at(x, level).iter().map(move |x| slope * x + offset)).collect()
    }
}

/// Returns the values of a map at a level.
fn at(map: &Maps, level: usize) -> &[f64] {
    let row = map.data.len() / map.levels;
    &map.data[level * row..(level + 1) * row]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found() {
        let x = [vec![1.0, 2.0, 5.0, 5.0], vec![3.0, 4.0, 5.0, 5.0]].map(|data| Maps { levels: 2, data });
        let y = [vec![5.0, 7.0, 1.0, 2.0], vec![9.0, 11.0, 3.0, 4.0]].map(|data| Maps { levels: 2, data });
        let fit = Fit::new(&x, &y);
        assert_eq!(fit.apply(&Maps { levels: 2, data: vec![10.0, 0.0, 7.0, 8.0] }), [23.0, 3.0, 2.5, 2.5]);
        assert_eq!(Fit::means(&y).apply(&x[0]), [8.0, 8.0, 2.5, 2.5]);
    }
}
