//! What the shards of a folder are parts of, and which of them belong to a process.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use resolvent_model::Model;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::store::difference;

/// Rows of a shard, if nothing else is asked for: one batch of short prompts.
pub const SHARD: usize = 32;

/// Version of the form of shards. Shards of another one are other work.
const FORMAT: &str = "2";

/// A hash of rows. Sixteen bytes tell any two rows apart.
type Hash = [u8; 16];

/// An analysis of all rows of a prompt set, with everything on which its results depend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Everything but the rows.
    facts: BTreeMap<String, String>,
    rows: usize,
    size: usize,
    unread: Option<usize>,
    /// A hash of the rows of each shard.
    shards: Vec<Hash>,
    /// A hash of each row; none of a description that is read from a file.
    each: Vec<Hash>,
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
        let each: Vec<Hash> = rows.map(|row| hash_of([row.as_bytes()])).collect();
        if each.is_empty() {
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
            (SIZE, size.to_string()),
        ];
        let mut facts: BTreeMap<String, String> = options;
        facts.extend(own.map(|(key, value)| (key.to_owned(), value)));
        Ok(Self { facts, rows: each.len(), size, unread, shards: of_shards(&each, size), each })
    }

    /// Makes each shard depend on all rows, as for an analysis that compares each prompt with the others.
    #[must_use]
    pub fn of_all_rows(mut self) -> Self {
        let all = hash_of(self.each.iter().map(|row| &row[..]));
        self.facts.insert("prompts_hash".to_owned(), hex(&all));
        self
    }

    /// Reads a description; `None` if it is not one.
    pub(super) fn from_json(text: &str) -> Option<Self> {
        let mut values: Map<String, Value> = serde_json::from_str(text).ok()?;
        let hashes = values.remove(SHARDS)?;
        let shards = hashes.as_array()?.iter().map(|hash| unhex(hash.as_str()?)).collect::<Option<Vec<Hash>>>()?;
        let text = |(key, value): (String, Value)| Some((key, value.as_str()?.to_owned()));
        let mut facts = values.into_iter().map(text).collect::<Option<BTreeMap<_, _>>>()?;
        let rows: usize = facts.remove(ROWS)?.parse().ok()?;
        let unread = match facts.remove(UNREAD) {
            Some(count) => Some(count.parse().ok()?),
            None => None,
        };
        let size = facts.get(SIZE)?.parse().ok().filter(|&size| size > 0)?;
        let is_whole = rows > 0 && shards.len() == rows.div_ceil(size);
        is_whole.then_some(Self { facts, rows, size, unread, shards, each: Vec::new() })
    }

    pub(super) fn to_json(&self) -> String {
        let mut values = self.facts();
        values.insert(ROWS.to_owned(), self.rows.to_string().into());
        values.extend(self.unread.map(|count| (UNREAD.to_owned(), count.to_string().into())));
        values.insert(SHARDS.to_owned(), self.shards.iter().map(|rows| Value::from(hex(rows))).collect());
        Value::from(values).to_string()
    }

    /// Returns everything but the rows.
    fn facts(&self) -> Map<String, Value> {
        self.facts.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect()
    }

    /// Returns what identifies a shard: everything but the rows, and a hash of its own.
    pub(super) fn facts_of(&self, shard: usize) -> Map<String, Value> {
        let mut facts = self.facts();
        facts.extend(self.shards.get(shard).map(|rows| (OF_SHARD.to_owned(), hex(rows).into())));
        facts
    }

    /// Returns whether a folder of this work becomes one of `new`: the same analysis of these rows and further ones, or
    /// of as many rows, of which some shards have the same. Rows of `new` are known one by one.
    ///
    /// # Errors
    /// The first difference, of other work.
    pub(super) fn becomes(&self, new: &Self) -> Result<bool, String> {
        if let Some(difference) = difference(&self.facts(), &new.facts()) {
            return Err(difference);
        }
        let is_same = (self.rows, self.unread, &self.shards) == (new.rows, new.unread, &new.shards);
        let counts = format!("`{ROWS}` was {} and is now {}", self.rows, new.rows);
        match new.rows.cmp(&self.rows) {
            Ordering::Less => Err(counts),
            Ordering::Equal if self.shards.iter().zip(&new.shards).any(|(old, new)| old == new) => Ok(!is_same),
            Ordering::Equal => Err("no shard has the same prompts".to_owned()),
            Ordering::Greater if of_shards(&new.each[..self.rows], self.size) == self.shards => Ok(true),
            Ordering::Greater => Err(format!("{counts}, with other rows among the first {}", self.rows)),
        }
    }

    /// Returns the same without the hashes of single rows.
    pub(super) fn of_shards(&self) -> Self {
        let (facts, shards) = (self.facts.clone(), self.shards.clone());
        Self { facts, shards, each: Vec::new(), ..*self }
    }

    /// Returns how many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Returns the rows of a shard.
    pub fn rows(&self, shard: usize) -> Range<usize> {
        (shard * self.size).min(self.rows)..((shard + 1) * self.size).min(self.rows)
    }

    /// Returns how many lines of the prompt file are no rows, if results count them.
    pub(super) fn unread(&self) -> Option<usize> {
        self.unread
    }

    /// Returns the hash of everything on which a shard depends.
    pub(super) fn key(&self, shard: usize) -> String {
        hex(&hash_of([Value::from(self.facts_of(shard)).to_string().as_bytes()]))
    }
}

const ROWS: &str = "prompts";
const SIZE: &str = "shard_size";
const UNREAD: &str = "unread_rows";
/// Hashes of the rows of all shards, and that of one of them.
const SHARDS: &str = "shards";
const OF_SHARD: &str = "rows";

fn hash_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let mut hash = blake3::Hasher::new();
    for part in parts {
        hash.update(part);
    }
    let (mut first, whole) = (Hash::default(), hash.finalize());
    first.copy_from_slice(&whole.as_bytes()[..size_of::<Hash>()]);
    first
}

/// Returns the hash of the rows of each shard.
fn of_shards(rows: &[Hash], size: usize) -> Vec<Hash> {
    rows.chunks(size).map(|rows| hash_of(rows.iter().map(|row| &row[..]))).collect()
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    let is_whole = text.is_ascii() && text.len() == 2 * hash.len();
    for (i, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2).filter(|_| is_whole)?, 16).ok()?;
    }
    Some(hash)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn work(rows: &[&str], unread: usize) -> Work {
        let each: Vec<Hash> = rows.iter().map(|row| hash_of([row.as_bytes()])).collect();
        let facts = [("version", "1"), (SIZE, "2")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Work { facts, rows: each.len(), size: 2, unread: Some(unread), shards: of_shards(&each, 2), each }
    }

    #[test]
    fn folders_become_those_of_sets_that_grow_or_are_mended() {
        let old = work(&["a", "b", "c"], 1);
        let read = Work::from_json(&old.to_json()).expect("a description");
        assert_eq!(read, Work { each: Vec::new(), ..old.clone() });
        assert_eq!(read.becomes(&old), Ok(false));
        for (new, rows) in [
            (work(&["a", "b", "c", "d"], 1), "the last shard grows"),
            (work(&["a", "b", "c", "d", "e"], 2), "a further shard, and a line that is no row"),
            (work(&["a", "b", "x"], 1), "a mended row"),
            (work(&["a", "b", "c"], 0), "a line that is no row is gone"),
        ] {
            assert_eq!(read.becomes(&new), Ok(true), "{rows}");
            let is_same = |shard: usize| read.key(shard) == new.key(shard);
            assert!(is_same(0), "{rows}");
            assert_eq!(is_same(1), new.shards[1] == old.shards[1], "{rows}");
        }
        for (new, reason) in [
            (work(&["a", "b"], 1), "`prompts` was 3 and is now 2"),
            (work(&["a", "x", "c", "d"], 1), "`prompts` was 3 and is now 4, with other rows among the first 3"),
            (work(&["a", "b", "x", "c"], 1), "`prompts` was 3 and is now 4, with other rows among the first 3"),
            (work(&["b", "a", "d"], 1), "no shard has the same prompts"),
            (Work { facts: BTreeMap::new(), ..old.clone() }, "`shard_size` was 2 and is now none"),
        ] {
            assert_eq!(read.becomes(&new), Err(reason.to_owned()));
        }
        // Where each prompt is compared with all, every change of the rows is other work.
        let read = Work::from_json(&old.clone().of_all_rows().to_json()).expect("a description");
        assert_eq!(read.becomes(&old.of_all_rows()), Ok(false));
        let reason = read.becomes(&work(&["a", "b", "c", "d"], 1).of_all_rows()).expect_err("refused");
        assert!(reason.starts_with("`prompts_hash` was "), "{reason}");
    }

    #[test]
    fn other_texts_are_no_descriptions() {
        let text = work(&["a", "b", "c"], 1).to_json();
        for (part, other) in [
            ("\"prompts\":\"3\"", "\"prompts\":\"7\""),
            ("\"shard_size\":\"2\"", "\"shard_size\":\"0\""),
            ("\"shards\":[\"", "\"shards\":[\"é"),
            ("\"shards\"", "\"shard\""),
            ("\"unread_rows\":\"1\"", "\"unread_rows\":\"x\""),
        ] {
            assert!(text.contains(part) && Work::from_json(&text.replace(part, other)).is_none(), "{part}");
        }
        assert!(Work::from_json("{}").is_none() && Work::from_json("").is_none());
    }
}
