//! Plain texts with paragraphs and code, as the template takes them; anchors of headings.

use minijinja::context;
use minijinja::value::Value;

/// Paragraphs of a text, which blank lines part: a list of [`spans`].
pub(super) fn paragraphs(text: &str) -> Vec<Vec<Value>> {
    text.split("\n\n").map(str::trim).filter(|p| !p.is_empty()).map(spans).collect()
}

/// Parts of a paragraph: `text`, and whether it is `code`.
pub(super) fn spans(text: &str) -> Vec<Value> {
    parts(text).into_iter().map(|(text, code)| context! { text, code }).collect()
}

/// What stands between backticks is code. A backtick without its fellow is a backtick.
fn parts(text: &str) -> Vec<(&str, bool)> {
    let lonely = if text.matches('`').count() % 2 == 1 { text.rfind('`') } else { None };
    let (paired, rest) = text.split_at(lonely.unwrap_or(text.len()));
    let paired = paired.split('`').enumerate().map(|(i, part)| (part, i % 2 == 1));
    paired.chain([(rest, false)]).filter(|(part, _)| !part.is_empty()).collect()
}

/// Anchors for headings: letters, digits and dashes, each once.
pub(super) fn anchors<'a>(headings: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for heading in headings {
        let words = heading.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let slug = words.map(str::to_lowercase).collect::<Vec<_>>().join("-");
        let slug = if slug.is_empty() { "section".to_owned() } else { slug };
        let mut anchor = slug.clone();
        let mut n = 2;
        while anchors.contains(&anchor) {
            anchor = format!("{slug}-{n}");
            n += 1;
        }
        anchors.push(anchor);
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_stands_between_backticks() {
        assert_eq!(parts("The field `h[l,t]`."), [("The field ", false), ("h[l,t]", true), (".", false)]);
        assert_eq!(parts("`a` ` alone"), [("a", true), (" ", false), ("` alone", false)]);
        assert_eq!(parts(""), []);
    }

    #[test]
    fn blank_lines_part_paragraphs() {
        assert_eq!(paragraphs("one\nline\n\ntwo\n\n\n").len(), 2);
    }

    #[test]
    fn anchors_are_plain_and_differ() {
        let found = anchors(["Where J can be moved", "where j can be moved?", "<script>", "--", "…"]);
        assert_eq!(found, ["where-j-can-be-moved", "where-j-can-be-moved-2", "script", "section", "section-2"]);
    }
}
