//! The embedded font: how wide a text is, where lines break, and, for PNG files, the outlines of its letters.
//!
//! Inter, a subset (`fonts/README.md`). A browser may draw a page in another face; widths are near enough for layout.

use std::sync::OnceLock;

use ttf_parser::{Face, GlyphId};

pub(super) static REGULAR: &[u8] = include_bytes!("../../fonts/Inter-Regular.otf");
pub(super) static BOLD: &[u8] = include_bytes!("../../fonts/Inter-SemiBold.otf");

/// The face of a weight.
pub(crate) fn face(bold: bool) -> &'static Face<'static> {
    static FACES: OnceLock<[Face<'static>; 2]> = OnceLock::new();
    let faces = FACES.get_or_init(|| {
        // The files are part of the program, and a test reads them.
        [REGULAR, BOLD].map(|data| Face::parse(data, 0).expect("the embedded font is one"))
    });
    &faces[usize::from(bold)]
}

/// Width of a character in parts of the size, and its glyph where the font has it. Of others, those of East Asia fill a
/// square, as a rule, and the rest about half of it.
pub(crate) fn advance(c: char, bold: bool) -> (f64, Option<GlyphId>) {
    let face = face(bold);
    let glyph = face.glyph_index(c);
    let width = glyph.and_then(|g| face.glyph_hor_advance(g));
    let em = f64::from(face.units_per_em());
    match width {
        Some(width) => (f64::from(width) / em, glyph),
        None => (if c >= '\u{1100}' { 1.0 } else { 0.6 }, None),
    }
}

/// Width of a text in pixels.
pub(crate) fn width(text: &str, size: f64, bold: bool) -> f64 {
    text.chars().map(|c| advance(c, bold).0).sum::<f64>() * size
}

/// Room that a text needs where it must not be cut off: a browser without this font takes another, and those are up to a
/// tenth wider.
pub(crate) fn room(text: &str, size: f64, bold: bool) -> f64 {
    (1.1 * width(text, size, bold)).ceil()
}

/// The text, or as much of it as is at most `most` pixels wide with the sign that it was cut.
pub(crate) fn cut(text: &str, size: f64, bold: bool, most: f64) -> String {
    if width(text, size, bold) <= most {
        return text.to_owned();
    }
    let mut left = most / size - advance('…', bold).0;
    let fitting = text.chars().take_while(|&c| {
        left -= advance(c, bold).0;
        left >= 0.0
    });
    fitting.chain(['…']).collect()
}

/// The text in lines at most `most` pixels wide, broken at spaces; what does not fit into `lines` is cut.
pub(crate) fn wrap(text: &str, size: f64, bold: bool, most: f64, lines: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let joined = out.last().map(|line| format!("{line} {word}"));
        match joined {
            Some(joined) if width(&joined, size, bold) <= most || out.len() == lines => {
                out.pop();
                out.push(joined);
            }
            _ => out.push(word.to_owned()),
        }
    }
    out.iter().map(|line| cut(line, size, bold, most)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What figures are written with is in both weights.
    #[test]
    fn the_font_has_the_letters_of_figures() {
        let mut used = String::from("·↵…−×χ∂√²⁰¹²³⁴⁵⁶⁷⁸⁹⁻Δρ≤≥≈→↑∞±—“”'\"<>&|[]{}()#%");
        used.extend(' '..='~');
        for bold in [false, true] {
            for c in used.chars() {
                assert!(face(bold).glyph_index(c).is_some(), "{c:?}, bold {bold}");
            }
        }
    }

    #[test]
    fn widths_add_up_and_foreign_letters_have_one() {
        assert!(width("mm", 12.0, false) > 1.9 * width("m", 12.0, false));
        assert!(width("字", 10.0, false) > width("b", 10.0, false));
        assert!(width("W", 12.0, true) > width("i", 12.0, true));
    }

    #[test]
    fn texts_are_cut_and_wrapped_to_fit() {
        let cut = cut("a very long label of a token", 12.0, false, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0, false) <= 60.0, "{cut}");
        let text = "one two three four five six seven eight nine ten";
        let lines = wrap(text, 12.0, false, 80.0, 3);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|l| width(l, 12.0, false) <= 80.0) && lines[2].ends_with('…'), "{lines:?}");
        assert_eq!(wrap(text, 12.0, false, 1000.0, 3), [text]);
    }
}
