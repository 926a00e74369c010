//! Shards: an analysis of many prompts as parts of fixed size, each computed once into a file of its own, in any
//! process.
//!
//! A folder has the shards of one piece of work, and `work.json`, which describes it. Every shard has the results of
//! its prompts one by one, so that [`Shards::merge`] does what [`Prompts::stack`] does in one process, on the same
//! numbers. The reasons are in `docs/src/decisions/0020-shards-are-files.md`.

mod file;
mod grid;
mod work;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file::{Target, write_new, write_whole};
use crate::labelled::Labelled;
use crate::prompts::{EachPrompt, Joined, Outline, Prompts, Visit};
use crate::store::{Room, difference};

pub use grid::{Cell, read_grid};
pub use work::{SHARD, Work, file_hash};

/// The file of a folder that describes its work.
pub const MANIFEST: &str = "work.json";

/// Bytes of memory for the numbers of all prompts at some places. More places at a time need fewer passes over the
/// files.
const MEMORY: usize = 256 << 20;

/// The shards of a folder.
#[derive(Clone, Debug)]
pub struct Shards {
    folder: PathBuf,
    work: Work,
    /// The description as the folder has it.
    description: String,
}

impl Shards {
    /// Opens a folder for the shards of `work`, and makes it if it does not exist. Any number of processes may do so at
    /// the same time.
    ///
    /// # Errors
    /// A folder of other work: of another model, prompts, options or version. A folder that cannot be written.
    pub fn create(folder: &Path, work: &Work) -> Result<Self> {
        let failed = |e: std::io::Error| {
            let fix = "name a folder where you may write";
            Error::File { path: folder.to_owned(), reason: format!("cannot be made: {e}; {fix}") }
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        write_new(&folder.join(MANIFEST), work.to_json().as_bytes())?;
        let found = Self::open(folder)?;
        match difference(&found.work.facts(), &work.facts()) {
            None => Ok(found),
            Some(difference) => {
                let reason = format!("has shards of other work: {difference}; name another folder");
                Err(Error::File { path: folder.to_owned(), reason })
            }
        }
    }

    /// Opens a folder that has shards.
    ///
    /// # Errors
    /// A folder without a description of its work.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let fail = |reason: String| Error::File { path: path.clone(), reason };
        let read = std::fs::read_to_string(&path);
        let description =
            read.map_err(|e| fail(format!("cannot be read: {e}; name a folder that --out-dir has filled")))?;
        let work = Work::from_json(&description)
            .ok_or_else(|| fail("does not describe shards; name a folder that --out-dir has filled".to_owned()))?;
        Ok(Self { folder: folder.to_owned(), work, description })
    }

    /// Returns the work.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Returns the path of a shard's file, whether or not it exists.
    pub fn path(&self, shard: usize) -> PathBuf {
        self.folder.join(format!("{shard:06}-{}.safetensors", &self.work.key(&self.description, shard)[..16]))
    }

    /// Returns whether a shard is complete. A damaged file does not count.
    ///
    /// # Errors
    /// A file that cannot be read, or that belongs to other work.
    pub fn is_complete(&self, shard: usize) -> Result<bool> {
        Ok(self.read(shard)?.is_ok())
    }

    /// Returns the shards that are missing or damaged.
    ///
    /// # Errors
    /// As [`Shards::is_complete`].
    pub fn missing(&self) -> Result<Vec<usize>> {
        Ok(self.damaged()?.into_iter().map(|(shard, _)| shard).collect())
    }

    /// Returns the shards that are missing or damaged, and which of both.
    fn damaged(&self) -> Result<Vec<(usize, file::Damage)>> {
        let mut found = Vec::new();
        for shard in 0..self.work.shards() {
            if let Err(damage) = self.read(shard)? {
                found.push((shard, damage));
            }
        }
        Ok(found)
    }

    /// Writes a shard whole. `rows_left_out` is how many of its rows do not fit the model.
    ///
    /// # Errors
    /// A full disk, or a result that is not finite.
    pub fn write(&self, shard: usize, results: &Prompts, rows_left_out: usize) -> Result<()> {
        let facts = self.facts(shard);
        write_whole(&self.path(shard), &file::to_bytes(results, rows_left_out, facts)?)
    }

    /// Returns the result of all prompts, as one process would have computed it.
    ///
    /// # Errors
    /// Missing, damaged or foreign shards, which the message names. No prompt that could be analysed.
    pub fn merge(&self) -> Result<Labelled> {
        self.joined(Room::MEMORY)?.whole(self)
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
        Labelled::check_path(path)?;
        match Target::of(path)? {
            Target::File(at) if path.extension().is_some_and(|ending| ending == "safetensors") => {
                let folder = at.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                self.joined(Room { memory: MEMORY, folder: Some(folder) })?.write(self, (path, &at))
            }
            _ => {
                let result = self.merge()?;
                result.write(path)?;
                Ok(result)
            }
        }
    }

    fn joined<'r>(&self, room: Room<'r>) -> Result<Joined<'r>> {
        let (mut outline, mut missing) = (Outline::new(room), Vec::new());
        let (mut left_out, mut rows_left_out) = (Vec::new(), 0);
        for shard in 0..self.work.shards() {
            match self.read(shard)? {
                Ok(found) => {
                    rows_left_out += found.rows_left_out;
                    found.results.each(&|_| true, &mut |_, one| outline.add(one))?;
                    left_out.extend(found.results.left_out);
                }
                Err(reason) => missing.push((shard, reason)),
            }
        }
        if !missing.is_empty() {
            return Err(self.incomplete(&missing));
        }
        let joined = Joined::of(outline, self, &left_out)?;
        Ok(match self.work.unread() {
            None => joined,
            Some(unread) => joined.note("rows_left_out", (unread + rows_left_out + left_out.len()).to_string()),
        })
    }

    /// Reads a shard, or says why it has to be computed.
    fn read(&self, shard: usize) -> Result<Result<file::Shard, file::Damage>> {
        let path = self.path(shard);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Err(file::Damage::Missing)),
            Err(e) => return Err(Error::File { path, reason: format!("cannot be read: {e}") }),
        };
        let Ok((found, facts)) = file::from_bytes(bytes) else { return Ok(Err(file::Damage::Broken)) };
        let ours = self.facts(shard);
        match difference(&facts, &ours) {
            None => Ok(Ok(found)),
            Some(difference) => {
                let reason =
                    format!("is a shard of other work: {difference}; move it away, and compute the shard again");
                Err(Error::File { path, reason })
            }
        }
    }

    /// Returns what identifies a shard: the facts of the work, and its number.
    fn facts(&self, shard: usize) -> serde_json::Map<String, serde_json::Value> {
        let mut facts = self.work.facts();
        facts.insert("shard".to_owned(), shard.to_string().into());
        facts
    }

    fn incomplete(&self, missing: &[(usize, file::Damage)]) -> Error {
        const SHOWN: usize = 8;
        let all = self.work.shards();
        let named: Vec<String> = missing.iter().take(SHOWN).map(|(shard, damage)| format!("{shard}{damage}")).collect();
        let more = if missing.len() > SHOWN { ", .." } else { "" };
        let count = missing.len();
        let reason = format!(
            "{count} of {all} shards are missing: {}{more}; run the analysis again with --out-dir, which computes only these",
            named.join(", ")
        );
        Error::File { path: self.folder.clone(), reason }
    }
}

impl EachPrompt for Shards {
    fn each(&self, wanted: &dyn Fn(&str) -> bool, visit: Visit<'_>) -> Result<()> {
        let mut before = 0;
        for shard in 0..self.work.shards() {
            let results = match self.read(shard)? {
                Ok(found) => found.results,
                Err(_) => return Err(self.incomplete(&self.damaged()?)),
            };
            results.each(wanted, &mut |n, one| visit(before + n, one))?;
            before += results.results.len();
        }
        Ok(())
    }
}
