//! Correlations of pairs of numbers, from all pairs or from the moments of parts of them.

/// Returns the mean, or NaN for an empty slice.
pub fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// Returns Pearson's correlation, or NaN if one side is constant. Constants are recognised even if their mean is
/// rounded.
pub fn pearson(x: &[f64], y: &[f64]) -> f64 {
    if [x, y].into_iter().any(|side| side.iter().all(|a| *a == side[0])) {
        return f64::NAN;
    }
    let (mx, my) = (mean(x), mean(y));
    let [mut xy, mut xx, mut yy] = [0.0; 3];
    for (x, y) in x.iter().zip(y) {
        xy += (x - mx) * (y - my);
        xx += (x - mx).powi(2);
        yy += (y - my).powi(2);
    }
    xy / (xx * yy).sqrt()
}

/// Returns Spearman's correlation: Pearson's correlation of the ranks, where equal values share a rank. If any value is
/// NaN, returns NaN.
pub fn spearman(x: &[f64], y: &[f64]) -> f64 {
    match x.iter().chain(y).any(|x| x.is_nan()) {
        true => f64::NAN,
        false => {
            let [x, y] = [ranks(x), ranks(y)];
            let mut sums = RankSums::new(x.len());
            x.iter().zip(&y).for_each(|(x, y)| sums.add([x, y].map(|rank| (2.0 * rank) as u64)));
            sums.correlation()
        }
    }
}

/// Returns ranks from 0; equal values have the mean of their ranks. NaNs count as equal to each other.
pub(super) fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
    let mut ranks = vec![0.0; x.len()];
    let mut first = 0;
    for group in order.chunk_by(|&a, &b| x[a] == x[b] || (x[a].is_nan() && x[b].is_nan())) {
        let rank = first as f64 + (group.len() - 1) as f64 / 2.0;
        group.iter().for_each(|&i| ranks[i] = rank);
        first += group.len();
    }
    ranks
}

/// Sums of ranks, each twice its rank, about their mean. They are integers, so that they do not depend on the
/// order of the pairs.
#[derive(Debug)]
pub(super) struct RankSums {
    /// Twice the mean of the ranks.
    middle: i128,
    product: i128,
    square: [i128; 2],
}

impl RankSums {
    /// Returns the sums over no pairs yet, of `count`.
    pub(super) fn new(count: usize) -> Self {
        Self { middle: count as i128 - 1, product: 0, square: [0; 2] }
    }

    /// Adds a pair by twice its ranks from 0.
    pub(super) fn add(&mut self, ranks: [u64; 2]) {
        let [x, y] = ranks.map(|rank| i128::from(rank) - self.middle);
        self.product += x * y;
        self.square[0] += x * x;
        self.square[1] += y * y;
    }

    /// Returns the correlation, or NaN if one side is constant.
    pub(super) fn correlation(&self) -> f64 {
        self.product as f64 / (self.square[0] as f64 * self.square[1] as f64).sqrt()
    }
}

/// Moments of pairs, from which parts can be joined: a bootstrap over prompts then costs no more than their number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    count: f64,
    /// Means of both sides.
    mean: [f64; 2],
    /// Sums of squares about the means, and of products.
    square: [f64; 2],
    product: f64,
    /// Smallest and largest value of each side: constants are recognised even if their means are rounded.
    range: [[f64; 2]; 2],
}

impl Moments {
    /// Returns the moments of pairs `(x, y)`.
    pub(crate) fn of(x: &[f64], y: &[f64]) -> Self {
        let ends = |side: &[f64]| {
            side.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], &x| [low.min(x), high.max(x)])
        };
        let mut moments = Self { count: x.len() as f64, mean: [mean(x), mean(y)], ..Self::default() };
        moments.range = [ends(x), ends(y)];
        let [mx, my] = moments.mean;
        for (x, y) in x.iter().zip(y) {
            moments.square[0] += (x - mx).powi(2);
            moments.square[1] += (y - my).powi(2);
            moments.product += (x - mx) * (y - my);
        }
        moments
    }

    /// Returns the moments of both parts together (Chan, Golub and LeVeque 1983).
    #[must_use]
    pub(crate) fn joined(self, other: Self) -> Self {
        let count = self.count + other.count;
        if self.count == 0.0 || other.count == 0.0 {
            return if self.count == 0.0 { other } else { self };
        }
        let (apart, weight) = ([0, 1].map(|i| other.mean[i] - self.mean[i]), self.count * other.count / count);
        Self {
            count,
            mean: [0, 1].map(|i| self.mean[i] + apart[i] * other.count / count),
            square: [0, 1].map(|i| self.square[i] + other.square[i] + apart[i] * apart[i] * weight),
            product: self.product + other.product + apart[0] * apart[1] * weight,
            range: [0, 1].map(|i| {
                let ([a, b], [c, d]) = (self.range[i], other.range[i]);
                [a.min(c), b.max(d)]
            }),
        }
    }

    /// Returns Pearson's correlation, as [`pearson`] of all pairs.
    pub(crate) fn pearson(self) -> f64 {
        let constant = self.range.iter().any(|[low, high]| low >= high);
        if constant { f64::NAN } else { self.product / (self.square[0] * self.square[1]).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_of_known_data() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert!((pearson(&x, &[2.0, 4.0, 6.0, 8.0, 10.0]) - 1.0).abs() < 1e-15);
        assert!((pearson(&x, &[5.0, 4.0, 3.0, 2.0, 1.0]) + 1.0).abs() < 1e-15);
        // By hand: covariance 6, variances 10 and 10.
        assert!((pearson(&x, &[2.0, 1.0, 4.0, 3.0, 5.0]) - 0.8).abs() < 1e-15);
        assert!((spearman(&x, &[1.0, 8.0, 27.0, 64.0, 125.0]) - 1.0).abs() < 1e-15);
        // Ties share a rank: x ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3 is 4.5 / sqrt(4.5 * 5).
        let tied = spearman(&[1.0, 2.0, 2.0, 9.0], &[1.0, 2.0, 3.0, 4.0]);
        assert!((tied - 4.5 / 22.5f64.sqrt()).abs() < 1e-15);
        assert!(pearson(&[0.1; 5], &x).is_nan() && pearson(&[], &[]).is_nan());
        assert!(pearson(&x, &[3.0; 5]).is_nan() && mean(&[]).is_nan());
    }

    #[test]
    fn moments_of_parts_give_the_correlation_of_all() {
        let x: Vec<f64> = (0..40).map(|i| 1e3 + f64::from(i * i % 17)).collect();
        let y: Vec<f64> = x.iter().enumerate().map(|(i, x)| 0.3 * x - (i % 5) as f64).collect();
        for cut in [0, 1, 13, 39] {
            let both = Moments::of(&x[..cut], &y[..cut]).joined(Moments::of(&x[cut..], &y[cut..]));
            assert!((both.pearson() - pearson(&x, &y)).abs() < 1e-12, "{cut}");
        }
        let twice = Moments::of(&[0.1; 3], &x[..3]).joined(Moments::of(&[0.1; 4], &x[3..7]));
        assert!(twice.pearson().is_nan() && Moments::default().pearson().is_nan());
        let other = Moments::of(&[0.1; 3], &x[..3]).joined(Moments::of(&[0.2; 4], &x[3..7]));
        assert!(other.pearson().is_finite(), "two constants are no constant");
    }
}
