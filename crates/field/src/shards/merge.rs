//! Joining the shards of a folder, which are read several times.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use resolvent_engine::Steps;

use crate::error::Result;
use crate::file::Target;
use crate::labelled::Labelled;
use crate::prompts::{EachPrompt, Joined, Outline, Visit};
use crate::store::Room;

use super::Shards;

/// Bytes of memory for the numbers of all prompts at some places. More places at a time need fewer passes over the
/// files.
pub(super) const MEMORY: usize = 256 << 20;

/// Returns the regular file to which `path` leads, and its folder; `None` if a result is not written there piece by
/// piece: to a pipe, or as `.json`.
///
/// # Errors
/// As [`Labelled::check_path`].
pub(super) fn piecewise(path: &Path) -> Result<Option<(PathBuf, PathBuf)>> {
    Labelled::check_path(path)?;
    let is_safetensors = path.extension().is_some_and(|ending| ending == "safetensors");
    let Target::File(at) = Target::of(path)? else { return Ok(None) };
    let folder = at.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    Ok(is_safetensors.then_some((at, folder)))
}

impl Shards {
    /// Returns the result of all prompts, as one process would have computed it.
    ///
    /// # Errors
    /// Missing, damaged or foreign shards, which the message names. No prompt that could be analysed.
    pub fn merge(&self) -> Result<Labelled> {
        let (joined, shards) = self.joined(Room::MEMORY)?;
        joined.whole(&shards)
    }

    /// Writes the result of all prompts into a `.safetensors` file, in memory that does not grow with the number of
    /// prompts: the bytes of [`Shards::merge`] and [`Labelled::write`]. Returns the result without the arrays that have
    /// the axis `prompt`, and without the metadata that are lists over prompts.
    ///
    /// Temporary files beside `path` have what does not fit into memory. A pipe, and a `.json` file, get the whole
    /// result at once.
    ///
    /// # Errors
    /// As [`Shards::merge`] and [`Labelled::write`].
    pub fn merge_into(&self, path: &Path) -> Result<Labelled> {
        match piecewise(path)? {
            Some((at, folder)) => {
                let (joined, shards) = self.joined(Room { memory: MEMORY, folder: Some(&folder) })?;
                joined.write(&shards, (path, &at))
            }
            None => {
                let result = self.merge()?;
                result.write(path)?;
                Ok(result)
            }
        }
    }

    fn joined<'r>(&self, room: Room<'r>) -> Result<(Joined<'r>, Watched<'_>)> {
        let (mut outline, mut missing) = (Outline::new(room), Vec::new());
        let (mut left_out, mut rows_left_out) = (Vec::new(), 0);
        let all = self.work.shards();
        let mut steps = Steps::new("shards", all as u64);
        for shard in 0..all {
            match self.read(shard)? {
                Ok(found) => {
                    rows_left_out += found.rows_left_out;
                    found.results.each(&|_| true, &mut |_, one| outline.add(one))?;
                    left_out.extend(found.results.left_out);
                }
                Err(reason) => missing.push((shard, reason)),
            }
            steps.advance(1);
        }
        if !missing.is_empty() {
            return Err(self.incomplete(&missing));
        }
        drop(steps);
        let readings = (all * Joined::passes(&mut outline)?) as u64;
        let shards = Watched { shards: self, steps: RefCell::new(Steps::new("readings of shards", readings)) };
        let joined = Joined::of(outline, &shards, &left_out)?;
        let joined = match self.work.unread() {
            None => joined,
            Some(unread) => joined.note("rows_left_out", (unread + rows_left_out + left_out.len()).to_string()),
        };
        Ok((joined, shards))
    }
}

impl EachPrompt for Shards {
    fn each(&self, wanted: &dyn Fn(&str) -> bool, visit: Visit<'_>) -> Result<()> {
        self.each_shard(wanted, visit, &mut || {})
    }
}

impl Shards {
    /// Visits all prompts, and calls `done` after each shard.
    fn each_shard(&self, wanted: &dyn Fn(&str) -> bool, visit: Visit<'_>, done: &mut dyn FnMut()) -> Result<()> {
        let mut before = 0;
        for shard in 0..self.work.shards() {
            let results = match self.read(shard)? {
                Ok(found) => found.results,
                Err(_) => return Err(self.incomplete(&self.damaged()?)),
            };
            results.each(wanted, &mut |n, one| visit(before + n, one))?;
            before += results.results.len();
            done();
        }
        Ok(())
    }
}

/// Shards whose readings are reported as steps.
struct Watched<'a> {
    shards: &'a Shards,
    steps: RefCell<Steps>,
}

impl EachPrompt for Watched<'_> {
    fn each(&self, wanted: &dyn Fn(&str) -> bool, visit: Visit<'_>) -> Result<()> {
        self.shards.each_shard(wanted, visit, &mut || self.steps.borrow_mut().advance(1))
    }
}
