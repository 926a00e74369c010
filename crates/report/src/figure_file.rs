//! Writes figures to files.

use std::path::Path;

use crate::{Error, Figure, Page, Result, Section};

enum Format {
    Svg,
    Png,
    Html,
}

fn format_of(path: &Path) -> Result<Format> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("svg") => Ok(Format::Svg),
        Some("png") => Ok(Format::Png),
        Some("html") => Ok(Format::Html),
        _ => Err(Error::Ending { path: path.to_owned(), what: "a plot", endings: ".svg, .png or .html" }),
    }
}

impl Figure {
    /// Checks that a figure can be written to `path`, before the work is done.
    ///
    /// # Errors
    /// The ending is not `.svg`, `.png` or `.html`, or the directory is missing or not writable.
    pub fn check_path(path: &Path) -> Result<()> {
        format_of(path)?;
        Ok(resolvent_field::check_writable(path)?)
    }

    /// Writes the complete figure as `.svg`, `.png` or `.html`, by the ending. The last is a page that shows the
    /// numbers below the pointer.
    ///
    /// # Errors
    /// As [`Figure::check_path`], a full disk, or a figure too large for a picture.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = match format_of(path)? {
            Format::Svg => self.svg().into_bytes(),
            Format::Png => self.png()?,
            Format::Html => self.page().html()?.into_bytes(),
        };
        Ok(resolvent_field::write_whole(path, &bytes)?)
    }

    /// Returns a page of this figure alone, or of the figures of a grid one below the other.
    fn page(&self) -> Page {
        let figures = match self {
            Self::Grid(grid) if grid.title.is_empty() => &grid.figures[..],
            _ => std::slice::from_ref(self),
        };
        let title = figures.first().map_or("", |figure| figure.title());
        let mut page = Page::new(title, "");
        page.sections =
            vec![figures.iter().fold(Section::new("Figures"), |section, one| section.figure(one.clone(), ""))];
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Graph, GraphEdge, GraphNode, Grid};

    /// A page has all figures of a grid, with the texts that are shown while the pointer is over an edge.
    #[test]
    fn pages_show_what_is_below_the_pointer() {
        let node = |name: &str, column| GraphNode { name: name.to_owned(), column, row: 0 };
        let edge = GraphEdge { from: 0, to: 1, weight: 2.5, label: "input->m0".to_owned(), ..GraphEdge::default() };
        let graph = |title: &str| {
            Figure::from(Graph {
                title: title.to_owned(),
                nodes: vec![node("input", 0), node("m0", 1)],
                edges: vec![edge.clone()],
                ..Graph::default()
            })
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("plot.html");
        Figure::from(Grid::new("", vec![graph("First"), graph("Second")])).write(&path).expect("writable");
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.contains("<title>First</title>") && text.contains("Second"), "{text}");
        assert_eq!(text.matches("input-&gt;m0: 2.5").count(), 2, "{text}");
        assert!(Figure::check_path(&folder.path().join("plot.pdf")).is_err());
    }
}
