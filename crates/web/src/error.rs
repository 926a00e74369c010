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
    /// No model is open.
    #[error("no model is open; open one first")]
    NoModel,
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
