//! The error type of this crate.

use std::path::PathBuf;

/// An error of an analysis. Every message is one line that names the cause and the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the model, the prompt or the device.
    #[error(transparent)]
    Model(#[from] resolvent_model::Error),
    /// Inputs of an analysis do not fit each other.
    #[error("{0}")]
    Input(String),
    /// A result fails its own check, so its numbers must not be used.
    #[error("check `{name}` failed: {value:.3e} exceeds the tolerance {bound:.1e}; {}", advice(executor.as_deref()))]
    Certificate {
        /// Name of the check.
        name: String,
        /// The measured figure.
        value: f64,
        /// The largest allowed figure, rounding included.
        bound: f64,
        /// The executor in use, if it is known: `host` or `gpu`.
        executor: Option<String>,
    },
    /// A result fails its own check, and the model rounds the inputs of products. Analyses of small differences of
    /// values detect that rounding.
    #[error(
        "check `{name}` failed: {value:.3e} exceeds the tolerance {bound:.1e}; rounded inputs are too imprecise for this \
         analysis: run again without --f16-inputs"
    )]
    Rounded {
        /// Name of the check.
        name: String,
        /// The measured figure.
        value: f64,
        /// The largest allowed figure, rounding included.
        bound: f64,
    },
    /// A number of a result is NaN or infinite where only a finite one is meaningful.
    #[error(
        "`{array}` is {value} at {place}: the analysis leaves the range of f32; check the size of the weights and of the \
         directions"
    )]
    NotFinite {
        /// Name of the array.
        array: String,
        /// The number.
        value: f32,
        /// The index on each axis.
        place: String,
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

/// Returns the advice for a failed check. It suggests `--device host` unless the host is in use already.
fn advice(executor: Option<&str>) -> &'static str {
    match executor {
        Some("host") => "report this with the command and the model",
        _ => "try `--device host` and report this",
    }
}
