//! What a verb is.

use crate::process::Result;

/// A verb: its name, a summary, and its function.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    /// Whether the verb accepts arguments; otherwise arguments are an error.
    pub(crate) takes_arguments: bool,
    pub(crate) run: fn(&[String]) -> Result,
}
