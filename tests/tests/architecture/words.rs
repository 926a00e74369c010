//! The words of `docs/src/conventions.md`, and none of those that they replaced.

use std::path::Path;

use super::{files, text};

/// Words that the glossary replaced, in any file, alone or as a part of an identifier.
const RETIRED: &[&str] = &[
    "kept", "held", "holding", "bend", "bends", "bent", "onward", "pulled", "settle", "settled", "settles", "slab",
    "slabs", "trial", "trials", "member", "members", "walk", "walks", "walked", "walking", "halves", "nobody",
];

/// Phrases that the style replaced.
const PHRASES: &[&str] =
    &["in turn", "as it says", "stands for", "stand for", "is no site", "is no seed", "is no place", "is sound"];

/// Where a retired word is the usual one: held-out data.
const USUAL: &[&str] = &["held-out", "held out", "heldout", "held_out"];

/// Text that is data: training sentences, and this test.
fn is_data(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let corpus = path.starts_with("crates/model/atlas") && !name.ends_with(".md");
    corpus || path.ends_with("tests/architecture/words.rs")
}

/// The words of a line in lower case: identifiers are split at underscores and capitals.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in line.chars() {
        if !c.is_alphabetic() || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        if c.is_alphabetic() {
            words.last_mut().expect("one at least").extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The retired words and phrases of a text, with their line numbers.
fn retired(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // A key of Cargo's, and what the changelog says of old names.
        if line.starts_with("members = ") || line.starts_with("default-members = ") || line.contains(" replaces `") {
            continue;
        }
        let mut line = line.to_lowercase_of_usual();
        for usual in USUAL {
            line = line.replace(usual, "");
        }
        let all = words(&line);
        found.extend(all.iter().filter(|w| RETIRED.contains(&w.as_str())).map(|w| (number + 1, w.clone())));
        let joined = format!(" {} ", all.join(" "));
        let phrases = PHRASES.iter().filter(|phrase| joined.contains(&format!(" {phrase} ")));
        found.extend(phrases.map(|phrase| (number + 1, (*phrase).to_owned())));
    }
    found
}

trait Usual {
    /// The line, with capitals of the usual words made small and all others left, so that identifiers can be split.
    fn to_lowercase_of_usual(&self) -> String;
}

impl Usual for str {
    fn to_lowercase_of_usual(&self) -> String {
        self.replace("Held-out", "held-out").replace("Held out", "held out")
    }
}

#[test]
fn no_retired_word_comes_back() {
    let endings = [".rs", ".wgsl", ".py", ".pyi", ".md", ".toml", ".html", ".css", ".js", ".ipynb"];
    let folders = ["crates", "shaders", "tests", "benches", "docs"].into_iter().flat_map(|f| files(f, &endings));
    let top = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Cargo.toml"].map(Into::into);
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in folders.chain(top).filter(|path: &std::path::PathBuf| !is_data(path)) {
        seen += 1;
        let found = retired(&text(&path));
        wrong.extend(found.into_iter().map(|(line, word)| format!("{}:{line}: {word}", path.display())));
    }
    assert!(seen > 300, "the scan itself found {seen} files");
    assert!(
        wrong.is_empty(),
        "{} retired words; docs/src/conventions.md has the standard ones:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn retired_words_are_found_wherever_they_are() {
    let found = |line: &str| retired(line).into_iter().map(|(_, word)| word).collect::<Vec<_>>();
    assert_eq!(found("let base_kept = 1;"), ["kept"]);
    assert_eq!(found("struct KeptWalk;"), ["kept", "walk"]);
    assert_eq!(found("// rows come in turn"), ["in turn"]);
    assert_eq!(found("`x` is no site; write"), ["is no site"]);
    assert_eq!(retired("a\nHALVES"), [(2, "halves".to_owned())]);
    assert!(found("Held-out prompts, held out of training; remember the sidewalk, unsettling, keptic").is_empty());
}
