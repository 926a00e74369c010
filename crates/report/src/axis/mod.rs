//! Axes: ranges of values, their ticks, and the frame around a plot.

mod frame;
pub(crate) mod number;
mod robust;
pub(crate) mod ticks;

pub(crate) use frame::{Frame, Place, crisp};
pub(crate) use robust::Inner;

/// An axis: what it shows, and how values are spaced on it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// Name of the quantity on the axis, with its unit: `J(patched) - J(corrupted)`.
    pub label: String,
    /// Whether the axis is logarithmic. It cannot show values that are not positive; a note below the plot counts them.
    pub log: bool,
    /// Whether the values are whole numbers, such as levels: no tick lies between them.
    pub whole: bool,
}

impl Axis {
    /// Creates an axis on which equal differences are equal lengths.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Creates an axis on which equal ratios are equal lengths.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true, ..Self::default() }
    }

    /// Creates a linear axis of whole numbers: levels, tokens, indices.
    pub fn whole(label: impl Into<String>) -> Self {
        Self { label: label.into(), whole: true, ..Self::default() }
    }

    /// Returns whether the axis can show a value.
    pub(crate) fn shows(&self, value: f64) -> bool {
        // Near the largest number, an axis has no room for a margin.
        value.abs() < 1e300 && (!self.log || value > 1e-300)
    }

    /// Returns the range of the values that can be shown, with a margin at both ends.
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
    /// Whether ticks are at whole numbers only.
    pub(crate) whole: bool,
}

impl Range {
    /// Returns the position of a value: 0 at the low end, 1 at the high end.
    pub(crate) fn share(&self, value: f64) -> f64 {
        let at = |v: f64| if self.log { v.ln() } else { v };
        (at(value) - at(self.low)) / (at(self.high) - at(self.low))
    }

    /// Returns whether a value lies in the range.
    pub(crate) fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Returns the value, or the nearest end if it lies outside the range.
    pub(crate) fn nearest(&self, value: f64) -> f64 {
        value.clamp(self.low, self.high)
    }

    /// Widens the range at both ends by `part` of its length.
    fn widen(self, part: f64) -> Self {
        if self.log {
            let factor = (self.high / self.low).powf(part);
            return Self { low: self.low / factor, high: self.high * factor, ..self };
        }
        let room = (self.high - self.low) * part;
        Self { low: self.low - room, high: self.high + room, ..self }
    }

    /// Extends the range to zero, from which lengths of bars are measured. A logarithmic range does not change.
    pub(crate) fn with_zero(self) -> Self {
        if self.log { self } else { Self { low: self.low.min(0.0), high: self.high.max(0.0), ..self } }
    }

    /// Returns ticks with their labels, and the power of ten by which the labels are divided. The name of the axis
    /// must show this power.
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
    fn ranges_cover_the_values_that_can_be_shown() {
        let range = Axis::linear("x").range([1.0, f64::NAN, 3.0, f64::INFINITY]);
        assert!(range.low < 1.0 && range.high > 3.0 && range.high < 3.2, "{range:?}");
        let range = Axis::log("x").range([0.0, -1.0, 1e-3, 10.0]);
        assert!(range.low > 1e-4 && range.low < 1e-3, "{range:?}");
        assert!((range.share(0.1) - 0.5).abs() < 1e-12);
    }

    /// No tick is between two levels, even if there are only a few levels.
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
