//! Paints of marks: roles, to which a theme assigns colours.

mod map;
pub(crate) mod oklab;
mod theme;

use std::fmt::Write;

pub(crate) use map::LAST;
pub use map::Map;
use oklab::Rgb;
pub(crate) use theme::Theme;

/// A role of a colour. In a page it is a CSS variable, so that one drawing fits both themes; in a file it is a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Invisible, but pointer events reach it.
    Clear,
    /// The background of the page.
    Surface,
    /// Titles and outlines.
    Ink,
    /// Labels of axes.
    Muted,
    /// Axes and reference lines.
    Axis,
    /// Grid lines.
    Rule,
    /// A cell without a value.
    Void,
    /// Series, group or bar, counted from 0.
    Series(usize),
    /// A step of a colour map.
    Cell(Map, u8),
    /// Text on that step.
    OnCell(Map, u8),
}

/// Number of series colours; later series repeat them with other shapes.
pub(crate) const SERIES: usize = 7;

/// Colours of series: hues of Okabe and Ito, "Color Universal Design" (2008). Lightnesses are adjusted so that each has
/// a contrast of 3 to the page, and any two can be distinguished without green cones.
const LIGHT: [u32; SERIES] = [0x00_72b2, 0xd5_5e00, 0x00_8f6a, 0x8a_3d86, 0x6b_4e00, 0x3d_97c9, 0x54_5760];
const DARK: [u32; SERIES] = [0x4b_a3e3, 0xf0_7f3c, 0x2f_c79b, 0xc0_74ad, 0xf7_d58f, 0x93_d2f8, 0xb9_bec8];

impl Paint {
    /// Returns the name of the CSS variable, without the dashes.
    fn variable(self) -> String {
        match self {
            Self::Clear => "clear".to_owned(),
            Self::Surface => "surface".to_owned(),
            Self::Ink => "ink".to_owned(),
            Self::Muted => "muted".to_owned(),
            Self::Axis => "axis".to_owned(),
            Self::Rule => "rule".to_owned(),
            Self::Void => "void".to_owned(),
            Self::Series(i) => format!("c{}", i % SERIES),
            Self::Cell(map, step) => format!("{}{step}", map.letter()),
            Self::OnCell(map, step) => format!("n{}{step}", map.letter()),
        }
    }

    /// Returns the value of `fill` or `stroke`: the colour in `theme`, or without a theme the CSS variable of a page.
    pub(crate) fn css(self, theme: Option<Theme>) -> String {
        match (self, theme) {
            (Self::Clear, _) => "none".to_owned(),
            (_, Some(theme)) => self.colour(theme).hex(),
            (_, None) => format!("var(--{})", self.variable()),
        }
    }

    /// Returns its colour in a theme.
    pub(crate) fn colour(self, theme: Theme) -> Rgb {
        let light = theme == Theme::Light;
        let rgb = |light_one: u32, dark_one: u32| {
            let [_, r, g, b] = if light { light_one } else { dark_one }.to_be_bytes();
            Rgb([r, g, b])
        };
        match self {
            Self::Clear | Self::Surface => rgb(0xff_ffff, 0x13_161b),
            Self::Ink => rgb(0x1b_1f24, 0xe9_ebee),
            Self::Muted => rgb(0x59_616b, 0xa4_acb6),
            Self::Axis => rgb(0x8b_939d, 0x6f_7883),
            Self::Rule => rgb(0xe6_e8eb, 0x2a_2f37),
            Self::Void => rgb(0xf1_f2f4, 0x1f_242b),
            Self::Series(i) => rgb(LIGHT[i % SERIES], DARK[i % SERIES]),
            Self::Cell(map, step) => map.colour(step, theme),
            Self::OnCell(map, step) => map.ink(step, theme),
        }
    }
}

/// Returns CSS declarations of all roles: `--ink:#1b1f24;…`.
pub(crate) fn variables(theme: Theme) -> String {
    let roles = [Paint::Surface, Paint::Ink, Paint::Muted, Paint::Axis, Paint::Rule, Paint::Void];
    let steps = [Map::Diverging, Map::Sequential]
        .into_iter()
        .flat_map(|map| (0..=LAST).flat_map(move |step| [Paint::Cell(map, step), Paint::OnCell(map, step)]));
    let mut css = String::new();
    for paint in roles.into_iter().chain((0..SERIES).map(Paint::Series)).chain(steps) {
        let _infallible = write!(css, "--{}:{};", paint.variable(), paint.colour(theme).hex());
    }
    css
}

#[cfg(test)]
mod tests {
    use super::oklab::seen::{distance, without_green};
    use super::*;

    const THEMES: [Theme; 2] = [Theme::Light, Theme::Dark];

    #[test]
    fn text_has_enough_contrast() {
        for theme in THEMES {
            for paint in [Paint::Ink, Paint::Muted] {
                let contrast = paint.colour(theme).contrast(Paint::Surface.colour(theme));
                assert!(contrast >= 4.5, "{paint:?} {theme:?}: {contrast}");
            }
        }
    }

    #[test]
    fn series_stand_out_from_the_page_and_from_each_other() {
        for theme in THEMES {
            let colour = |i| Paint::Series(i).colour(theme);
            for i in 0..SERIES {
                let contrast = colour(i).contrast(Paint::Surface.colour(theme));
                assert!(contrast >= 3.0, "{i} {theme:?}: {contrast}");
                for j in 0..i {
                    let apart = distance(without_green(colour(i)), without_green(colour(j)));
                    assert!(apart > 0.05, "{i} and {j}, {theme:?}: {apart}");
                }
            }
        }
    }

    #[test]
    fn themes_name_the_same_roles() {
        let names = |theme| -> Vec<String> {
            variables(theme).split(';').filter_map(|d| d.split(':').next().map(str::to_owned)).collect()
        };
        assert_eq!(names(Theme::Light), names(Theme::Dark));
        assert!(names(Theme::Light).contains(&"--d64".to_owned()));
    }
}
