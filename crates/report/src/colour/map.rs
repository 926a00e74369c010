//! The two colour maps of heatmaps, computed in OKLab. Lightness is linear in the value, so that equal steps of the
//! value look equal, also in greyscale.

use super::Theme;
use super::oklab::{Rgb, oklch};

/// Maps values to colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Map {
    /// Blue below zero, red above, pale at zero. Both sides are equally dark at equal magnitude. For effects and
    /// differences.
    Diverging,
    /// From the page's colour through green and blue, to indigo on light pages and to yellow on dark ones. For norms.
    Sequential,
}

/// Index of the last step of a map; the middle step of a diverging map is `LAST / 2`.
///
/// A map has more steps than the eye can distinguish, but few enough for a page to list them all, light and dark.
pub(crate) const LAST: u8 = 64;

impl Map {
    /// Returns the step of a share: -1 to 1 of a diverging map, 0 to 1 of a sequential one. Shares beyond are clamped.
    pub(crate) fn step(self, share: f64) -> u8 {
        let unit = match self {
            Self::Diverging => (share + 1.0) / 2.0,
            Self::Sequential => share,
        };
        (unit.clamp(0.0, 1.0) * f64::from(LAST)).round() as u8
    }

    /// Returns the colour of a step.
    pub(crate) fn colour(self, step: u8, theme: Theme) -> Rgb {
        let x = f64::from(step.min(LAST)) / f64::from(LAST);
        let mix = |from: f64, to: f64, x: f64| from + (to - from) * x;
        match (self, theme) {
            (Self::Diverging, _) => {
                let share = 2.0 * x - 1.0;
                let hue = if share < 0.0 { 254.0 } else { 28.0 };
                let (from, to, chroma) = match theme {
                    Theme::Light => (0.97, 0.43, 0.17),
                    Theme::Dark => (0.27, 0.76, 0.15),
                };
                oklch(mix(from, to, share.abs()), chroma * share.abs().powf(0.85), hue)
            }
            (Self::Sequential, Theme::Light) => {
                oklch(mix(0.975, 0.30, x), 0.006 + 0.145 * x.powf(0.7), mix(140.0, 285.0, x.powf(0.8)))
            }
            (Self::Sequential, Theme::Dark) => {
                oklch(mix(0.235, 0.92, x), 0.012 + 0.14 * x.powf(0.6), mix(285.0, 105.0, x))
            }
        }
    }

    /// Returns the colour of text on a step: black or white, whichever has more contrast.
    pub(crate) fn ink(self, step: u8, theme: Theme) -> Rgb {
        let (under, black, white) = (self.colour(step, theme), Rgb([0; 3]), Rgb([255; 3]));
        if black.contrast(under) >= white.contrast(under) { black } else { white }
    }

    /// Returns the letter of the map in names of CSS variables.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Diverging => 'd',
            Self::Sequential => 's',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::oklab::seen::{distance, lab, without_green};
    use super::*;

    #[test]
    fn shares_have_steps_and_are_clamped() {
        assert_eq!([-2.0, -1.0, 0.0, 1.0].map(|s| Map::Diverging.step(s)), [0, 0, 32, 64]);
        assert_eq!([0.0, 0.5, 1.0, 7.0].map(|s| Map::Sequential.step(s)), [0, 32, 64, 64]);
    }

    /// Lightness is linear in the value, equally on both sides of a diverging map.
    #[test]
    fn equal_steps_look_equal() {
        for theme in [Theme::Light, Theme::Dark] {
            let l = |map: Map, step: u8| lab(map.colour(step, theme))[0];
            for (map, first) in [(Map::Diverging, 32), (Map::Sequential, 0)] {
                let (from, to) = (l(map, first), l(map, LAST));
                for step in first..=LAST {
                    let x = f64::from(step - first) / f64::from(LAST - first);
                    let off = (l(map, step) - (from + (to - from) * x)).abs();
                    assert!(off < 0.01, "{map:?} {theme:?} {step}: {off}");
                }
            }
            for step in 0..32 {
                let (below, above) = (l(Map::Diverging, step), l(Map::Diverging, LAST - step));
                assert!((below - above).abs() < 0.01, "{theme:?} {step}: {below} {above}");
            }
        }
    }

    /// Without green cones, values below and above zero can be distinguished once they can be distinguished from zero.
    #[test]
    fn signs_are_safe_for_the_colour_blind() {
        for theme in [Theme::Light, Theme::Dark] {
            for step in 0..24 {
                let side = |step| without_green(Map::Diverging.colour(step, theme));
                let apart = distance(side(step), side(LAST - step));
                assert!(apart > 0.04, "{theme:?} {step}: {apart}");
            }
        }
    }

    #[test]
    fn numbers_on_cells_can_be_read() {
        for theme in [Theme::Light, Theme::Dark] {
            for map in [Map::Diverging, Map::Sequential] {
                for step in 0..=LAST {
                    let contrast = map.ink(step, theme).contrast(map.colour(step, theme));
                    assert!(contrast >= 4.5, "{map:?} {theme:?} {step}: {contrast}");
                }
            }
        }
    }
}
