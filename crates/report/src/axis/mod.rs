//! Axes: ranges of values, their ticks, and the frame that they make round a plot.

mod frame;
pub(crate) mod number;
mod robust;
pub(crate) mod ticks;

pub(crate) use frame::{Frame, Place, crisp};
pub(crate) use robust::Inner;

/// An axis: what it shows, and how values are spaced on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// What its numbers are, with the unit: `J(patched) - J(corrupted)`.
    pub label: String,
    /// Powers of ten are evenly spaced; values that are not positive cannot be shown, and are counted below the plot.
    pub log: bool,
    /// Its values are whole numbers, such as levels: no tick lies between them.
    pub whole: bool,
}

impl Axis {
    /// An axis on which equal differences are equal lengths.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// An axis on which equal ratios are equal lengths.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true, ..Self::default() }
    }

    /// A linear axis of whole numbers: levels, tokens, indices.
    pub fn whole(label: impl Into<String>) -> Self {
        Self { label: label.into(), whole: true, ..Self::default() }
    }

    /// Whether the axis has a place for a value.
    pub(crate) fn shows(&self, value: f64) -> bool {
        // Nearly the largest number has no room beside it.
        value.abs() < 1e300 && (!self.log || value > 1e-300)
    }

    /// The range of those values that can be shown, with some room at both ends.
    pub(crate) fn range(&self, values: impl IntoIterator<Item = f64>) -> Range {
        let shown = values.into_iter().filter(|&v| self.shows(v));
        let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = match self.log {
            _ if low > high => (if self.log { 0.1 } else { 0.0 }, 1.0),
            false if low == high && self.whole => (low - 0.5, high + 0.5),
            true if low == high => (low / 2.0, high * 2.0),
            false if low == high => {
                let room = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
                (low - room, high + room)
            }
            _ => (low, high),
        };
        Range { low, high, log: self.log, whole: self.whole }.widen(0.04)
    }
}

/// Values from `low` to `high`, spaced evenly or by their logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) log: bool,
    /// Ticks are whole numbers.
    pub(crate) whole: bool,
}

impl Range {
    /// Where a value lies: 0 at the low end, 1 at the high one.
    pub(crate) fn share(&self, value: f64) -> f64 {
        let at = |v: f64| if self.log { v.ln() } else { v };
        (at(value) - at(self.low)) / (at(self.high) - at(self.low))
    }

    /// Whether a value lies in it.
    pub(crate) fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The value itself, or the end that is nearest to it.
    pub(crate) fn nearest(&self, value: f64) -> f64 {
        value.clamp(self.low, self.high)
    }

    /// Wider by a part of itself at both ends.
    fn widen(self, part: f64) -> Self {
        if self.log {
            let factor = (self.high / self.low).powf(part);
            return Self { low: self.low / factor, high: self.high * factor, ..self };
        }
        let room = (self.high - self.low) * part;
        Self { low: self.low - room, high: self.high + room, ..self }
    }

    /// Reaching zero, from where lengths of bars are measured.
    pub(crate) fn with_zero(self) -> Self {
        if self.log { self } else { Self { low: self.low.min(0.0), high: self.high.max(0.0), ..self } }
    }

    /// Ticks with their labels, and the power of ten that the axis' name should bear.
    pub(crate) fn ticks(&self, count: usize) -> (Vec<ticks::Tick>, i32) {
        match self.log {
            true => (ticks::logarithmic(self.low, self.high, count), 0),
            false => ticks::linear((self.low, self.high), count, self.whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_can_be_shown() {
        let range = Axis::linear("x").range([1.0, f64::NAN, 3.0, f64::INFINITY]);
        assert!(range.low < 1.0 && range.high > 3.0 && range.high < 3.2, "{range:?}");
        let range = Axis::log("x").range([0.0, -1.0, 1e-3, 10.0]);
        assert!(range.low > 1e-4 && range.low < 1e-3, "{range:?}");
        assert!((range.share(0.1) - 0.5).abs() < 1e-12);
    }

    /// No tick is between two levels, however few there are.
    #[test]
    fn whole_axes_have_whole_ticks() {
        for (low, high) in [(0.0, 1.0), (0.0, 2.0), (0.0, 3.0), (5.0, 5.0), (0.0, 12.0), (1.0, 144.0)] {
            for count in [2, 5, 8] {
                let labels: Vec<String> =
                    Axis::whole("level").range([low, high]).ticks(count).0.into_iter().map(|t| t.label).collect();
                assert!(labels.len() > usize::from(low < high), "{low} to {high}: {labels:?}");
                assert!(labels.iter().all(|l| !l.contains('.')), "{low} to {high}: {labels:?}");
            }
        }
    }

    #[test]
    fn ranges_of_one_value_and_of_none() {
        for values in [vec![], vec![0.0], vec![5.0], vec![-2.0], vec![1e-30]] {
            for axis in [Axis::linear("x"), Axis::log("x")] {
                let range = axis.range(values.iter().copied());
                assert!(range.low < range.high && range.share(range.high).is_finite(), "{range:?}");
                assert!(range.ticks(5).0.len() >= 2, "{values:?} {range:?}");
            }
        }
    }
}
