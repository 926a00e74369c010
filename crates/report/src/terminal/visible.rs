//! Escapes texts from outside, such as tokens and names, for a terminal.

use std::borrow::Cow;

use crate::scene::hidden;

/// Returns `text` with escapes in place of characters that would move the cursor, change the terminal or hide
/// neighbouring text.
///
/// These are control characters, line separators, marks of direction and marks without width. Tables therefore remain
/// intact, even if the vocabulary of a tokenizer contains such characters.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_invisible) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match is_invisible(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

fn is_invisible(c: char) -> bool {
    // The joiners U+200C and U+200D are not escaped: words of many languages, and emoji, contain them.
    hidden(c) && !matches!(c, '\u{200c}' | '\u{200d}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_a_terminal_obeys_are_escaped() {
        for (text, shown) in [
            ("plain", "plain"),
            (" Paris, naïve 東京", " Paris, naïve 東京"),
            ("a\nb", "a\\nb"),
            ("\r\t", "\\r\\t"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\0\u{7f}\u{9b}", "\\u{0}\\u{7f}\\u{9b}"),
            ("a\u{202e}b\u{2028}c\u{feff}", "a\\u{202e}b\\u{2028}c\\u{feff}"),
            ("a\u{61c}b\u{ad}c", "a\\u{61c}b\\u{ad}c"),
            ("👩\u{200d}🔬", "👩\u{200d}🔬"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }
}
