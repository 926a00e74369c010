//! Finds the range of most values, so that a few distant outliers do not compress all others.

use super::Axis;

/// At most one point in this many is an outlier, but one always may be.
const SHARE: usize = 300;
/// Most points that may be outliers; each of them is drawn.
const MOST: usize = 20;
/// With fewer points than this, none is an outlier.
const FEW: usize = 12;
/// Values are outliers if they make the axis at least this many times as long.
const FACTOR: f64 = 8.0;
/// If outliers make the axis at least this many times as long, the other values may be mere rounding. They would show
/// nothing when drawn larger.
const NOISE: f64 = 1e5;

/// The range of the values without their outliers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Inner {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Inner {
    /// Returns the range that remains after the fewest possible outliers are left outside; `None` if there are no
    /// outliers.
    ///
    /// `values` are the values of `points` points. The axis must be able to show them all.
    pub(crate) fn of(axis: &Axis, values: &[f64], points: usize) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let per_point = values.len() / points.max(1);
        let length = |low: f64, high: f64| if axis.log { (high / low).ln() } else { high - low };
        if points < FEW {
            return None;
        }
        let all = length(sorted[0], *sorted.last()?);
        let most = (points / SHARE).clamp(1, MOST) * per_point;
        (1..=most).find_map(|outside| {
            let part = |below: usize| (sorted[below], sorted[sorted.len() - 1 - (outside - below)]);
            let shortest = (0..=outside).map(part).min_by(|a, b| length(a.0, a.1).total_cmp(&length(b.0, b.1)));
            let (low, high) = shortest?;
            let times = all / length(low, high);
            (FACTOR..NOISE).contains(&times).then_some(Self { low, high })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(axis: &Axis, values: &[f64]) -> Option<(f64, f64)> {
        Inner::of(axis, values, values.len()).map(|i| (i.low, i.high))
    }

    #[test]
    fn one_value_far_from_the_others_is_an_outlier() {
        let linear = Axis::linear("x");
        let mut values: Vec<f64> = (0..40).map(f64::from).collect();
        assert_eq!(inner(&linear, &values), None);
        values.push(300.0);
        assert_eq!(inner(&linear, &values), None, "not far");
        *values.last_mut().expect("a value") = 4000.0;
        assert_eq!(inner(&linear, &values), Some((0.0, 39.0)));
        values.push(5000.0);
        assert_eq!(inner(&linear, &values), None, "two of 42 are no outliers");
        values.truncate(40);
        values.push(-4000.0);
        assert_eq!(inner(&linear, &values), Some((0.0, 39.0)));
        // On a logarithmic axis, ratios decide.
        let log = Axis::log("x");
        assert_eq!(inner(&log, &(1..=40).map(f64::from).chain([4000.0]).collect::<Vec<_>>()), None);
        let narrow: Vec<f64> = (0..40).map(|i| 1.0 + f64::from(i) / 40.0).chain([4000.0]).collect();
        assert_eq!(inner(&log, &narrow), Some((1.0, 1.975)));
    }

    #[test]
    fn few_values_and_rounding_have_no_outliers() {
        let linear = Axis::linear("x");
        assert_eq!(inner(&linear, &[0.0, 1.0, 2.0, 900.0]), None);
        let rounding: Vec<f64> = (0..40).map(|i| f64::from(i) * 1e-9).chain([20.0]).collect();
        assert_eq!(inner(&linear, &rounding), None);
        let zeros: Vec<f64> = vec![0.0; 40].into_iter().chain([20.0]).collect();
        assert_eq!(inner(&linear, &zeros), None);
        assert_eq!(inner(&linear, &[]), None);
    }
}
