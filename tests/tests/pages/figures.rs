//! The figures of the gallery are those that its commands draw.

use std::path::Path;

use super::output::compare;
use crate::architecture::{root, text};

/// The page whose figures are compared.
const GALLERY: &str = "docs/src/gallery.md";

/// Returns the texts of a figure, one a line.
fn texts(svg: &str) -> String {
    let document = roxmltree::Document::parse(svg).unwrap_or_else(|e| panic!("{e}"));
    let nodes = document.descendants().filter(|node| node.has_tag_name("text"));
    let of = |node: roxmltree::Node<'_, '_>| {
        node.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect::<String>()
    };
    nodes.map(of).fold(String::new(), |all, text| all + text.trim() + "\n")
}

/// Compares the figure that a command of the gallery has drawn with the figure that the page shows.
pub(super) fn compare_drawn(page: &str, arguments: &[String], folder: &Path) -> Result<(), String> {
    let plot = arguments.iter().position(|word| word == "--plot").and_then(|at| arguments.get(at + 1));
    let Some(name) = plot.filter(|_| page == GALLERY) else { return Ok(()) };
    let link = format!("](figures/{name})");
    if !text(GALLERY).contains(&link) {
        return Err(format!("the page does not show {name}"));
    }
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let shown = texts(&read(&root().join("docs/src/figures").join(name))?);
    let drawn = texts(&read(&folder.join(name))?);
    compare(&shown, &drawn).and_then(|()| compare(&drawn, &shown)).map_err(|reason| format!("{name}: {reason}"))
}

#[test]
fn texts_of_figures_are_found() {
    let svg = "<svg><title>no</title><text>a <tspan>b</tspan></text><g><text> c </text></g></svg>";
    assert_eq!(texts(svg), "a b\nc\n");
}

#[test]
fn another_figure_is_found() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arguments = ["lens", "--plot", "lens.svg"].map(str::to_owned);
    let own = text("docs/src/figures/lens.svg");
    for (drawn, is_same) in
        [(own.clone(), true), (own.replacen(">0.0", ">0.9", 1), false), ("<svg/>".to_owned(), false)]
    {
        std::fs::write(folder.path().join("lens.svg"), &drawn).expect("can be written");
        assert_eq!(compare_drawn(GALLERY, &arguments, folder.path()).is_ok(), is_same);
        assert!(compare_drawn("README.md", &arguments, folder.path()).is_ok());
    }
    let unknown = ["lens", "--plot", "no.svg"].map(str::to_owned);
    assert!(compare_drawn(GALLERY, &unknown, folder.path()).is_err_and(|e| e == "the page does not show no.svg"));
}
