//! Positions and labels of the ticks of an axis.

use super::number;

/// A tick: its value and its label, which may be empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) at: f64,
    pub(crate) label: String,
}

/// Returns about `count` ticks of a linear axis, and the power of ten by which their labels are divided.
///
/// Ticks are at multiples of 1, 2 or 5 times a power of ten. Ticks of a `whole` axis are at whole numbers. The name
/// of the axis must show the power of ten.
pub(crate) fn linear((low, high): (f64, f64), count: usize, whole: bool) -> (Vec<Tick>, i32) {
    let multiples = |step: f64| -> Vec<f64> {
        let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
        (first..=last).map(|i| i as f64 * step).collect()
    };
    let least = if whole { 1.0 } else { 0.0 };
    let mut step = step((high - low) / count.max(1) as f64).max(least);
    let mut at = multiples(step);
    if at.len() < 2 {
        // A single tick would show a position, but no scale.
        step = smaller(step).max(least);
        at = multiples(step);
    }
    let power = number::power(low.abs().max(high.abs()));
    let labels = number::labels(&at, step, power);
    (at.into_iter().zip(labels).map(|(at, label)| Tick { at, label }).collect(), power)
}

/// Returns the smallest number that is at least `rough` and is 1, 2 or 5 times a power of ten.
fn step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|&nice| nice * power >= rough * 0.999);
    nice.unwrap_or(10.0) * power
}

/// Returns the next smaller step.
fn smaller(from: f64) -> f64 {
    step(from * 0.3)
}

/// Returns about `count` ticks of a logarithmic axis.
///
/// Ticks are at each power of ten or, if there are many, at every second, third, ... power. If there are fewer than
/// three powers, ticks are also at 2 and 5 times these.
pub(crate) fn logarithmic(low: f64, high: f64, count: usize) -> Vec<Tick> {
    let (from, to) = ((low.log10() - 1e-9).ceil() as i32, (high.log10() + 1e-9).floor() as i32);
    let decades = usize::try_from(to - from + 1).unwrap_or(0);
    let decimal = low >= 0.999e-3 && high <= 1.001e5;
    let label = |digit: f64, exponent: i32| match (decimal, digit == 1.0) {
        (true, _) => number::value(digit * 10f64.powi(exponent)),
        (false, true) => number::power_of_ten(exponent),
        (false, false) => format!("{digit}·{}", number::power_of_ten(exponent)),
    };
    if decades < 3 {
        let ticks = (from - 1..=to)
            .flat_map(|e| [1.0, 2.0, 5.0].map(|digit| Tick { at: digit * 10f64.powi(e), label: label(digit, e) }));
        let ticks: Vec<Tick> = ticks.filter(|tick| (low * 0.999..=high * 1.001).contains(&tick.at)).collect();
        // A range of less than a factor of two has too few of these ticks, so those of a linear axis are used.
        return if ticks.len() >= 2 { ticks } else { linear_of_log(low, high, count) };
    }
    let every = decades.div_ceil(count.max(2)).max(1) as i32;
    let tick = |e: i32| Tick { at: 10f64.powi(e), label: label(1.0, e) };
    (from..=to).filter(|e| e.rem_euclid(every) == 0).map(tick).collect()
}

fn linear_of_log(low: f64, high: f64, count: usize) -> Vec<Tick> {
    let (ticks, _) = linear((low, high), count, false);
    ticks.into_iter().map(|tick| Tick { label: number::minus(&number::value(tick.at)), ..tick }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|t| t.label.as_str()).collect()
    }

    #[test]
    fn steps_are_1_2_or_5() {
        assert_eq!(shown(&linear((0.0, 1.0), 5, false).0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(shown(&linear((-3.3, 21.4), 6, false).0), ["0", "5", "10", "15", "20"]);
        assert_eq!(shown(&linear((-1e-6, 1e-6), 4, false).0), ["−1.0", "−0.5", "0.0", "0.5", "1.0"]);
    }

    #[test]
    fn ticks_lie_in_the_range_and_have_about_the_right_count() {
        for (low, high) in [(0.013, 0.97), (-7e5, 3.0), (1e-12, 9e-12), (99.0, 101.0)] {
            for count in [3, 5, 8] {
                let ticks = linear((low, high), count, false).0;
                assert!((2..=count + 2).contains(&ticks.len()), "{low} {high} {count}: {ticks:?}");
                let slack = (high - low) * 1e-6;
                assert!(ticks.iter().all(|t| t.at >= low - slack && t.at <= high + slack));
            }
        }
    }

    #[test]
    fn logarithmic_ticks_are_powers_of_ten() {
        assert_eq!(shown(&logarithmic(1e-8, 1.0, 5)), ["10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "10⁰"]);
        assert_eq!(shown(&logarithmic(0.01, 100.0, 8)), ["0.01", "0.1", "1", "10", "100"]);
        assert_eq!(shown(&logarithmic(0.9, 12.0, 5)), ["1", "2", "5", "10"]);
        assert!(logarithmic(3.1, 4.2, 5).len() >= 2);
    }
}
