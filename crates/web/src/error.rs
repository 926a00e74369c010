//! The error type of this crate.

/// An error of a request. Every message is one line that names the cause and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the model, the prompts or the analysis.
    #[error(transparent)]
    Analysis(#[from] resolvent::Error),
    /// The device cannot be opened.
    #[error(transparent)]
    Device(#[from] resolvent::Fault),
    /// A request that is not valid, or that does not fit its analysis.
    #[error("{0}")]
    Request(String),
    /// There is no memory for a file.
    #[error(
        "no memory for {name}: it has {}, beside {} of other files; a page has 4.0 GiB in all, and at most {} for one file; \
         use a smaller model, a GGUF file in parts, or the command line", size(*bytes), size(*others), size(*most)
    )]
    Room {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
        /// The size of the files before it.
        others: u64,
        /// The largest size of one file.
        most: u64,
    },
    /// No model is open.
    #[error("no model is open; open one first")]
    NoModel,
}

/// Returns a number of bytes in MiB or GiB.
fn size(bytes: u64) -> String {
    match bytes {
        0x4000_0000.. => format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64),
        _ => format!("{:.1} MiB", bytes as f64 / (1u64 << 20) as f64),
    }
}

impl From<resolvent::engine::Error> for Error {
    fn from(error: resolvent::engine::Error) -> Self {
        Self::Device(error.into())
    }
}

impl From<resolvent::model::Error> for Error {
    fn from(error: resolvent::model::Error) -> Self {
        Self::Analysis(error.into())
    }
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
