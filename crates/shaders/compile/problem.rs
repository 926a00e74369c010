//! What is wrong with a shader, and where.

use std::fmt;

/// A build error in a shader file. It prints as `file:line: message` with the details below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Path from the root of the repository.
    pub(crate) file: String,
    /// Line from 1; 0 when the whole file is meant.
    pub(crate) line: u32,
    pub(crate) message: String,
    /// Further lines: the text concerned, notes, what to do.
    pub(crate) details: Vec<String>,
}

impl Problem {
    pub(crate) fn new(file: &str, line: u32, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into(), details: Vec::new() }
    }

    pub(crate) fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            line => write!(f, "{}:{line}: {}", self.file, self.message)?,
        }
        for line in self.details.iter().flat_map(|detail| detail.lines()) {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}
