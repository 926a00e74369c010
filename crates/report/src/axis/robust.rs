//! The part of an axis that most values are in, where few lie so far outside that the rest would be a line.

use super::Axis;

/// One of so many points may lie outside, and one of few.
const SHARE: usize = 300;
/// Most points outside: each is drawn.
const MOST: usize = 20;
/// With fewer values than these, each counts as one like the others.
const FEW: usize = 12;
/// Values are outliers if the axis is so many times as long with them.
const FACTOR: f64 = 8.0;
/// Beyond this the others are rounding beside the outliers, and show nothing when drawn larger.
const NOISE: f64 = 1e5;

/// The low and the high end of values without their outliers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Inner {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Inner {
    /// The least part of the values to leave outside so that the others fill the axis: none where they do so already.
    /// `values` of `points` points are all that the axis can show.
    pub(crate) fn of(axis: &Axis, values: &[f64], points: usize) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let each = values.len() / points.max(1);
        let length = |low: f64, high: f64| if axis.log { (high / low).ln() } else { high - low };
        if points < FEW {
            return None;
        }
        let all = length(sorted[0], *sorted.last()?);
        let most = (points / SHARE).clamp(1, MOST) * each;
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
    fn a_value_far_outside_is_left_outside() {
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
        // On a logarithmic axis ratios count.
        let log = Axis::log("x");
        assert_eq!(inner(&log, &(1..=40).map(f64::from).chain([4000.0]).collect::<Vec<_>>()), None);
        let narrow: Vec<f64> = (0..40).map(|i| 1.0 + f64::from(i) / 40.0).chain([4000.0]).collect();
        assert_eq!(inner(&log, &narrow), Some((1.0, 1.975)));
    }

    #[test]
    fn what_is_beside_rounding_or_beside_few_is_no_outlier() {
        let linear = Axis::linear("x");
        assert_eq!(inner(&linear, &[0.0, 1.0, 2.0, 900.0]), None);
        let rounding: Vec<f64> = (0..40).map(|i| f64::from(i) * 1e-9).chain([20.0]).collect();
        assert_eq!(inner(&linear, &rounding), None);
        let zeros: Vec<f64> = vec![0.0; 40].into_iter().chain([20.0]).collect();
        assert_eq!(inner(&linear, &zeros), None);
        assert_eq!(inner(&linear, &[]), None);
    }
}
