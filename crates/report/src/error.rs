//! The error type of this crate.

use std::path::PathBuf;

/// An error of writing a figure or a page. Every message is one line that names the cause and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file name has an unsupported ending.
    #[error("{}: {what} ends in {endings}", path.display())]
    Ending {
        /// The file.
        path: PathBuf,
        /// The kind of output: `a plot`.
        what: &'static str,
        /// The supported endings.
        endings: &'static str,
    },
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] resolvent_field::Error),
    /// The picture has too many pixels.
    #[error("a picture of {width} x {height} is too large for .png; write .svg, or give a shorter prompt")]
    TooLarge {
        /// Width of the drawing in pixels.
        width: f64,
        /// Height of the drawing in pixels.
        height: f64,
    },
    /// The picture could not be encoded.
    #[error("the picture cannot be encoded: {0}; write .svg")]
    Png(String),
    /// The result has no edges.
    #[error("the result has no edges, so it has no graph; write a graph of `edges` or `circuit`")]
    NoEdges,
    /// The graph could not be written, because of a fault in this crate.
    #[error("the graph cannot be made: {0}; please report this")]
    Graph(String),
    /// The page could not be assembled, because of a fault in this crate.
    #[error("the page cannot be made: {0}; please report this")]
    Page(String),
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
