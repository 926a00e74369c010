//! Pages: self-contained HTML documents with figures, tables, verdicts, and the origins of the numbers.
//!
//! A page needs no network, and no script or font outside the document.

mod content;
mod render;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;

pub use content::{Block, Origin, Page, Section, Statement, Verdict};
pub use render::figure_style;

use crate::{Error, Result};

impl Page {
    /// Returns the HTML document.
    ///
    /// # Errors
    /// The template cannot be rendered, because of a fault in this crate.
    pub fn html(&self) -> Result<String> {
        render::html(self).map_err(|e| Error::Page(format!("{e:#}")))
    }

    /// Checks that a page can be written to `path`, before the work is done.
    ///
    /// # Errors
    /// The ending is not `.html`, or the directory is missing or not writable.
    pub fn check_path(path: &Path) -> Result<()> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("html") => Ok(resolvent_field::check_writable(path)?),
            _ => Err(Error::Ending { path: path.to_owned(), what: "a page", endings: ".html" }),
        }
    }

    /// Writes the complete document.
    ///
    /// # Errors
    /// As [`Page::check_path`], or a full disk.
    pub fn write(&self, path: &Path) -> Result<()> {
        Self::check_path(path)?;
        Ok(resolvent_field::write_whole(path, self.html()?.as_bytes())?)
    }
}
