//! Colours by lightness, chroma and hue: the polar form of OKLab, Björn Ottosson, "A perceptual color space for image
//! processing" (2020). In this space, unlike in RGB, steps of equal size look equally large.

/// A colour of a screen: red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rgb(pub(crate) [u8; 3]);

impl Rgb {
    /// Returns the CSS notation: `#1b1f24`.
    pub(crate) fn hex(self) -> String {
        let [r, g, b] = self.0;
        format!("#{r:02x}{g:02x}{b:02x}")
    }

    fn linear(self) -> [f64; 3] {
        self.0.map(|c| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        })
    }

    /// Returns the contrast ratio of WCAG 2, 1 to 21: text needs 4.5, other marks 3.
    pub(crate) fn contrast(self, other: Self) -> f64 {
        let luminance = |c: Self| {
            let [r, g, b] = c.linear();
            0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05
        };
        let (a, b) = (luminance(self), luminance(other));
        a.max(b) / a.min(b)
    }
}

/// Returns the colour of `lightness` (0 to 1), `chroma` (0 to about 0.3) and `hue` (degrees).
///
/// If a screen cannot show it, the chroma is reduced; lightness and hue do not change.
pub(crate) fn oklch(lightness: f64, chroma: f64, hue: f64) -> Rgb {
    let at = |chroma: f64| {
        let hue = hue.to_radians();
        linear([lightness, chroma * hue.cos(), chroma * hue.sin()])
    };
    let shown = |c: [f64; 3]| c.iter().all(|c| (-1e-4..=1.0001).contains(c));
    let (mut low, mut high) = (0.0, chroma);
    if shown(at(high)) {
        low = high;
    }
    for _ in 0..20 {
        let middle = f64::midpoint(low, high);
        if shown(at(middle)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Rgb(at(low).map(|c| {
        let c = c.clamp(0.0, 1.0);
        let c = if c <= 0.003_130_8 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 };
        (c * 255.0).round() as u8
    }))
}

/// Converts OKLab to linear sRGB.
fn linear([l, a, b]: [f64; 3]) -> [f64; 3] {
    let x = (l + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let y = (l - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let z = (l - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    [
        4.076_741_662_1 * x - 3.307_711_591_3 * y + 0.230_969_929_2 * z,
        -1.268_438_004_6 * x + 2.609_757_401_1 * y - 0.341_319_396_5 * z,
        -0.004_196_086_3 * x - 0.703_418_614_7 * y + 1.707_614_701_0 * z,
    ]
}

#[cfg(test)]
pub(crate) mod seen {
    //! Models of colour perception, for tests.

    use super::Rgb;

    /// Converts sRGB to OKLab.
    pub(crate) fn lab(c: Rgb) -> [f64; 3] {
        lab_of(c.linear())
    }

    /// Simulates the lack of cones of middle wavelength, the most frequent deficiency, with severity 1. Source:
    /// Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency"
    /// (2009).
    pub(crate) fn without_green(c: Rgb) -> [f64; 3] {
        let [r, g, b] = c.linear();
        lab_of([
            0.367_322 * r + 0.860_646 * g - 0.227_968 * b,
            0.280_085 * r + 0.672_501 * g + 0.047_413 * b,
            -0.011_820 * r + 0.042_940 * g + 0.968_881 * b,
        ])
    }

    /// Returns the perceived distance of two colours; about 0.02 is just noticeable.
    pub(crate) fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    fn lab_of([r, g, b]: [f64; 3]) -> [f64; 3] {
        let x = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
        let y = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
        let z = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
        [
            0.210_454_255_3 * x + 0.793_617_785_0 * y - 0.004_072_046_8 * z,
            1.977_998_495_1 * x - 2.428_592_205_0 * y + 0.450_593_709_9 * z,
            0.025_904_037_1 * x + 0.782_771_766_2 * y - 0.808_675_766_0 * z,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::seen::{distance, lab};
    use super::*;

    #[test]
    fn known_colours() {
        assert_eq!(oklch(0.0, 0.0, 0.0).hex(), "#000000");
        assert_eq!(oklch(1.0, 0.0, 0.0).hex(), "#ffffff");
        // Red of sRGB in OKLCH, from CSS Color 4.
        assert_eq!(oklch(0.627_96, 0.257_68, 29.234).hex(), "#ff0000");
    }

    #[test]
    fn colours_round_trip() {
        for (l, c, h) in [(0.4, 0.1, 250.0), (0.7, 0.08, 30.0), (0.9, 0.05, 120.0)] {
            let h = f64::to_radians(h);
            let want = [l, c * f64::cos(h), c * f64::sin(h)];
            assert!(distance(lab(oklch(l, c, h.to_degrees())), want) < 0.004);
        }
    }

    #[test]
    fn lightness_is_preserved_outside_the_gamut() {
        assert!((lab(oklch(0.9, 0.4, 260.0))[0] - 0.9).abs() < 0.01);
    }

    #[test]
    fn contrast_of_black_and_white() {
        assert!((Rgb([0; 3]).contrast(Rgb([255; 3])) - 21.0).abs() < 1e-9);
    }
}
