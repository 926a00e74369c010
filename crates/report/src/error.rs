//! The crate's one error type.

use std::path::PathBuf;

/// What can go wrong when a figure or a page is written. Every message is one line that names the cause and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ending of a file that no writer has.
    #[error("{}: {what} ends in {endings}", path.display())]
    Ending {
        /// The file.
        path: PathBuf,
        /// What should be written: `a plot`.
        what: &'static str,
        /// The endings there are.
        endings: &'static str,
    },
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] resolvent_field::Error),
    /// A picture of more pixels than make sense.
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
    /// The page could not be put together; a fault of ours.
    #[error("the page cannot be made: {0}; please report this")]
    Page(String),
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
