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
    /// The number of its tokens.
    pub(crate) length: usize,
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
/// Memory is as for [`blocks`].
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
    blocks(sets, count, std::slice::from_ref(places), memory, &mut |places, blocks| {
        let width = places.len();
        for (at, place) in places.enumerate() {
            let column = |block: &Vec<f32>| block[at..].iter().step_by(width).copied().collect::<Vec<f32>>();
            let columns: Vec<Vec<f32>> = blocks.iter().map(column).collect();
            visit(place, &columns.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    })
}

/// Returns how many places of `count` prompts in each of `sets` fit into `memory`.
pub(crate) fn width(count: usize, sets: usize, memory: usize) -> usize {
    (memory / (size_of::<f32>() * count * sets).max(1)).max(1)
}

/// Visits a block of places, given their numbers and the values of each set.
pub(crate) type Block<'a> = &'a mut dyn FnMut(Range<usize>, &[Vec<f32>]);

/// Visits the places of all `arrays`, as many at a time as fit into `memory`: their numbers, and for each set the
/// values there, a row for each selected prompt. Numbers of places count from one array to the next.
///
/// The sets are read once for each block, so memory does not grow with the number of prompts.
///
/// # Errors
/// As [`EachPrompt::each`].
pub(crate) fn blocks(
    sets: &[Selected<'_>],
    count: usize,
    arrays: &[Places],
    memory: usize,
    visit: Block<'_>,
) -> Result<()> {
    let all = arrays.iter().map(Places::len).sum();
    let width = width(count, sets.len(), memory);
    for first in (0..all).step_by(width) {
        let block = first..all.min(first.saturating_add(width));
        let mut blocks = vec![vec![f32::NAN; block.len() * count]; sets.len()];
        for (Selected { set, index }, values) in sets.iter().zip(&mut blocks) {
            set.each(&|name| arrays.iter().any(|places| places.name == name), &mut |n, one| {
                let Some(at) = index.get(n).copied().flatten() else { return Ok(()) };
                let (mut place, row) = (0, &mut values[at * block.len()..][..block.len()]);
                for places in arrays {
                    let of_array = place..place + places.len();
                    let shared = of_array.start.max(block.start)..of_array.end.min(block.end);
                    if let Some(array) = one.result.array(places.name).filter(|_| !shared.is_empty()) {
                        let values = &places.row(array, one.roles)[shared.start - place..shared.end - place];
                        row[shared.start - block.start..][..values.len()].copy_from_slice(values);
                    }
                    place = of_array.end;
                }
                Ok(())
            })?;
        }
        visit(block, &blocks);
    }
    Ok(())
}
