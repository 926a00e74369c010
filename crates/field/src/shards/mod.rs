//! Shards: an analysis of many prompts as parts of fixed size, each computed once into a file of its own, in any
//! process.
//!
//! A folder has the shards of one piece of work, and `work.json`, which describes it. Every shard has the results of
//! its prompts one by one, so that [`Shards::merge`] does what [`Prompts::stack`] does in one process, on the same
//! numbers. The reasons are in `docs/src/decisions/0020-shards-are-files.md`.

mod file;
mod grid;
mod merge;
mod spooled;
mod work;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file::{write_new, write_whole};
use crate::prompts::Prompts;
use crate::store::difference;

pub use grid::{Cell, read_grid};
pub use spooled::Spooled;
pub use work::{SHARD, Work, file_hash};

/// The file of a folder that describes its work.
pub const MANIFEST: &str = "work.json";

/// How many further shards tell whether rows or options leave a shard without results.
const TRIED: usize = 8;

/// The shards of a folder.
#[derive(Clone, Debug)]
pub struct Shards {
    folder: PathBuf,
    work: Work,
}

impl Shards {
    /// Opens a folder for the shards of `work`, and makes it if it does not exist. Any number of processes may do so at
    /// the same time.
    ///
    /// A folder of the same analysis becomes one of `work` if rows were added at the end, or if as many rows have some
    /// shards in common. Shards of the same rows are then not computed again. A process that began before completes
    /// its own shards: they have other names, or the same rows.
    ///
    /// # Errors
    /// A folder of other work: of another model, other prompts, options or version. A folder that cannot be written.
    pub fn create(folder: &Path, work: &Work) -> Result<Self> {
        let failed = |e: std::io::Error| {
            let fix = "name a folder where you may write";
            Error::File { path: folder.to_owned(), reason: format!("cannot be made: {e}; {fix}") }
        };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let (manifest, description) = (folder.join(MANIFEST), work.to_json());
        write_new(&manifest, description.as_bytes())?;
        match Self::open(folder)?.work.becomes(work) {
            Ok(false) => {}
            Ok(true) => write_whole(&manifest, description.as_bytes())?,
            Err(difference) => {
                let reason = format!("has shards of other work: {difference}; name another folder");
                return Err(Error::File { path: folder.to_owned(), reason });
            }
        }
        // These are the rows of this process, whatever another one writes now.
        Ok(Self { folder: folder.to_owned(), work: work.of_shards() })
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
        Ok(Self { folder: folder.to_owned(), work })
    }

    /// Returns the work.
    pub fn work(&self) -> &Work {
        &self.work
    }

    /// Returns the path of a shard's file, whether or not it exists.
    pub fn path(&self, shard: usize) -> PathBuf {
        self.folder.join(format!("{shard:06}-{}.safetensors", &self.work.key(shard)[..16]))
    }

    /// Returns whether a shard is complete. A damaged file does not count.
    ///
    /// # Errors
    /// A file that cannot be read, or that belongs to other work.
    pub fn is_complete(&self, shard: usize) -> Result<bool> {
        Ok(self.read(shard)?.is_ok())
    }

    /// Returns how many results a shard has; `None` if it is not complete.
    ///
    /// # Errors
    /// As [`Shards::is_complete`].
    pub fn results(&self, shard: usize) -> Result<Option<usize>> {
        Ok(self.read(shard)?.ok().map(|found| found.results.results.len()))
    }

    /// Checks that the options of the work fit some prompt, when a shard has no results: its rows may be bad. Other
    /// shards tell, spread over the set: those that are there, or else `compute`, which returns whether a shard has
    /// results. `first` is a row without a result, and why.
    ///
    /// # Errors
    /// None of the shards has results, or the error of `compute`.
    pub fn check_options<E: From<Error>>(
        &self,
        shard: usize,
        first: (&str, &str),
        compute: &mut dyn FnMut(usize) -> Result<bool, E>,
    ) -> Result<(), E> {
        let all = self.work.shards();
        let others = TRIED.min(all - 1);
        for n in 0..others {
            let other = (shard + 1 + n * (all - 1) / others) % all;
            let has_results = match self.results(other)? {
                Some(count) => count > 0,
                None => compute(other)?,
            };
            if has_results {
                return Ok(());
            }
        }
        let (name, reason) = first;
        let of =
            if others + 1 == all { String::new() } else { format!(" of the {} shards that were tried", others + 1) };
        Err(Error::Input(format!("no prompt{of} can be analysed; {name}: {reason}")).into())
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
        let facts = self.work.facts_of(shard);
        write_whole(&self.path(shard), &file::to_bytes(results, rows_left_out, facts)?)
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
        let ours = self.work.facts_of(shard);
        match difference(&facts, &ours) {
            None => Ok(Ok(found)),
            Some(difference) => {
                let reason =
                    format!("is a shard of other work: {difference}; move it away, and compute the shard again");
                Err(Error::File { path, reason })
            }
        }
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
