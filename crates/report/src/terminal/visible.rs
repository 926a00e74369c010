//! Texts that others wrote, such as tokens and names, on a terminal.

use std::borrow::Cow;

/// Returns `text` with escapes in place of the characters that would move the cursor, change the terminal or hide the text beside
/// them: control characters, line separators, marks of direction and marks without width. A table stays a table then, whatever a
/// tokenizer has in its vocabulary.
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
    // Not the joiners U+200C and U+200D: words of many languages, and emoji, are written with them.
    c.is_control()
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        for (text, shown) in [
            ("plain", "plain"),
            (" Paris, naïve 東京", " Paris, naïve 東京"),
            ("a\nb", "a\\nb"),
            ("\r\t", "\\r\\t"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\0\u{7f}\u{9b}", "\\u{0}\\u{7f}\\u{9b}"),
            ("a\u{202e}b\u{2028}c\u{feff}", "a\\u{202e}b\\u{2028}c\\u{feff}"),
            ("👩\u{200d}🔬", "👩\u{200d}🔬"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }
}
