//! Tests of the HTML of pages.

use super::*;
use crate::{Axis, Cell, Figure, Grid, Heatmap, Lines, Scatter, Series, Table};

const HOSTILE: &str = "<script>alert(1)</script>\"' onload='x' &amp; \u{202e}\u{0}`";

/// Returns a page with `text` in every place that takes a text.
fn page(text: &str) -> Page {
    let map = Heatmap::new(text, vec![text.to_owned()], vec![text.to_owned(); 2], vec![1.0, f32::NAN]);
    let mut lines = Lines::new(text, Axis::linear(text), Axis::log(text));
    lines.series = vec![Series::new(text, vec![(0.0, 1.0), (1.0, 2.0)]), Series::new(text, vec![(0.0, 3.0)])];
    let table = Table::new(text, &[text, "n"]).row([Cell::from(text), 1.5.into()]);
    let mut page = Page::new(text, text);
    let statement = |verdict| Statement {
        claim: text.to_owned(),
        verdict,
        beside: String::new(),
        figure: text.to_owned(),
        interval: text.to_owned(),
        section: text.to_owned(),
    };
    page.statements = [Verdict::Holds, Verdict::Partly, Verdict::Fails, Verdict::Undecided].map(statement).to_vec();
    let section = Section::new(text)
        .text(text)
        .figure(map.clone(), text)
        .figure(Grid::new(text, vec![map.into(), lines.into(), table.clone().into()]), text)
        .figure(table.clone(), text)
        .details(text, table);
    page.sections = vec![section; 3];
    page.origins = vec![Origin {
        name: text.to_owned(),
        facts: vec![(text.to_owned(), text.to_owned())],
        checks: vec![(text.to_owned(), [1e-8, 1e-9, 1e-5])],
    }];
    page.footer = text.to_owned();
    page
}

/// Returns the tags of a document in order, without the contents of style and script elements.
fn tags(html: &str) -> Vec<String> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let end = rest[start..].find('>').map_or(rest.len(), |e| start + e + 1);
        let tag = &rest[start..end];
        let name: String = tag.chars().skip(1).take_while(|c| c.is_alphanumeric() || *c == '/').collect();
        tags.push(name.clone());
        rest = match name.as_str() {
            "style" | "script" => {
                let close = format!("</{name}>");
                &rest[rest.find(&close).unwrap_or(rest.len())..]
            }
            _ => &rest[end..],
        };
    }
    tags
}

#[test]
fn hostile_texts_change_no_tag() {
    let (plain, hostile) = (page("plain").html().expect("a page"), page(HOSTILE).html().expect("a page"));
    let count = |html: &str, name: &str| tags(html).iter().filter(|t| *t == name).count();
    assert_eq!(count(&hostile, "script"), 1, "our own");
    for name in ["figure", "svg", "table", "details", "section", "title", "a", "h2", "dd"] {
        assert_eq!(count(&plain, name), count(&hostile, name), "{name}");
    }
    assert!(hostile.contains("&lt;script&gt;alert(1)"));
    assert!(!hostile.contains("onload='") && !hostile.contains("\" onload"));
    assert!(!hostile.chars().any(|c| c == '\u{202e}' || c == '\u{0}'));
}

/// Each opening tag has a closing tag, ids are distinct, and each link has its target.
#[test]
fn tags_are_closed_and_links_have_targets() {
    let html = page("a `b` c").html().expect("a page");
    for name in ["figure", "svg", "table", "details", "section", "div", "p", "main", "header", "ol", "dl", "tr"] {
        let tags = tags(&html);
        let count = |of: &str| tags.iter().filter(|t| *t == of).count();
        assert!(count(name) > 0, "{name}");
        assert_eq!(count(name), count(&format!("/{name}")), "{name}");
    }
    let ids: Vec<&str> = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let different: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), different.len(), "{ids:?}");
    for target in html.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(ids.contains(&target), "nothing is at #{target}");
    }
    assert!(html.starts_with("<!doctype html>") && html.contains("<code>b</code>"), "{}", &html[..200]);
}

/// A page refers to nothing that would have to be fetched, so it can be read from disk without a network.
#[test]
fn a_page_is_self_contained() {
    let html = page("plain").html().expect("a page");
    for outside in ["src=", "@import", "url(", "<link", "fetch(", "https:"] {
        assert!(!html.contains(outside), "{outside}");
    }
    let elsewhere = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    assert!(!elsewhere.contains("http:"));
}

/// Every variable that a drawing or the style sheet names has a colour in both themes.
#[test]
fn every_variable_is_declared() {
    let html = page("plain").html().expect("a page");
    for name in html.split("var(--").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert_eq!(html.matches(&format!("--{name}:#")).count(), 3, "--{name}: light, and dark by two ways");
    }
}

/// Drawings on pages of other programs have the same colours.
#[test]
fn the_style_of_drawings_declares_every_variable() {
    let style = figure_style();
    let plot = Scatter::new("x", Axis::linear("x"), Axis::linear("y"));
    let element = Figure::from(plot).element();
    let names: Vec<&str> = element.split("var(--").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(names.contains(&"ink"), "{element}");
    for name in names {
        assert_eq!(style.matches(&format!("--{name}:#")).count(), 2, "--{name}: light and dark");
    }
}

#[test]
fn statements_have_words_and_links() {
    let html = page("plain").html().expect("a page");
    for words in ["holds", "holds partly", "fails", "undecided"] {
        assert!(html.contains(&format!("</span> {words}</p>")), "{words}");
    }
    assert!(html.contains("<a href=\"#plain\">plain</a></p>"));
    assert!(html.contains("<td class=\"n\">1e-5</td>") && html.contains("1 check passed"));
}

#[test]
fn an_empty_page_is_a_page() {
    let html = Page::default().html().expect("a page");
    assert!(!html.contains("<section") && !html.contains("<footer") && html.contains("</html>"));
}

#[test]
fn pages_are_written_whole_and_other_endings_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("page.html");
    page("plain").write(&path).expect("writable");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), page("plain").html().expect("a page"));
    let line = page("plain").write(&folder.path().join("page.pdf")).expect_err("refused").to_string();
    assert!(line.ends_with("page.pdf: a page ends in .html"), "{line}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "temporary files are gone");
}
