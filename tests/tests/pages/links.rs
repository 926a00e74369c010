//! The links of the pages lead somewhere, and every page of the book is in its table of contents.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use resolvent_tests::fences;

use crate::architecture::{files, root, text};

/// Returns the lines of a page outside of fenced blocks.
fn prose(text: &str) -> String {
    let mut is_inside = false;
    let is_prose = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        is_inside ^= is_fence;
        !is_inside && !is_fence
    };
    text.lines().filter(is_prose).fold(String::new(), |all, line| all + line + "\n")
}

/// Returns the text without inline code, which may look like a link.
fn without_code(prose: &str) -> String {
    prose.split('`').step_by(2).collect()
}

/// Returns the targets of the links and images of a page, as they are written, without those of other sites.
fn links(text: &str) -> Vec<String> {
    let prose = without_code(&prose(text));
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '\n']).next());
    targets.filter(|target| !target.starts_with("http")).map(str::to_owned).collect()
}

/// Returns the anchor of a heading, as mdbook and the usual hosts write it.
fn anchor(heading: &str) -> String {
    let mut parts = heading.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    let text = parts.fold(first, |all, part| all + part.split_once(')').map_or("", |(_, rest)| rest));
    let keeps = |c: char| c.is_alphanumeric() || "_- ".contains(c);
    text.trim().to_lowercase().chars().filter(|&c| keeps(c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// Returns `path` without `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut all, part| {
        match part {
            Component::ParentDir => drop(all.pop()),
            Component::CurDir => {}
            part => all.push(part),
        }
        all
    })
}

/// Returns what is wrong with a link of a page, if anything is.
fn fault(page: &Path, link: &str, known: &mut HashMap<PathBuf, BTreeSet<String>>) -> Option<String> {
    let (file, at) = link.split_once('#').unwrap_or((link, ""));
    let folder = page.parent().unwrap_or(Path::new(""));
    let target = if file.is_empty() { page.to_owned() } else { plain(&folder.join(file)) };
    if !root().join(&target).exists() {
        return Some(format!("{}: {link}: there is no {}", page.display(), target.display()));
    }
    if page.starts_with("docs/src") && !target.starts_with("docs/src") {
        return Some(format!("{}: {link} leaves the book, whose site has no such file", page.display()));
    }
    if at.is_empty() || target.extension().is_none_or(|ending| ending != "md") {
        return None;
    }
    let known = known.entry(target.clone()).or_insert_with(|| anchors(&text(&target)));
    (!known.contains(at)).then(|| format!("{}: {link}: {} has no such heading", page.display(), target.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let mut pages = fences::pages(&root());
    pages.extend(["CHANGELOG.md", "shaders/README.md", "crates/model/atlas/README.md"].map(PathBuf::from));
    let (mut known, mut seen, mut wrong) = (HashMap::new(), 0, Vec::new());
    for page in pages {
        let links = links(&text(&page));
        seen += links.len();
        wrong.extend(links.iter().filter_map(|link| fault(&page, link, &mut known)));
    }
    assert!(seen > 300, "the scan itself found {seen} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wrong_links_are_found() {
    let page = Path::new("docs/src/recipes/hub.md");
    let known = &mut HashMap::new();
    for (link, reason) in [
        ("nowhere.md", "there is no docs/src/recipes/nowhere.md"),
        ("../../../README.md", "leaves the book"),
        ("../devices.md#no-such-heading", "has no such heading"),
        ("#no-such-heading", "docs/src/recipes/hub.md has no such heading"),
    ] {
        assert!(fault(page, link, known).is_some_and(|found| found.contains(reason)), "{link}");
    }
    for link in ["../devices.md", "../devices.md#what-was-tested", "gguf.md"] {
        assert_eq!(fault(page, link, known), None);
    }
    let page = "[a](b.md#c) `[no](link)` ![d](e.svg)\n```\n[no](link)\n```\n[f](https://example.com)\n";
    assert_eq!(links(page), ["b.md#c", "e.svg"]);
    assert_eq!(anchor(" `a.b(c)`: what [it](x.md) is, in f32"), "abc-what-it-is-in-f32");
}

#[test]
fn the_book_contains_every_page() {
    let summary: BTreeSet<String> = links(&text("docs/src/SUMMARY.md")).into_iter().collect();
    let pages = files("docs/src", &[".md"]);
    let inside =
        |path: &PathBuf| path.strip_prefix("docs/src").expect("in the book").to_string_lossy().replace('\\', "/");
    let pages: BTreeSet<String> = pages.iter().map(inside).filter(|page| page != "SUMMARY.md").collect();
    assert!(pages.len() > 60, "the scan itself found {} pages", pages.len());
    assert_eq!(summary, pages, "docs/src/SUMMARY.md");
    // Every figure is on a page.
    let all: String = fences::pages(&root()).iter().map(text).collect();
    for figure in files("docs/src/figures", &[".svg", ".webp", ".png"]) {
        let name = figure.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(all.contains(&name), "no page shows {}", figure.display());
    }
}
