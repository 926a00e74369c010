//! Words that the glossary in `docs/src/conventions.md` replaced must not be used again.

use std::path::Path;

use super::{files, text};

/// Words that the glossary replaced. They are found in any file, alone or as part of an identifier.
const RETIRED: &[&str] = &[
    "kept", "held", "holding", "bend", "bends", "bent", "onward", "pulled", "settle", "settled", "settles", "slab",
    "slabs", "trial", "trials", "member", "members", "walk", "walks", "walked", "walking", "halves", "nobody",
];

/// Phrases that the style replaced.
const PHRASES: &[&str] =
    &["in turn", "as it says", "stands for", "stand for", "is no site", "is no seed", "is no place", "is sound"];

/// Standard terms that contain a retired word: held-out data.
const USUAL: &[&str] = &["held-out", "held out", "heldout", "held_out", "Held-out", "Held out"];

/// Returns whether a file is data: training sentences, and this test.
fn is_data(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let corpus =
        ["crates/model/atlas", "crates/atlas"].iter().any(|folder| path.starts_with(folder)) && !name.ends_with(".md");
    corpus || path.ends_with("tests/architecture/words.rs")
}

/// Returns the words of a line in lower case. Identifiers are split at underscores and capitals.
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

/// Returns whether a line needs an old name: a key of Cargo, a field of naga, or the changelog's announcement of a
/// renaming.
fn needs_old_names(path: &Path, line: &str) -> bool {
    match path.to_str() {
        Some("Cargo.toml") => line.starts_with("members = ") || line.starts_with("default-members = "),
        Some("crates/shaders/compile/reflect.rs") => line.contains("TypeInner::Struct { "),
        Some("crates/xtask/src/verbs/package.rs") => line.contains("nmembers = ["),
        Some("CHANGELOG.md") => line.contains(" replaces `"),
        _ => false,
    }
}

/// Returns the retired words and phrases of a line.
fn retired(line: &str) -> Vec<String> {
    let line = USUAL.iter().fold(line.to_owned(), |line, usual| line.replace(usual, ""));
    let all = words(&line);
    let joined = format!(" {} ", all.join(" "));
    let phrases =
        PHRASES.iter().filter(|phrase| joined.contains(&format!(" {phrase} "))).map(|&phrase| phrase.to_owned());
    let phrases: Vec<String> = phrases.collect();
    all.into_iter().filter(|word| RETIRED.contains(&word.as_str())).chain(phrases).collect()
}

/// Returns the retired words and phrases of a file, with their line numbers.
fn scan(path: &Path, text: &str) -> Vec<(usize, String)> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !needs_old_names(path, line));
    lines.flat_map(|(number, line)| retired(line).into_iter().map(move |word| (number, word))).collect()
}

#[test]
fn no_retired_word_comes_back() {
    let endings = [".rs", ".wgsl", ".py", ".pyi", ".md", ".toml", ".html", ".css", ".js", ".ipynb"];
    let folders = ["crates", "shaders", "tests", "benches", "docs"].into_iter().flat_map(|f| files(f, &endings));
    let top = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Cargo.toml"].map(Into::into);
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in folders.chain(top).filter(|path: &std::path::PathBuf| !is_data(path)) {
        seen += 1;
        let found = scan(&path, &text(&path));
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
    assert_eq!(retired("let base_kept = 1;"), ["kept"]);
    assert_eq!(retired("struct KeptWalk;"), ["kept", "walk"]);
    assert_eq!(retired("// rows come in turn"), ["in turn"]);
    assert_eq!(retired("`x` is no site; write"), ["is no site"]);
    assert_eq!(scan(Path::new("docs/src/x.md"), "a\nHALVES"), [(2, "halves".to_owned())]);
    // The changelog may contain old names where it announces a renaming. No other file may.
    let announced = "- `pass` replaces `walk`.";
    assert!(scan(Path::new("CHANGELOG.md"), announced).is_empty());
    assert_eq!(scan(Path::new("README.md"), announced), [(1, "walk".to_owned())]);
    assert!(retired("Held-out prompts, held out of training; remember the sidewalk, unsettling, keptic").is_empty());
}
