//! Writes figures to files.

use std::path::Path;

use crate::{Error, Figure, Result};

enum Format {
    Svg,
    Png,
}

fn format_of(path: &Path) -> Result<Format> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("svg") => Ok(Format::Svg),
        Some("png") => Ok(Format::Png),
        _ => Err(Error::Ending { path: path.to_owned(), what: "a plot", endings: ".svg or .png" }),
    }
}

impl Figure {
    /// Checks that a figure can be written to `path`, before the work is done.
    ///
    /// # Errors
    /// The ending is neither `.svg` nor `.png`, or the directory is missing or not writable.
    pub fn check_path(path: &Path) -> Result<()> {
        format_of(path)?;
        Ok(resolvent_field::check_writable(path)?)
    }

    /// Writes the complete figure as `.svg` or `.png`, by the ending.
    ///
    /// # Errors
    /// As [`Figure::check_path`], a full disk, or a figure too large for a picture.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = match format_of(path)? {
            Format::Svg => self.svg().into_bytes(),
            Format::Png => self.png()?,
        };
        Ok(resolvent_field::write_whole(path, &bytes)?)
    }
}
