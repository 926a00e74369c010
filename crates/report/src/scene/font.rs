//! The embedded font: widths of texts, line breaks and, for PNG files, outlines of letters.
//!
//! It is a subset of Inter (`fonts/README.md`). A browser may draw a page in another font; the widths are close enough
//! for layout.

use std::sync::OnceLock;

use ttf_parser::{Face, GlyphId};

pub(super) static REGULAR: &[u8] = include_bytes!("../../fonts/Inter-Regular.otf");
pub(super) static BOLD: &[u8] = include_bytes!("../../fonts/Inter-SemiBold.otf");

/// Returns the face of a weight.
pub(crate) fn face(bold: bool) -> &'static Face<'static> {
    static FACES: OnceLock<[Face<'static>; 2]> = OnceLock::new();
    let faces = FACES.get_or_init(|| {
        // The files are part of the program, and a test reads them.
        [REGULAR, BOLD].map(|data| Face::parse(data, 0).expect("the embedded font is one"))
    });
    &faces[usize::from(bold)]
}

/// Returns the width of a character as a share of the font size, and its glyph if the font has one.
///
/// Without a glyph, the width is estimated: East Asian characters usually fill a square, others about 0.6 of it.
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

/// Returns the width of a text in pixels.
pub(crate) fn width(text: &str, size: f64, bold: bool) -> f64 {
    text.chars().map(|c| advance(c, bold).0).sum::<f64>() * size
}

/// Returns the space that a text needs if it must not be truncated: other fonts of a browser are up to a tenth wider.
pub(crate) fn room(text: &str, size: f64, bold: bool) -> f64 {
    (1.1 * width(text, size, bold)).ceil()
}

/// Truncates a text to at most `most` pixels, including the ellipsis that marks the truncation.
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

/// Breaks a text at spaces into lines of at most `most` pixels; text that does not fit into `lines` is truncated.
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

    /// Both weights have all characters that figures use.
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
    fn widths_add_up_and_letters_without_a_glyph_have_one() {
        assert!(width("mm", 12.0, false) > 1.9 * width("m", 12.0, false));
        assert!(width("字", 10.0, false) > width("b", 10.0, false));
        assert!(width("W", 12.0, true) > width("i", 12.0, true));
    }

    #[test]
    fn texts_are_truncated_and_wrapped_to_fit() {
        let cut = cut("a very long label of a token", 12.0, false, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0, false) <= 60.0, "{cut}");
        let text = "one two three four five six seven eight nine ten";
        let lines = wrap(text, 12.0, false, 80.0, 3);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|l| width(l, 12.0, false) <= 80.0) && lines[2].ends_with('…'), "{lines:?}");
        assert_eq!(wrap(text, 12.0, false, 1000.0, 3), [text]);
    }
}
