//! The values of all prompts at each place of an array, in bounded memory: as many places at a time as fit.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::Result;
use crate::labelled::{Array, Labelled};

use super::average::{from_end, over_tokens};

/// The result of one prompt of a set.
pub(crate) struct OnePrompt<'a> {
    pub(crate) name: &'a str,
    /// The ids of its tokens, as the metadata have them.
    pub(crate) tokens: &'a str,
    pub(crate) roles: &'a BTreeMap<String, Range<usize>>,
    pub(crate) result: &'a Labelled,
}

/// Visits a prompt, given its number.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(usize, &OnePrompt<'_>) -> Result<()>;

/// Results of many prompts that can be read one after another, as often as wanted.
pub(crate) trait EachPrompt {
    /// Visits all prompts in their order. Arrays that are not `wanted` may be absent.
    ///
    /// # Errors
    /// A file that cannot be read, or the error of `visit`.
    fn each(&self, wanted: &dyn Fn(&str) -> bool, visit: Visit<'_>) -> Result<()>;
}

/// The places of an array of several prompts: aligned from the end along the axis `token`, or by roles in its place.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) name: &'static str,
    /// The axes of the array, with the most tokens of all prompts.
    pub(crate) axes: Vec<(&'static str, usize)>,
    /// Roles in place of tokens.
    pub(crate) roles: Vec<String>,
}

impl Places {
    fn token(&self) -> Option<usize> {
        self.axes.iter().position(|axis| axis.0 == "token")
    }

    /// Returns the axes of a number for each place.
    pub(crate) fn shape(&self) -> Vec<(&'static str, usize)> {
        match self.token().filter(|_| !self.roles.is_empty()) {
            Some(token) => {
                let rest = self.axes.iter().enumerate().filter(|(i, _)| *i != token).map(|(_, axis)| *axis);
                [("role", self.roles.len())].into_iter().chain(rest).collect()
            }
            None => self.axes.clone(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shape().iter().map(|axis| axis.1).product()
    }

    /// Returns the values of one prompt at all places; NaN where it has none.
    fn row(&self, array: &Array, roles: &BTreeMap<String, Range<usize>>) -> Vec<f32> {
        match self.token() {
            None => array.data.clone(),
            Some(token) if self.roles.is_empty() => from_end(array, token, self.axes[token].1),
            Some(token) => self.roles.iter().flat_map(|role| over_tokens(array, token, roles.get(role))).collect(),
        }
    }
}

/// A set of which some prompts are selected.
pub(crate) struct Selected<'a> {
    pub(crate) set: &'a dyn EachPrompt,
    /// The index of each prompt of the set in a column, if it is selected.
    pub(crate) index: &'a [Option<usize>],
}

/// Visits all places: the number of a place, and the values of all selected prompts there, a column for each set.
///
/// The sets are read once for as many places as fit into `memory` bytes, so memory does not grow with the number of
/// prompts.
///
/// # Errors
/// As [`EachPrompt::each`].
pub(crate) fn columns(
    sets: &[Selected<'_>],
    count: usize,
    places: &Places,
    memory: usize,
    visit: &mut dyn FnMut(usize, &[&[f32]]),
) -> Result<()> {
    let all = places.len();
    let width = (memory / (size_of::<f32>() * count * sets.len()).max(1)).max(1);
    for first in (0..all).step_by(width) {
        let width = width.min(all - first);
        let mut blocks = vec![vec![f32::NAN; width * count]; sets.len()];
        for (Selected { set, index }, block) in sets.iter().zip(&mut blocks) {
            set.each(&|name| name == places.name, &mut |n, one| {
                let found = index.get(n).copied().flatten().zip(one.result.array(places.name));
                if let Some((at, array)) = found {
                    let row = places.row(array, one.roles);
                    for (place, value) in row[first..first + width].iter().enumerate() {
                        block[place * count + at] = *value;
                    }
                }
                Ok(())
            })?;
        }
        for place in 0..width {
            let columns: Vec<&[f32]> = blocks.iter().map(|block| &block[place * count..][..count]).collect();
            visit(first + place, &columns);
        }
    }
    Ok(())
}
