//! Formats numbers for readers.

/// Formats a number for a sentence or a table, to four digits: `-3.21`, `0.0012`, `1.234e-7`; `no value` for NaN.
pub(crate) fn value(x: f64) -> String {
    if x.is_nan() {
        return "no value".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    if x == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&x.abs()) {
        let text = format!("{x:.3e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", trim(digits));
    }
    let decimals = (3 - x.abs().log10().floor() as i32).max(0) as usize;
    trim(&format!("{x:.decimals$}")).to_owned()
}

/// Removes trailing zeros of decimals.
fn trim(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Formats labels of ticks at multiples of `step`, all with the same decimals, divided by a power of ten.
pub(crate) fn labels(at: &[f64], step: f64, power: i32) -> Vec<String> {
    let unit = 10f64.powi(power);
    let step = step / unit;
    // A step of 0.25 needs two decimals, a step of 0.2 only one.
    let decimals = (0..9).find(|&d| {
        let scaled = step * 10f64.powi(d);
        (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0)
    });
    let decimals = decimals.unwrap_or(2) as usize;
    let label = |x: &f64| {
        // Rounding must not produce -0.
        let x = x / unit;
        let x = if x.abs() < step * 1e-6 { 0.0 } else { x };
        minus(&format!("{x:.decimals$}"))
    };
    at.iter().map(label).collect()
}

/// Returns the power of ten, a multiple of three, by which labels up to `most` are divided; 0 if they are readable as
/// they are.
pub(crate) fn power(most: f64) -> i32 {
    if most == 0.0 || !most.is_finite() || (1e-2..1e5).contains(&most) {
        return 0;
    }
    (most.log10() / 3.0).floor() as i32 * 3
}

/// Replaces hyphens by the typographic minus sign, which is as wide as a plus.
pub(crate) fn minus(text: &str) -> String {
    text.replace('-', "−")
}

/// Formats a power of ten: `10⁻³`.
pub(crate) fn power_of_ten(exponent: i32) -> String {
    let raised = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' | '4'..='9' => char::from_u32('⁰' as u32 + c as u32 - '0' as u32).unwrap_or(c),
        other => other,
    };
    format!("10{}", exponent.to_string().chars().map(raised).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_four_digits() {
        let shown = [-3.21, 0.0, 1e-7, -0.001_234_56, 123_456.0, 21.3441, f64::NAN, 7.5e9].map(value);
        assert_eq!(shown, ["-3.21", "0", "1e-7", "-0.001235", "123456", "21.34", "no value", "7.5e9"]);
    }

    #[test]
    fn labels_share_decimals() {
        assert_eq!(labels(&[-0.5, 0.0, 0.5], 0.5, 0), ["−0.5", "0.0", "0.5"]);
        assert_eq!(labels(&[0.0, 0.25, 0.5], 0.25, 0), ["0.00", "0.25", "0.50"]);
        assert_eq!(labels(&[-0.1, -0.0, 0.1], 0.1, 0)[1], "0.0");
        assert_eq!(labels(&[0.0, 20.0], 20.0, 0), ["0", "20"]);
        assert_eq!(labels(&[0.0, 2e-6, 4e-6], 2e-6, -6), ["0", "2", "4"]);
        // A single label has decimals too.
        assert_eq!(labels(&[0.5], 0.5, 0), ["0.5"]);
    }

    #[test]
    fn large_and_small_numbers_are_divided_by_a_power() {
        assert_eq!([4e-6, 2.5e7, 5000.0, 0.0, 0.02].map(power), [-6, 6, 0, 0, 0]);
    }

    #[test]
    fn powers_of_ten() {
        assert_eq!([power_of_ten(-3), power_of_ten(12), power_of_ten(0)], ["10⁻³", "10¹²", "10⁰"]);
    }
}
