//! Why a GGUF file cannot be used, before its path is known.

use std::path::Path;

use crate::error::Error;

/// What is wrong with a file.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file is damaged or incomplete.
    Damaged(String),
    /// The file is intact, but this program does not read what it contains. The text also says what to do.
    Unread(String),
}

/// Adds what to do to a message about a key of the metadata.
pub(super) fn again(message: String) -> String {
    message + "; convert the model again"
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Damaged(message)
    }
}

impl Fault {
    /// Returns the error that names the file.
    pub(super) fn at(self, path: &Path) -> Error {
        let path = path.into();
        match self {
            Self::Damaged(message) => Error::Gguf { path, message },
            Self::Unread(message) => Error::GgufModel { path, message },
        }
    }
}
