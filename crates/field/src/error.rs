//! The crate's one error type.

use std::path::PathBuf;

/// What can go wrong in an analysis. Every message is one line that names the cause and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model, the prompt or the device.
    #[error(transparent)]
    Model(#[from] resolvent_model::Error),
    /// Inputs of an analysis do not fit each other.
    #[error("{0}")]
    Input(String),
    /// A result does not hold its own check: numbers that nobody should use.
    #[error("check `{name}` failed: {value:.3e}, at most {bound:.1e} is sound; try `--device host` and report this")]
    Certificate {
        /// Name of the check.
        name: String,
        /// What was measured.
        value: f64,
        /// What is allowed.
        bound: f64,
    },
    /// The same, of a model that rounds the inputs of products: what compares small differences of values sees that.
    #[error(
        "check `{name}` failed: {value:.3e} exceeds the tolerance {bound:.1e}; rounded inputs are too imprecise for this \
         analysis: run again without --f16-inputs"
    )]
    Rounded {
        /// Name of the check.
        name: String,
        /// What was measured.
        value: f64,
        /// What is allowed.
        bound: f64,
    },
    /// A result file cannot be written, or a direction file cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
