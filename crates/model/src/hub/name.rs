//! Names of models on a hub.

/// A model name: `NAME` or `ORG/NAME`, with `@REVISION` (a branch, a tag or a commit) unless it is `main`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The whole name, as typed.
    pub(super) typed: String,
    /// `NAME` or `ORG/NAME`.
    pub(super) repo: String,
    /// The revision as typed, or `main`.
    pub(super) revision: String,
}

/// GPT-2 models that once had names without an organisation. The hub still accepts both spellings of a repository, and
/// the cache may contain either.
const MOVED: [(&str, &str); 5] = [
    ("gpt2", "openai-community/gpt2"),
    ("gpt2-medium", "openai-community/gpt2-medium"),
    ("gpt2-large", "openai-community/gpt2-large"),
    ("gpt2-xl", "openai-community/gpt2-xl"),
    ("distilgpt2", "distilbert/distilgpt2"),
];

impl Name {
    /// Splits a name into its parts; `None` if no model of a hub can have this name.
    ///
    /// A name becomes part of paths and addresses. An accepted name therefore cannot leave a folder, and has no
    /// characters with a meaning in an address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let known = match repo.split_once('/') {
            Some((org, name)) => is_part(org) && is_part(name),
            None => is_part(repo),
        };
        (known && !repo.ends_with(".git") && is_revision(revision)).then(|| Self {
            typed: text.to_owned(),
            repo: repo.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// Returns the repository as typed, then its other spelling if it has one.
    pub(super) fn spellings(&self) -> impl Iterator<Item = &str> {
        let other = MOVED.iter().find_map(|&(bare, full)| match self.repo.as_str() {
            repo if repo == bare => Some(full),
            repo if repo == full => Some(bare),
            _ => None,
        });
        std::iter::once(self.repo.as_str()).chain(other)
    }
}

/// Returns whether a text is a valid organisation or model name, by the hub's rule.
fn is_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let ends = [text.bytes().next(), text.bytes().last()];
    ends.into_iter().all(|end| end.is_some_and(inner))
        && text.len() <= 96
        && text.bytes().all(|b| inner(b) || b == b'-' || b == b'.')
        && !text.contains("--")
        && !text.contains("..")
}

/// Returns whether a text can be a branch, tag or commit, such as `v1.0` or `refs/pr/3`.
fn is_revision(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.len() <= 200
        && text
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && part.bytes().all(allowed))
}

/// Returns whether a revision is a full commit hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_are_parsed() {
        let parsed = |text: &str| {
            let name = Name::parse(text).unwrap_or_else(|| panic!("{text}"));
            (name.repo, name.revision)
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(parsed("gpt2"), pair("gpt2", "main"));
        assert_eq!(parsed("openai-community/gpt2-medium"), pair("openai-community/gpt2-medium", "main"));
        assert_eq!(parsed("a/b_c.d@refs/pr/3"), pair("a/b_c.d", "refs/pr/3"));
        assert_eq!(parsed("gpt2@v1.0"), pair("gpt2", "v1.0"));
    }

    #[test]
    fn unsafe_names_are_refused() {
        let long = "x".repeat(97);
        for text in [
            "", "/", "a/", "/a", "a/b/c", "../x", "../../x", "a/..", "..", ".", ".a", "a.", "-a", "a-", "a--b", "a..b",
            "a\\b", "..\\x", "C:\\x", "C:x", "a b", "a\0b", "a\nb", "a?b", "a#b", "a%2fb", "~", "ä", "a.git", "a@",
            "a@..", "a@../b", "a@b//c", "a@/b", "a@b/", "a@b\\c", "a@.b", "a@b?", "a@@b", &long,
        ] {
            assert_eq!(Name::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn both_spellings_of_a_moved_model_are_known() {
        let spellings =
            |text: &str| Name::parse(text).expect("a name").spellings().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(spellings("gpt2"), ["gpt2", "openai-community/gpt2"]);
        assert_eq!(spellings("distilbert/distilgpt2"), ["distilbert/distilgpt2", "distilgpt2"]);
        assert_eq!(spellings("a/b"), ["a/b"]);
    }

    #[test]
    fn commits_are_forty_hexadecimal_digits() {
        assert!(is_commit(&"0a".repeat(20)));
        for text in ["main", &"0A".repeat(20), &"0g".repeat(20), &"0a".repeat(19), ""] {
            assert!(!is_commit(text), "{text}");
        }
    }
}
