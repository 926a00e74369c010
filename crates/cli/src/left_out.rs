//! Rows of prompt files that are left out: the first few are named, the others counted.

use std::cell::Cell;
use std::fmt;
use std::path::Path;

use crate::Failure;

/// Names of rows without a result, with the reasons.
pub(crate) type LeftOut = Vec<(String, String)>;

/// Rows left out that are named.
const SHOWN: usize = 5;

/// Names the first few rows that are left out, and counts the rest.
pub(crate) fn name_left_out<'a>(path: &Path, rows: impl ExactSizeIterator<Item = (String, &'a str)>) {
    let more = rows.len().saturating_sub(SHOWN);
    for (name, reason) in rows.take(SHOWN) {
        tracing::warn!("{}: {name} is left out: {reason}", path.display());
    }
    if more > 0 {
        tracing::warn!("{}: {more} more lines are left out", path.display());
    }
}

/// An error of the options or rows of a command, which no other process would avoid.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Names the rows of one file that are left out. With `--strict` they are an error.
pub(crate) struct Naming<'a> {
    path: &'a Path,
    is_strict: bool,
    /// How many rows of shards are left out so far.
    of_shards: Cell<usize>,
}

impl<'a> Naming<'a> {
    pub(crate) fn new(path: &'a Path, is_strict: bool) -> Self {
        Self { path, is_strict, of_shards: Cell::new(0) }
    }

    /// Names the first few rows, and counts the others.
    pub(crate) fn all(&self, left_out: &[(String, String)]) -> Result<(), Failure> {
        self.refuse(left_out)?;
        self.name(left_out);
        Ok(())
    }

    /// Names the rows of one of many shards, until the first few of all shards are named.
    pub(crate) fn some(&self, left_out: &[(String, String)]) -> Result<(), Failure> {
        let before = self.of_shards.replace(self.of_shards.get() + left_out.len());
        self.refuse(left_out)?;
        self.name(&left_out[..left_out.len().min(SHOWN.saturating_sub(before))]);
        Ok(())
    }

    /// Counts the rows of all shards that are not named.
    pub(crate) fn rest(&self) {
        let more = self.of_shards.get().saturating_sub(SHOWN);
        if more > 0 {
            tracing::warn!("{}: {more} more rows are left out", self.path.display());
        }
    }

    fn name(&self, left_out: &[(String, String)]) {
        name_left_out(self.path, left_out.iter().map(|(name, reason)| (name.clone(), reason.as_str())));
    }

    fn refuse(&self, left_out: &[(String, String)]) -> Result<(), Failure> {
        match left_out.first() {
            Some((name, reason)) if self.is_strict => {
                let text = format!("{}: {name}: {reason}; without --strict it is left out", self.path.display());
                Err(Refused(text).into())
            }
            _ => Ok(()),
        }
    }
}
