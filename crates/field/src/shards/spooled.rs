//! Results that one process computes part by part: in a temporary file, until they are joined.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::Map;

use crate::error::{Error, Result};
use crate::file::unwritten;
use crate::labelled::Labelled;
use crate::prompts::{EachPrompt, Joined, Outline, Prompts, Visit};
use crate::store::Room;
use crate::study::left_out::LeftOut;

use super::file;
use super::merge::{MEMORY, piecewise};

/// Results of the prompts of a set, of which memory has those of one part at a time.
///
/// The temporary file is beside the result that it becomes. It has no name, and ends with the process.
pub struct Spooled<'a> {
    path: &'a Path,
    /// The regular file to which `path` leads, and its folder.
    at: PathBuf,
    folder: PathBuf,
    file: File,
    /// Bytes of each part.
    parts: Vec<usize>,
    /// How many prompts have a result.
    results: usize,
    /// The names of the checks, in their order.
    checks: Vec<&'static str>,
    left_out: Vec<LeftOut>,
}

impl<'a> Spooled<'a> {
    /// Begins a result that will be written to `path`; `None` if it is not written piece by piece: to a pipe, or as
    /// `.json`.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn beside(path: &'a Path) -> Result<Option<Self>> {
        let Some((at, folder)) = piecewise(path)? else { return Ok(None) };
        let file = tempfile::tempfile_in(&folder).map_err(|e| unwritten(path, &e))?;
        Ok(Some(Self {
            path,
            at,
            folder,
            file,
            parts: Vec::new(),
            results: 0,
            checks: Vec::new(),
            left_out: Vec::new(),
        }))
    }

    /// Adds the results of the next part of the set.
    ///
    /// # Errors
    /// A full disk, or a result that is not finite.
    pub fn push(&mut self, part: Prompts) -> Result<()> {
        let bytes = file::to_bytes(&part, 0, Map::new())?;
        self.file.write_all(&bytes).map_err(|e| unwritten(self.path, &e))?;
        self.parts.push(bytes.len());
        if let Some(first) = part.results.first().filter(|_| self.results == 0) {
            self.checks = first.certificates.iter().map(|check| check.name).collect();
        }
        self.results += part.results.len();
        self.left_out.extend(part.left_out);
        Ok(())
    }

    /// Returns whether no prompt has a result so far.
    pub fn is_empty(&self) -> bool {
        self.results == 0
    }

    /// Returns the prompts that were left out so far.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Writes the result of all prompts, and notes how many rows of the prompt file were left out. Returns it without
    /// the arrays that have the axis `prompt`, and without the metadata that are lists over prompts.
    ///
    /// # Errors
    /// No prompt that could be analysed, results whose arrays do not match, or a full disk.
    pub fn write(self, rows_left_out: usize) -> Result<Labelled> {
        let mut outline = Outline::new(Room { memory: MEMORY, folder: Some(&self.folder) });
        self.each(&|_| true, &mut |_, one| outline.add(one))?;
        let joined = Joined::of(outline, &self, &self.left_out)?.note("rows_left_out", rows_left_out.to_string());
        let mut brief = joined.write(&self, (self.path, &self.at))?;
        // Files have checks in the order of their names.
        brief.certificates.sort_by_key(|check| self.checks.iter().position(|name| *name == check.name));
        Ok(brief)
    }

    /// Reads the next part, of so many bytes.
    fn next(&self, length: usize) -> io::Result<Prompts> {
        let mut bytes = vec![0; length];
        (&self.file).read_exact(&mut bytes)?;
        let torn = || io::Error::new(io::ErrorKind::InvalidData, "it is not what was written");
        file::from_bytes(bytes).map(|(shard, _)| shard.results).map_err(|_| torn())
    }
}

impl EachPrompt for Spooled<'_> {
    fn each(&self, wanted: &dyn Fn(&str) -> bool, visit: Visit<'_>) -> Result<()> {
        let failed = |e: io::Error| {
            let reason = format!("the temporary file beside it cannot be read: {e}; run the command again");
            Error::File { path: self.path.to_owned(), reason }
        };
        (&self.file).seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut before = 0;
        for &length in &self.parts {
            let part = self.next(length).map_err(failed)?;
            part.each(wanted, &mut |n, one| visit(before + n, one))?;
            before += part.results.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns prompts with these numbers of tokens, named from `first` on.
    fn part(first: usize, tokens: &[usize]) -> Prompts {
        let mut part = Prompts::default();
        for (n, &tokens) in tokens.iter().enumerate() {
            let map = (0..2 * tokens).map(|k| (10 * (first + n) + k) as f32).collect();
            let result = Labelled::default().with("map", &[("level", 2), ("token", tokens)], map);
            part.results.push(result.note("analysis", "test").note("tokens", tokens.to_string()));
            part.names.push(format!("line {}", first + n));
            part.lengths.push(tokens);
            part.roles.push([("first".to_owned(), 0..1)].into());
        }
        part
    }

    /// Parts give the bytes of the whole set, also where a part has no results.
    #[test]
    fn parts_have_the_bytes_of_the_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.safetensors");
        let bad = LeftOut::from_error("line 7", &Error::Input("too long".to_owned()));
        let parts = || {
            let mut last = part(9, &[2]);
            last.left_out.push(bad.clone());
            [part(0, &[3, 2, 4]), Prompts::default(), part(3, &[1, 5, 5, 2, 3, 3]), last]
        };
        let mut whole = Prompts::default();
        parts().into_iter().for_each(|part| whole.append(part));
        let wanted = whole.stack().expect("stacks").note("rows_left_out", "3".to_owned());
        let mut spooled = Spooled::beside(&path).expect("a folder").expect("a regular file");
        parts().into_iter().try_for_each(|part| spooled.push(part)).expect("writes");
        assert_eq!(spooled.left_out(), [bad]);
        let brief = spooled.write(3).expect("writes");
        assert!(std::fs::read(&path).expect("a file") == wanted.to_safetensors().expect("bytes"));
        assert_eq!(brief.array("map.mean"), wanted.array("map.mean"));
        assert!(brief.array("map").is_none() && brief.metadata["prompts"] == "10");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
    }

    #[test]
    fn nothing_is_written_without_results() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.safetensors");
        let spooled = Spooled::beside(&path).expect("a folder").expect("a regular file");
        assert!(spooled.write(0).is_err_and(|e| e.to_string().contains("there are no prompts")) && !path.exists());
        assert!(Spooled::beside(&folder.path().join("out.json")).expect("a folder").is_none());
        assert!(Spooled::beside(&folder.path().join("missing/out.safetensors")).is_err());
    }
}
