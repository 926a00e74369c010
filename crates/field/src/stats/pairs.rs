//! Predictions beside what they predict, and how well they agree.

use super::agreement::{Agreement, Centred, Sums, above};
use super::correlation::{Moments, pearson, spearman};

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
        let known = predicted.iter().zip(actual).filter_map(|(&p, &a)| above(p, a, floor));
        let (predicted, actual) = known.unzip();
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
        let sums = self.sums();
        Agreement::of(&sums, &Centred::of(&sums, self.each()), self.spearman())
    }

    /// Returns the pairs in their order.
    fn each(&self) -> impl Iterator<Item = (f64, f64)> {
        self.predicted.iter().copied().zip(self.actual.iter().copied())
    }

    fn sums(&self) -> Sums {
        Sums::of(self.each())
    }

    /// Returns Pearson's correlation of the two sides; see [`pearson`].
    pub fn pearson(&self) -> f64 {
        pearson(&self.predicted, &self.actual)
    }

    /// Returns the moments of the pairs.
    pub(crate) fn moments(&self) -> Moments {
        Moments::of(&self.predicted, &self.actual)
    }

    /// Returns Spearman's correlation of the two sides; see [`spearman`].
    pub fn spearman(&self) -> f64 {
        spearman(&self.predicted, &self.actual)
    }

    /// Returns the pairs of several lists as one.
    pub fn joined<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut joined = Self::default();
        all.into_iter().for_each(|pairs| joined.extend(pairs));
        joined
    }

    /// Returns the share of pairs with equal signs. Counts only pairs whose actual size exceeds 1 % of the largest: the
    /// sign of smaller values may come from rounding.
    pub fn sign_agreement(&self) -> f64 {
        Centred::of(&self.sums(), self.each()).sign()
    }

    /// Returns the least-squares slope, through the origin, of the actual values over the predicted ones. It is 1 if
    /// predictions have the right size.
    pub fn slope(&self) -> f64 {
        self.sums().slope()
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
        self.sums().relative_error()
    }
}

#[cfg(test)]
mod tests {
    use super::super::correlation::ranks;
    use super::super::{median, quantile, sorted};
    use super::*;

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
}
