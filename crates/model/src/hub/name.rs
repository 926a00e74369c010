//! Names of models on a hub.

/// A name as it is typed: `NAME` or `ORG/NAME`, with `@REVISION` (a branch, a tag or a commit) where it is not `main`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The whole, as it was typed.
    pub(super) typed: String,
    /// `NAME` or `ORG/NAME`.
    pub(super) repo: String,
    /// `main`, or what was typed.
    pub(super) revision: String,
}

/// The GPT-2s that once had bare names, to which the hub still answers: the two spellings name one repository, and either
/// may be in the cache.
const MOVED: [(&str, &str); 5] = [
    ("gpt2", "openai-community/gpt2"),
    ("gpt2-medium", "openai-community/gpt2-medium"),
    ("gpt2-large", "openai-community/gpt2-large"),
    ("gpt2-xl", "openai-community/gpt2-xl"),
    ("distilgpt2", "distilbert/distilgpt2"),
];

impl Name {
    /// The parts of a name; none where a hub could have no such name. A name becomes part of paths and addresses, so
    /// what this lets through cannot leave a folder or mean something in an address.
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

    /// The repository as it was typed, then as else it is known.
    pub(super) fn spellings(&self) -> impl Iterator<Item = &str> {
        let other = MOVED.iter().find_map(|&(bare, full)| match self.repo.as_str() {
            repo if repo == bare => Some(full),
            repo if repo == full => Some(bare),
            _ => None,
        });
        std::iter::once(self.repo.as_str()).chain(other)
    }
}

/// One side of the slash, by the hub's own rule.
fn is_part(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let ends = [text.bytes().next(), text.bytes().last()];
    ends.into_iter().all(|end| end.is_some_and(inner))
        && text.len() <= 96
        && text.bytes().all(|b| inner(b) || b == b'-' || b == b'.')
        && !text.contains("--")
        && !text.contains("..")
}

/// A branch, tag or commit, such as `v1.0` or `refs/pr/3`.
fn is_revision(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    text.len() <= 200
        && text
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && part.bytes().all(allowed))
}

/// Whether a revision is a whole commit hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_hub_are_taken_apart() {
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
    fn what_could_leave_a_folder_is_no_name() {
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
