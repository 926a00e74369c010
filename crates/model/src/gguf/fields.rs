//! Typed access to the metadata of an architecture. Notes which keys were asked for, so that no other key is
//! overlooked.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::arch::Arch;
use super::fault::again;
use super::metadata::{Metadata, Value};
use crate::error::shown;

/// The keys that begin with the name of the architecture. Keys are given without that start.
pub(super) struct Fields<'a> {
    metadata: Metadata<'a>,
    arch: Arch,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(metadata: Metadata<'a>, arch: Arch) -> Self {
        Self { metadata, arch, asked: RefCell::default() }
    }

    /// Returns the whole key.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.arch.name())
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        let whole = self.key(key);
        let value = self.metadata.get(&whole);
        self.asked.borrow_mut().insert(whole);
        value
    }

    fn wrong(&self, key: &str, wanted: &str, found: &Value) -> String {
        again(format!("`{}` must be {wanted}, found {found}", self.key(key)))
    }

    /// Returns the message about a key that the file must have.
    pub(super) fn missing(&self, key: &str) -> String {
        again(format!("the metadata lack `{}`", self.key(key)))
    }

    /// Returns a size that the file must have.
    pub(super) fn size(&self, key: &str) -> Result<usize, String> {
        self.size_or_none(key)?.ok_or_else(|| self.missing(key))
    }

    /// Returns a positive size. A list with a value for each block is one size if its values are equal.
    pub(super) fn size_or_none(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let size = |value: &Value| value.whole().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        let found = match value {
            Value::List(list) => {
                let values = self.metadata.values(&self.key(key), list.count).map_err(again)?.unwrap_or_default();
                let same = values.windows(2).all(|pair| pair[0] == pair[1]);
                values.first().filter(|_| same).and_then(size)
            }
            value => size(value),
        };
        found.map(Some).ok_or_else(|| self.wrong(key, "a positive whole number, the same for all blocks", value))
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, String> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.number().filter(|x| x.is_finite()).map(Some).ok_or_else(|| self.wrong(key, "a finite number", value))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(value) => Err(self.wrong(key, "true or false", value)),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(value) => Err(self.wrong(key, "text", value)),
        }
    }

    /// Returns for each block whether its attention has a window: from a list with one value for each block, or from a
    /// period, of which the last block has none.
    pub(super) fn windows(&self, key: &str, blocks: usize, period: usize) -> Result<Vec<bool>, String> {
        let values = match self.get(key) {
            Some(Value::List(_)) => self.metadata.values(&self.key(key), blocks).map_err(again)?.unwrap_or_default(),
            _ => {
                let period = self.size_or_none(key)?.unwrap_or(period);
                return Ok((0..blocks).map(|block| (block + 1) % period != 0).collect());
            }
        };
        let window = |value: &Value| match value {
            Value::Bool(flag) => Ok(*flag),
            value => match value.whole() {
                Some(n @ 0..=1) => Ok(n == 1),
                _ => Err(self.wrong(key, "a period, or 0 or 1 for each block", value)),
            },
        };
        values.iter().map(window).collect()
    }

    /// Marks a key as one that does not change the computation.
    pub(super) fn ignore(&self, key: &str) {
        self.get(key);
    }

    /// Accepts a key if it has its neutral value.
    pub(super) fn neutral(&self, key: &str, neutral: f64) -> Result<(), String> {
        match self.get(key) {
            Some(value) if value.number() != Some(neutral) => {
                let key = self.key(key);
                Err(format!("`{key}` is {value}; only {neutral} is supported: use a model without this option"))
            }
            _ => Ok(()),
        }
    }

    /// Fails if the architecture has a key that nothing asked for.
    pub(super) fn check_all_asked(&self) -> Result<(), String> {
        let start = self.key("");
        let asked = self.asked.borrow();
        match self.metadata.map.iter().find(|(key, _)| key.starts_with(&start) && !asked.contains(*key)) {
            None => Ok(()),
            Some((key, value)) => {
                let key = shown(key);
                Err(format!("`{key}` = {value} is not supported, and may change the computation; use another model"))
            }
        }
    }
}
