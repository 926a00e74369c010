//! Statistics of predictions: correlation, sign agreement, slope, intervals.
//!
//! All functions take pairs (predicted, actual) or samples in f64, and return for any input. Undefined statistics are
//! NaN, which passes no check: the correlation of a constant, the mean of nothing, any statistic of a NaN.

/// Predicted values, paired with actual ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    /// Predicted values.
    pub predicted: Vec<f64>,
    /// Actual values, in the same order.
    pub actual: Vec<f64>,
}

impl Pairs {
    /// Pairs two arrays of the same length.
    pub fn new(predicted: &[f32], actual: &[f32]) -> Self {
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect();
        Self { predicted: wide(predicted), actual: wide(actual) }
    }

    /// Pairs two arrays of the same length whose values are accurate to `floor`.
    ///
    /// A pair of two exact zeros is left out, because no effect is possible there. Values of at most `floor` in size,
    /// predicted or actual, become 0 and so tie: no statistic ranks rounding errors.
    pub fn above(predicted: &[f32], actual: &[f32], floor: f64) -> Self {
        let known = |x: f32| if f64::from(x).abs() <= floor { 0.0 } else { f64::from(x) };
        let acted = predicted.iter().zip(actual).filter(|(p, a)| **p != 0.0 || **a != 0.0);
        let (predicted, actual) = acted.map(|(&p, &a)| (known(p), known(a))).unzip();
        Self { predicted, actual }
    }

    /// Returns the number of pairs.
    pub fn len(&self) -> usize {
        self.actual.len()
    }

    /// Returns whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.actual.is_empty()
    }

    /// Adds the pairs of `other`.
    pub fn extend(&mut self, other: &Self) {
        self.predicted.extend_from_slice(&other.predicted);
        self.actual.extend_from_slice(&other.actual);
    }

    /// Returns the pairs at the indices that `keep` accepts.
    #[must_use]
    pub fn filter(&self, keep: impl Fn(usize) -> bool) -> Self {
        let of = |x: &[f64]| x.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, x)| *x).collect();
        Self { predicted: of(&self.predicted), actual: of(&self.actual) }
    }

    /// Returns all statistics of the pairs.
    pub fn agreement(&self) -> Agreement {
        Agreement {
            count: self.len(),
            ties: self.actual.iter().filter(|a| **a == 0.0).count(),
            undefined: self.undefined(),
            pearson: pearson(&self.predicted, &self.actual),
            spearman: spearman(&self.predicted, &self.actual),
            sign: self.sign_agreement(),
            slope: self.slope(),
            error: self.relative_error(),
        }
    }

    /// Returns the reason why correlations are undefined, if they are.
    fn undefined(&self) -> Option<&'static str> {
        let constant = |x: &[f64]| x.iter().all(|y| *y == x[0]);
        let finite = |x: &[f64]| x.iter().all(|y| y.is_finite());
        match () {
            () if self.is_empty() => Some("no effect and no prediction differs from 0"),
            () if !finite(&self.actual) => Some("an actual value is not finite"),
            () if !finite(&self.predicted) => Some("a predicted value is not finite"),
            () if self.len() == 1 => Some("there is one pair"),
            () if self.actual.iter().all(|a| *a == 0.0) => Some("all actual values are 0"),
            () if constant(&self.actual) => Some("all actual values are equal"),
            () if constant(&self.predicted) => Some("all predicted values are equal"),
            () => None,
        }
    }

    /// Returns the share of pairs with equal signs. Counts only pairs whose actual size exceeds 1 % of the largest: the
    /// sign of smaller values may come from rounding.
    pub fn sign_agreement(&self) -> f64 {
        let least = 0.01 * self.actual.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let counted = self.predicted.iter().zip(&self.actual).filter(|(_, a)| a.abs() > least);
        let (all, same) = counted.fold((0usize, 0usize), |(n, s), (p, a)| (n + 1, s + usize::from(p * a > 0.0)));
        same as f64 / all as f64
    }

    /// Returns the least-squares slope, through the origin, of the actual values over the predicted ones. It is 1 if
    /// predictions have the right size.
    pub fn slope(&self) -> f64 {
        let product: f64 = self.predicted.iter().zip(&self.actual).map(|(p, a)| p * a).sum();
        product / self.predicted.iter().map(|p| p * p).sum::<f64>()
    }

    /// Returns the share of the k largest actual sizes that are among the k largest predicted sizes; NaN if there are
    /// fewer than k pairs. Among equal sizes, earlier pairs come first.
    pub fn top_overlap(&self, k: usize) -> f64 {
        if k == 0 || k > self.len() {
            return f64::NAN;
        }
        let top = |x: &[f64]| {
            let mut order: Vec<usize> = (0..x.len()).collect();
            order.sort_by(|&a, &b| x[b].abs().total_cmp(&x[a].abs()));
            order.truncate(k);
            order.sort_unstable();
            order
        };
        let (predicted, actual) = (top(&self.predicted), top(&self.actual));
        actual.iter().filter(|i| predicted.binary_search(i).is_ok()).count() as f64 / k as f64
    }

    /// Returns `|predicted - actual| / |actual|`, with norms over all pairs.
    pub fn relative_error(&self) -> f64 {
        let square: f64 = self.predicted.iter().zip(&self.actual).map(|(p, a)| (p - a).powi(2)).sum();
        (square / self.actual.iter().map(|a| a * a).sum::<f64>()).sqrt()
    }
}

/// Statistics of predictions; see the methods of [`Pairs`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Number of pairs.
    pub count: usize,
    /// Number of pairs whose actual value is 0 or below the floor: they share a rank.
    pub ties: usize,
    /// Reason why the correlations are undefined, if they are.
    pub undefined: Option<&'static str>,
    /// Linear correlation.
    pub pearson: f64,
    /// Rank correlation.
    pub spearman: f64,
    /// Share of pairs with equal signs.
    pub sign: f64,
    /// Slope of actual over predicted values.
    pub slope: f64,
    /// Relative L2 error.
    pub error: f64,
}

impl std::fmt::Display for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |x: f64| if x.is_nan() { "undefined".to_owned() } else { format!("{x:.3}") };
        let sign = match self.sign.is_nan() {
            true => shown(self.sign),
            false => format!("{:.1} %", 100.0 * self.sign),
        };
        write!(f, "n {}", self.count)?;
        if self.ties > 0 {
            write!(f, " ({} tied at 0)", self.ties)?;
        }
        let [pearson, spearman, slope, error] = [self.pearson, self.spearman, self.slope, self.error].map(shown);
        write!(f, ", Pearson {pearson}, Spearman {spearman}, same sign {sign}, slope {slope}, relative error {error}")?;
        self.undefined.map_or(Ok(()), |why| write!(f, " (undefined: {why})"))
    }
}

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
        false => pearson(&ranks(x), &ranks(y)),
    }
}

/// Returns ranks from 0; equal values have the mean of their ranks. NaNs count as equal to each other.
fn ranks(x: &[f64]) -> Vec<f64> {
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

/// An estimate with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The estimate from all items.
    pub estimate: f64,
    /// Value below which 2.5 % of the resampled estimates lie.
    pub low: f64,
    /// Value above which 2.5 % of the resampled estimates lie.
    pub high: f64,
}

impl Interval {
    /// An estimate and an interval that could not be measured.
    pub const NONE: Self = Self { estimate: f64::NAN, low: f64::NAN, high: f64::NAN };
}

/// The least number of independent items for an interval. With fewer, a nominal 95 % covers much less.
pub const LEAST: usize = 8;

/// Number of resamples for an interval. The random error of its ends is then about a tenth of its width.
pub(crate) const RESAMPLES: usize = 1000;

/// Returns `estimate` of all items with a 95 % percentile bootstrap interval. The bootstrap draws with replacement from
/// `items`, which are independent units such as prompts. Estimates that are not finite are left out of the interval. With
/// fewer than [`LEAST`] items, its ends are NaN.
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
    let n = sample.len() as f64;
    let mean = sample.iter().sum::<f64>() / n;
    (sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
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
    fn a_deviation_has_one_number_less_in_the_denominator() {
        assert_eq!(deviation(&[1.0, 3.0]), 2f64.sqrt());
        assert_eq!(deviation(&[2.0; 5]), 0.0);
        assert!(deviation(&[1.0]).is_nan() && deviation(&[]).is_nan());
    }

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
        assert!(pearson(&x, &[3.0; 5]).is_nan() && mean(&[]).is_nan() && median(&[]).is_nan());
    }

    #[test]
    fn agreement_of_known_pairs() {
        let pairs = Pairs { predicted: vec![1.0, -2.0, 3.0, 1e-9], actual: vec![2.0, -4.0, 6.0, -1e-9] };
        let a = pairs.agreement();
        assert_eq!((a.count, a.sign), (4, 1.0), "the sign of next to nothing does not count");
        assert!((a.slope - 2.0).abs() < 1e-12 && (a.error - 0.5).abs() < 1e-12, "{a:?}");
        let wrong = Pairs { predicted: vec![-1.0, 1.0], actual: vec![1.0, 1.0] };
        assert_eq!(wrong.sign_agreement(), 0.5);
    }

    /// For every list of up to five odd numbers, all functions return without a panic, and a correlation lies in -1 to
    /// 1 or is NaN.
    #[test]
    fn statistics_return_for_any_input() {
        let odd = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.0, 2.5];
        for n in 0..=5u32 {
            for code in 0..odd.len().pow(n) {
                let x: Vec<f64> = (0..n).map(|i| odd[code / odd.len().pow(i) % odd.len()]).collect();
                let y: Vec<f64> = (0..n).map(f64::from).collect();
                for (a, b) in [(&x, &y), (&y, &x), (&x, &x)] {
                    for r in [pearson(a, b), spearman(a, b)] {
                        assert!(r.is_nan() || r.abs() < 1.0 + 1e-9, "{a:?} {b:?}: {r}");
                    }
                }
                assert_eq!(ranks(&x).iter().sum::<f64>(), y.iter().sum::<f64>(), "{x:?}: ranks are places");
                assert!(spearman(&x, &y).is_nan() || !x.iter().any(|x| x.is_nan()), "{x:?}: NaN has no rank");
                let text = Pairs { predicted: y, actual: x.clone() }.agreement().to_string();
                assert!(!text.contains("NaN") && !text.contains('\n'), "{x:?}: {text}");
                let _any = (median(&x), quantile(&sorted(&x), 0.3));
            }
        }
    }

    /// Values below the floor are ties, and the printed line counts them. An undefined statistic is printed with its
    /// reason.
    #[test]
    fn values_below_the_floor_are_ties() {
        let predicted = [3.0, 2.0, 1.0, 1e-7, -2e-7, 0.0];
        let actual = [6.0, 4.0, 2.0, -3e-7, 1e-7, 0.0];
        let raw = Pairs::new(&predicted, &actual).agreement();
        assert!(raw.count == 6 && raw.spearman < 0.9, "{raw}");
        let known = Pairs::above(&predicted, &actual, 1e-6).agreement();
        assert_eq!((known.count, known.ties, known.undefined), (5, 2, None));
        assert!((known.spearman - 1.0).abs() < 1e-12, "{known}");
        assert!(known.to_string().starts_with("n 5 (2 tied at 0), Pearson 1.000"), "{known}");
        let still = Pairs::above(&predicted, &[0.0; 6], 1e-6).agreement().to_string();
        assert!(!still.contains("NaN") && still.contains("all actual values are 0"), "{still}");
        let none = Pairs::above(&[0.0], &[0.0], 0.0).agreement().to_string();
        assert!(!none.contains("NaN") && none.contains("no effect and no prediction"), "{none}");
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
