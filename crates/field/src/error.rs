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
    /// A result fails its own check, so its numbers must not be used.
    #[error("check `{name}` failed: {value:.3e} exceeds the tolerance {bound:.1e}; {}", advice(executor.as_deref()))]
    Certificate {
        /// Name of the check.
        name: String,
        /// What was measured.
        value: f64,
        /// What is allowed, rounding included.
        bound: f64,
        /// The executor in use, where it is known: `host` or `gpu`.
        executor: Option<String>,
    },
    /// The same, of a model that rounds the inputs of products: an analysis of small differences of values sees that.
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
    /// A number of a result is NaN or infinite where only a finite one has a meaning.
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

/// What to do about a failed check. A device that is in use already is no advice.
fn advice(executor: Option<&str>) -> &'static str {
    match executor {
        Some("host") => "report this with the command and the model",
        _ => "try `--device host` and report this",
    }
}
