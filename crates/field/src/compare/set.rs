//! A set of results to compare, and what must be known of it before its arrays are read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::labelled::Labelled;
use crate::prompts::{EachPrompt, Places, Visit, WIDE};
use crate::shards::Shards;

use super::stacked::Stacked;

/// The results of many prompts on the disk: a folder of shards, or a result file. Arrays are read when they are needed.
pub struct ResultSet {
    pub(super) path: PathBuf,
    source: Source,
}

enum Source {
    Shards(Shards),
    Stacked(Stacked),
}

impl ResultSet {
    /// Opens a folder of shards, or a `.safetensors` file of an analysis of many prompts.
    ///
    /// # Errors
    /// A path that is neither, or shards that are missing.
    pub fn open(path: &Path) -> Result<Self> {
        let source = match path.is_dir() {
            true => Source::Shards(Shards::open(path)?),
            false => Source::Stacked(Stacked::open(path)?),
        };
        Ok(Self { path: path.to_owned(), source })
    }

    /// Reads everything but the numbers of all prompts.
    pub(super) fn survey(&self) -> Result<Survey> {
        let (mut survey, mut times) = (Survey::default(), BTreeMap::new());
        self.each(&|_| true, &mut |_, one| {
            survey.add(&mut times, one.name, one.tokens, one.result);
            survey.roles.extend(one.roles.keys().cloned());
            Ok(())
        })?;
        match survey.keys.is_empty() {
            true => Err(Error::File {
                path: self.path.clone(),
                reason: "has no results: all of its prompts were left out".to_owned(),
            }),
            false => Ok(survey),
        }
    }
}

impl EachPrompt for ResultSet {
    fn each(&self, wanted: &dyn Fn(&str) -> bool, visit: Visit<'_>) -> Result<()> {
        match &self.source {
            Source::Shards(shards) => shards.each(wanted, visit),
            Source::Stacked(file) => file.each(wanted, visit),
        }
    }
}

/// What is known of a set without its numbers.
#[derive(Default)]
pub(super) struct Survey {
    /// A hash of the name of each prompt; of several prompts with one name, their number is part of it.
    pub(super) keys: Vec<[u8; 16]>,
    /// A hash of the tokens of each prompt.
    pub(super) tokens: Vec<[u8; 8]>,
    /// Whether the name of each prompt is its line in a file, since it has no label.
    pub(super) is_line: Vec<bool>,
    /// The metadata of the first prompt.
    pub(super) facts: BTreeMap<String, String>,
    pub(super) roles: BTreeSet<String>,
    /// Arrays in their order, with the most tokens of all prompts; how many prompts have each; whether it has places.
    pub(super) arrays: Vec<(Places, usize, bool)>,
}

impl Survey {
    fn add(&mut self, times: &mut BTreeMap<[u8; 16], usize>, name: &str, tokens: &str, result: &Labelled) {
        let hash = |text: &str| *blake3::hash(text.as_bytes()).as_bytes();
        let short = |hash: [u8; 32]| -> [u8; 16] { hash[..16].try_into().unwrap_or_default() };
        let time = times.entry(short(hash(name))).or_insert(0);
        *time += 1;
        self.keys.push(short(hash(&format!("{name} {time}"))));
        self.is_line.push(name.strip_prefix("line ").is_some_and(|line| line.parse::<usize>().is_ok()));
        self.tokens.push(hash(tokens)[..8].try_into().unwrap_or_default());
        if self.facts.is_empty() {
            self.facts.clone_from(&result.metadata);
        }
        for array in &result.arrays {
            let wide = array.axes.iter().any(|axis| WIDE.contains(&axis.0));
            match self.arrays.iter_mut().find(|(places, ..)| places.name == array.name) {
                None => {
                    let places = Places { name: array.name, axes: array.axes.clone(), roles: Vec::new() };
                    self.arrays.push((places, 1, !wide));
                }
                Some((places, count, usable)) => {
                    *count += 1;
                    *usable &= places.axes.len() == array.axes.len();
                    for (axis, other) in places.axes.iter_mut().zip(&array.axes) {
                        *usable &= axis.0 == other.0 && (axis.0 == "token" || axis.1 == other.1);
                        axis.1 = axis.1.max(other.1);
                    }
                }
            }
        }
    }

    /// Returns the arrays whose places are the same in all prompts, but for the number of tokens.
    pub(super) fn places(&self) -> impl Iterator<Item = &Places> {
        let all = self.keys.len();
        self.arrays.iter().filter(move |(_, count, usable)| *usable && *count == all).map(|(places, ..)| places)
    }
}
