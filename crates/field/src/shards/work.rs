//! What the shards of a folder are parts of, and which of them belong to a process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use resolvent_model::Model;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Rows of a shard, if nothing else is asked for: one batch of short prompts.
pub const SHARD: usize = 32;

/// Version of the form of shards. Shards of another one are other work.
const FORMAT: &str = "1";

/// An analysis of all rows of a prompt set, with everything on which its results depend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    facts: BTreeMap<String, String>,
    rows: usize,
    size: usize,
}

impl Work {
    /// Describes an analysis by `model`.
    ///
    /// `options` are the analysis and its options. `rows` are all prompts in a canonical form, and `size` of them are a
    /// shard. `unread` is how many lines of the prompt file are no rows, if results count them.
    ///
    /// # Errors
    /// No rows, or a size of 0.
    pub fn new(
        model: &Model,
        options: BTreeMap<String, String>,
        rows: impl ExactSizeIterator<Item = String>,
        (size, unread): (usize, Option<usize>),
    ) -> Result<Self> {
        if size == 0 {
            return Err(Error::Input("a shard of 0 prompts; give 1 or more".to_owned()));
        }
        let (count, mut hash) = (rows.len(), blake3::Hasher::new());
        for row in rows {
            hash.update(&(row.len() as u64).to_le_bytes());
            hash.update(row.as_bytes());
        }
        if count == 0 {
            return Err(Error::Input("there are no prompts".to_owned()));
        }
        let rounded = |error: Option<f64>| if error.is_some() { "f16" } else { "f32" }.to_owned();
        let own = [
            ("format", FORMAT.to_owned()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("model", model.name().to_owned()),
            ("model_hash", model.hash().to_owned()),
            ("weights", rounded(model.weight_rounding())),
            ("inputs", rounded(model.input_rounding())),
            (ROWS, count.to_string()),
            ("prompts_hash", hash.finalize().to_hex().to_string()),
            (SIZE, size.to_string()),
        ];
        let mut facts: BTreeMap<String, String> = options;
        facts.extend(own.map(|(key, value)| (key.to_owned(), value)));
        facts.extend(unread.map(|count| (UNREAD.to_owned(), count.to_string())));
        Ok(Self { facts, rows: count, size })
    }

    /// Reads a description; `None` if it is not one.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        let facts: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
        let number = |key: &str| facts.get(key)?.parse::<usize>().ok().filter(|&n| n > 0);
        let (rows, size) = (number(ROWS)?, number(SIZE)?);
        Some(Self { facts, rows, size })
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(&self.facts).unwrap_or_default()
    }

    pub(super) fn facts(&self) -> Map<String, Value> {
        self.facts.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect()
    }

    /// Returns how many shards there are.
    pub fn shards(&self) -> usize {
        self.rows.div_ceil(self.size)
    }

    /// Returns the rows of a shard.
    pub fn rows(&self, shard: usize) -> Range<usize> {
        (shard * self.size).min(self.rows)..((shard + 1) * self.size).min(self.rows)
    }

    /// Returns how many lines of the prompt file are no rows, if results count them.
    pub(super) fn unread(&self) -> Option<usize> {
        self.facts.get(UNREAD)?.parse().ok()
    }

    /// Returns the hash of the whole description, and of the number of a shard.
    pub(super) fn key(&self, description: &str, shard: usize) -> String {
        let mut hash = blake3::Hasher::new();
        hash.update(description.as_bytes()).update(&(shard as u64).to_le_bytes());
        hash.finalize().to_hex()[..32].to_owned()
    }
}

const ROWS: &str = "prompts";
const SIZE: &str = "shard_size";
const UNREAD: &str = "unread_rows";

/// Returns the hash of a file, for options that name one.
///
/// # Errors
/// A file that cannot be read.
pub fn file_hash(path: &Path) -> Result<String> {
    let read = || {
        let mut hash = blake3::Hasher::new();
        std::io::copy(&mut std::fs::File::open(path)?, &mut hash)?;
        Ok::<_, std::io::Error>(hash.finalize().to_hex().to_string())
    };
    read().map_err(|e| Error::File { path: path.to_owned(), reason: format!("cannot be read: {e}") })
}
