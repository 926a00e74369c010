//! Statistics of predictions: correlation, sign agreement, slope, intervals.
//!
//! All functions take pairs (predicted, actual) or samples in f64, and return for any input. Undefined statistics are
//! NaN, which passes no check: the correlation of a constant, the mean of nothing, any statistic of a NaN.

mod agreement;
mod correlation;
mod paired;
mod pairs;
mod ranking;

pub use agreement::Agreement;
pub(crate) use agreement::{Centred, Sums, above};
pub(crate) use correlation::Moments;
pub use correlation::{mean, pearson, spearman};
pub use paired::{benjamini_hochberg, holm, mean_interval, signed_rank};
pub use pairs::Pairs;
pub(crate) use ranking::Ranking;

/// Returns the interpolated `q`-quantile of sorted numbers, or NaN for an empty slice.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (low, share) = (at.floor() as usize, at.fract());
    sorted[low] + share * (sorted[(low + 1).min(last)] - sorted[low])
}

/// Returns the median of numbers in any order, or NaN for an empty slice.
pub fn median(x: &[f64]) -> f64 {
    quantile(&sorted(x), 0.5)
}

/// Returns the numbers in ascending order.
pub fn sorted(x: &[f64]) -> Vec<f64> {
    let mut x = x.to_vec();
    x.sort_by(f64::total_cmp);
    x
}

/// An estimate with its 95 % interval: of the bootstrap ([`interval`]), or of Student's distribution
/// ([`mean_interval`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The estimate from all items.
    pub estimate: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Interval {
    /// An estimate and an interval that could not be measured.
    pub const NONE: Self = Self { estimate: f64::NAN, low: f64::NAN, high: f64::NAN };
}

/// Writes the estimate with its interval, if it has one: `0.52 (0.41 to 0.63)`.
impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |x: f64| if x.abs() < 10.0 { format!("{x:.2}") } else { format!("{x:.1}") };
        let [estimate, low, high] = [self.estimate, self.low, self.high].map(shown);
        match (self.estimate.is_nan(), self.low.is_nan()) {
            (true, _) => f.pad("no value"),
            (false, true) => f.pad(&estimate),
            (false, false) => f.pad(&format!("{estimate} ({low} to {high})")),
        }
    }
}

/// The least number of independent items for an interval. With fewer, a nominal 95 % covers much less.
pub const LEAST: usize = 8;

/// Number of resamples for an interval. The random error of its ends is then about a tenth of its width.
pub(crate) const RESAMPLES: usize = 1000;

/// Returns `estimate` of all items with a 95 % percentile bootstrap interval. The bootstrap draws with replacement from
/// `items`, which are independent units such as prompts. Estimates that are not finite are left out of the interval.
/// With fewer than [`LEAST`] items, its ends are NaN.
pub fn interval<T>(items: &[T], seed: u64, estimate: impl Fn(&[&T]) -> f64) -> Interval {
    let all: Vec<&T> = items.iter().collect();
    if items.len() < LEAST {
        return Interval { estimate: estimate(&all), ..Interval::NONE };
    }
    let mut state = seed;
    let mut draws = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let draw: Vec<&T> = (0..items.len()).map(|_| all[below(&mut state, all.len())]).collect();
        draws.push(estimate(&draw));
    }
    draws.retain(|x| x.is_finite());
    let draws = sorted(&draws);
    Interval { estimate: estimate(&all), low: quantile(&draws, 0.025), high: quantile(&draws, 0.975) }
}

/// Returns the standard deviation of a sample, with n - 1 in the denominator; NaN for fewer than two numbers.
pub fn deviation(sample: &[f64]) -> f64 {
    if sample.len() < 2 {
        return f64::NAN;
    }
    let middle = mean(sample);
    (sample.iter().map(|x| (x - middle).powi(2)).sum::<f64>() / (sample.len() - 1) as f64).sqrt()
}

/// Draws a number below `n` from a seeded stream (SplitMix64, Steele, Lea and Flood 2014), scaled by multiplication.
pub fn below(state: &mut u64, n: usize) -> usize {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    ((u128::from(z) * n as u128) >> 64) as usize
}

/// Moves a random choice of `count` items to the front, in random order.
pub(crate) fn choose<T>(items: &mut [T], count: usize, state: &mut u64) {
    for i in 0..count.min(items.len()) {
        let other = i + below(state, items.len() - i);
        items.swap(i, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_written_where_there_are_any() {
        let text = |estimate, low, high| format!("{:>8}", Interval { estimate, low, high });
        assert_eq!(text(0.516, 0.4, 12.0), "0.52 (0.40 to 12.0)");
        assert_eq!(text(-25.16, f64::NAN, f64::NAN), "   -25.2");
        assert_eq!(text(f64::NAN, 0.0, 1.0), "no value");
    }

    #[test]
    fn a_deviation_has_one_number_less_in_the_denominator() {
        assert_eq!(deviation(&[1.0, 3.0]), 2f64.sqrt());
        assert_eq!(deviation(&[2.0; 5]), 0.0);
        assert!(deviation(&[1.0]).is_nan() && deviation(&[]).is_nan());
    }

    #[test]
    fn quantiles_interpolate() {
        let x = [0.0, 1.0, 2.0, 3.0];
        assert_eq!((quantile(&x, 0.0), quantile(&x, 1.0), quantile(&x, 0.5)), (0.0, 3.0, 1.5));
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
    }

    /// The interval of a mean is close to theory: 1.96 standard errors to each side.
    #[test]
    fn an_interval_of_a_mean() {
        let mut state = 1;
        let items: Vec<f64> = (0..400).map(|_| below(&mut state, 1000) as f64 / 1000.0).collect();
        let own: Vec<f64> = items.clone();
        let got = interval(&items, 3, |draw| mean(&draw.iter().map(|x| **x).collect::<Vec<f64>>()));
        let variance = own.iter().map(|x| (x - mean(&own)).powi(2)).sum::<f64>() / 399.0;
        let expected = 1.96 * (variance / 400.0).sqrt();
        assert!((got.estimate - mean(&own)).abs() < 1e-12);
        for side in [got.estimate - got.low, got.high - got.estimate] {
            assert!((side / expected - 1.0).abs() < 0.2, "{side} {expected}");
        }
        assert_eq!(interval(&items, 3, |d| *d[0]), interval(&items, 3, |d| *d[0]), "seeded");
        assert_ne!(below(&mut 1, 1 << 40), below(&mut 2, 1 << 40));
    }
}
