//! Texts from outside: tokens, names of models, prompts.
//!
//! They may contain any character. Characters that a drawing or a page cannot show, or that would change how
//! neighbouring text is read, are spelt out.

/// Returns whether no drawing shows a character as it is: controls, marks of direction, and characters without width.
pub(crate) fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{e0000}'..='\u{e007f}')
        // The last two code points of each plane are not characters, and XML should not contain them.
        || (c as u32) & 0xfffe == 0xfffe
}

/// Returns the text with hidden characters spelt out: `\u{202e}`.
pub(crate) fn clean(text: &str) -> String {
    if !text.chars().any(hidden) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match hidden(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

/// Returns a token as a label of an axis, on pages and on terminals: spaces, tabs and line ends are made visible.
pub(crate) fn label(token: &str) -> String {
    let seen = token.replace(' ', "·").replace("\r\n", "↵").replace(['\n', '\r'], "↵").replace('\t', "→");
    clean(&seen)
}

/// Returns a token with its position, for a sentence: `9 " Mary"`, or `9 #1234` if its text is not known.
pub(crate) fn token(position: usize, text: &str) -> String {
    let id = text.strip_prefix('#').is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
    format!("{position} {}", if id { text.to_owned() } else { quoted(text) })
}

/// Returns a token in quotes, for a sentence; its spaces do not change.
///
/// A token that is read from right to left is isolated, so that it does not reverse neighbouring text.
pub(crate) fn quoted(token: &str) -> String {
    let text = clean(&token.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"));
    let from_right = |c: char| matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}');
    match text.chars().any(from_right) {
        true => format!("\u{2068}\"{text}\"\u{2069}"),
        false => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_spelt_out() {
        assert_eq!(clean("a\u{0}b\u{202e}c\u{200b}"), "a\\u{0}b\\u{202e}c\\u{200b}");
        assert_eq!(clean("Straße 字 שלום"), "Straße 字 שלום");
        assert_eq!(clean("\u{1fffe}"), "\\u{1fffe}");
    }

    #[test]
    fn labels_show_their_spaces() {
        assert_eq!(label(" Mary"), "·Mary");
        assert_eq!(label("\r\n\t x"), "↵→·x");
    }

    #[test]
    fn tokens_have_positions() {
        assert_eq!([token(3, " John"), token(0, "#12"), token(7, "#a")], ["3 \" John\"", "0 #12", "7 \"#a\""]);
    }

    #[test]
    fn quotes_keep_directions_inside() {
        assert_eq!(quoted(" Mary\n"), "\" Mary\\n\"");
        assert_eq!(quoted("שלום"), "\u{2068}\"שלום\"\u{2069}");
    }
}
