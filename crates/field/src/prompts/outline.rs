//! What must be known of the results of many prompts before their numbers are joined.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::Value;

use crate::certificate::{Certificate, merge};
use crate::error::{Error, Result};
use crate::file::unwritten;
use crate::labelled::Array;
use crate::store::{Planned, Room, Spool};

use super::average::WIDE;
use super::columns::{OnePrompt, Places};
use super::texts::Texts;

/// The key of the tokens of one prompt.
pub(super) const TOKENS: &str = "tokens";

/// The results of many prompts without their numbers.
pub(crate) struct Outline<'r> {
    pub(super) room: Room<'r>,
    /// The arrays of the first prompt.
    pub(super) arrays: Vec<Shape>,
    /// Metadata by their keys.
    pub(super) facts: BTreeMap<String, Texts<'r>>,
    /// The names of the prompts as JSON.
    pub(super) names: Spool<'r>,
    /// Numbers of their tokens.
    pub(super) lengths: Vec<u32>,
    /// The roles of their tokens.
    pub(super) roles: BTreeSet<String>,
    /// The worst check of each name.
    pub(super) certificates: Vec<Certificate>,
}

/// An array of all prompts.
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// Its axes in the first prompt, with the largest length of all prompts.
    pub(super) axes: Vec<(&'static str, usize)>,
    /// How many prompts have it.
    found: usize,
    /// Elements of all prompts, and how many of them are not finite.
    elements: usize,
    gaps: usize,
    /// Whether all prompts have as many axes, and whether axes other than `token` have the same length.
    is_same: bool,
    is_aligned: bool,
}

impl Shape {
    fn of(array: &Array) -> Self {
        Self {
            name: array.name,
            axes: array.axes.clone(),
            found: 0,
            elements: 0,
            gaps: 0,
            is_same: true,
            is_aligned: !array.axes.iter().any(|axis| WIDE.contains(&axis.0)),
        }
    }

    fn add(&mut self, array: &Array) {
        self.found += 1;
        self.elements += array.data.len();
        self.gaps += array.data.iter().filter(|x| !x.is_finite()).count();
        self.is_same &= self.axes.len() == array.axes.len();
        let token = self.token();
        for (i, (axis, other)) in self.axes.iter_mut().zip(&array.axes).enumerate() {
            self.is_aligned &= Some(i) == token || axis.1 == other.1;
            axis.1 = axis.1.max(other.1);
        }
    }

    fn token(&self) -> Option<usize> {
        self.axes.iter().position(|axis| axis.0 == "token")
    }

    /// Returns the number of elements of a prompt, with padding.
    pub(super) fn len(&self) -> usize {
        self.axes.iter().map(|axis| axis.1).product()
    }

    /// Returns the array of all prompts.
    pub(super) fn planned(&self) -> Planned {
        let axes = [("prompt", self.found)].into_iter().chain(self.axes.iter().copied());
        Planned { name: self.name, axes: axes.collect() }
    }

    /// Returns how many elements of the array of all prompts are not finite, padding included.
    pub(super) fn not_finite(&self) -> usize {
        self.found * self.len() - self.elements + self.gaps
    }

    /// Returns the places of its means over prompts: from the end and, if prompts name roles, by role.
    pub(super) fn places(&self, roles: &BTreeSet<String>) -> Vec<Places> {
        if !self.is_aligned {
            return Vec::new();
        }
        let places = Places { name: self.name, axes: self.axes.clone(), roles: Vec::new() };
        let has_roles = self.token().is_some() && !roles.is_empty();
        let by_role = has_roles.then(|| Places { roles: roles.iter().cloned().collect(), ..places.clone() });
        [Some(places), by_role].into_iter().flatten().collect()
    }
}

impl<'r> Outline<'r> {
    /// Returns the outline of no prompts yet.
    pub(crate) fn new(room: Room<'r>) -> Self {
        Self {
            room,
            arrays: Vec::new(),
            facts: BTreeMap::new(),
            names: Spool::new(room),
            lengths: Vec::new(),
            roles: BTreeSet::new(),
            certificates: Vec::new(),
        }
    }

    /// Adds a prompt.
    ///
    /// # Errors
    /// A full disk.
    pub(crate) fn add(&mut self, one: &OnePrompt<'_>) -> Result<()> {
        let (room, n) = (self.room, self.lengths.len());
        if n == 0 {
            self.arrays = one.result.arrays.iter().map(Shape::of).collect();
        }
        for shape in &mut self.arrays {
            if let Some(array) = one.result.array(shape.name) {
                shape.add(array);
            }
        }
        let noted = self.note(one, n);
        noted.map_err(|e| unwritten(room.folder.unwrap_or("".as_ref()), &e))?;
        self.lengths.push(one.length as u32);
        self.roles.extend(one.roles.keys().cloned());
        merge(&mut self.certificates, &one.result.certificates);
        Ok(())
    }

    /// Adds the metadata and the name of prompt `n`.
    fn note(&mut self, one: &OnePrompt<'_>, n: usize) -> io::Result<()> {
        let (room, metadata) = (self.room, &one.result.metadata);
        for key in metadata.keys() {
            if !self.facts.contains_key(key) {
                // Tokens of several prompts are a list even if they are the same.
                let texts = if key == TOKENS { Texts::list(n, room)? } else { Texts::absent(n) };
                self.facts.insert(key.clone(), texts);
            }
        }
        for (key, texts) in &mut self.facts {
            texts.push(metadata.get(key).map(String::as_str), room)?;
        }
        self.names.push(&Value::from(one.name).to_string())
    }

    /// Removes the arrays that some prompts lack.
    ///
    /// # Errors
    /// An array with other axes in other prompts.
    pub(super) fn retain_shared(&mut self) -> Result<()> {
        let all = self.lengths.len();
        self.arrays.retain(|shape| shape.found == all);
        match self.arrays.iter().find(|shape| !shape.is_same) {
            Some(Shape { name, .. }) => {
                Err(Error::Input(format!("the array `{name}` has other axes in other prompts")))
            }
            None => Ok(()),
        }
    }
}
