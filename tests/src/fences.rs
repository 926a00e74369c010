//! Fenced blocks of the project's Markdown pages, which the build script compiles and the tests run.

use std::path::{Path, PathBuf};

/// A fenced block of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The path of the page from the root, and the line of the opening fence: `README.md:79`.
    pub place: String,
    /// The text after the opening backticks, such as `rust,no_run`.
    pub info: String,
    /// The lines between the fences.
    pub text: String,
}

impl Fence {
    /// Returns the first word of `info`, such as `rust`, `python` or `output`. It may be empty.
    #[must_use]
    pub fn language(&self) -> &str {
        self.info.split(',').next().unwrap_or_default()
    }

    /// Returns whether the block is marked `no_run`, because it downloads, needs a device, or takes minutes.
    #[must_use]
    pub fn is_no_run(&self) -> bool {
        self.info.split(',').any(|mark| mark == "no_run")
    }
}

/// Returns the pages for readers: README, CONTRIBUTING, the READMEs of the Python package and of the facade, and the
/// book.
///
/// # Panics
/// If the folder of the book cannot be read.
#[must_use]
pub fn pages(root: &Path) -> Vec<PathBuf> {
    let fixed =
        ["README.md", "CONTRIBUTING.md", "crates/python/README.md", "crates/resolvent/README.md"].map(PathBuf::from);
    let (mut open, mut found) = (vec![PathBuf::from("docs/src")], fixed.to_vec());
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(root.join(&folder)).expect("the book's folder can be read");
        for entry in entries {
            let path = folder.join(entry.expect("a readable entry").file_name());
            if root.join(&path).is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Returns the blocks of all pages, page by page.
///
/// # Panics
/// If a page cannot be read.
#[must_use]
pub fn all(root: &Path) -> Vec<Fence> {
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(root.join(path)).expect("a page can be read");
        fences(&path.to_string_lossy().replace('\\', "/"), &text)
    };
    pages(root).iter().flat_map(read).collect()
}

/// Returns the blocks of one page.
#[must_use]
pub fn fences(page: &str, text: &str) -> Vec<Fence> {
    let (mut found, mut open): (Vec<Fence>, Option<Fence>) = (Vec::new(), None);
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                let place = format!("{page}:{}", number + 1);
                open = Some(Fence { place, info: info.trim().to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(fence)) => {
                fence.text.push_str(line);
                fence.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}
