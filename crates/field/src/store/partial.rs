//! A safetensors file that is written in place, and resumed after an interruption.
//!
//! A safetensors file has its header at the start and its arrays at fixed offsets after it. So once all shapes are
//! known, pieces can be written in any order. The unfinished file is `NAME.partial`, and its journal is
//! `NAME.partial.journal`. The first line of the journal identifies the work, as JSON. Each further line is the number
//! of a chunk that is on the disk. The line of a chunk is written after its elements have been synced, so it can be
//! trusted after a crash of the program or of the machine.
//!
//! At the end the final header is written, padded with blanks to the reserved length. Then the file is synced and
//! renamed, and the journal is removed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::layout::{Metadata, difference, header, little_endian, shape};
use super::{Planned, Store, bytes};
use crate::error::{Error, Result};
use crate::file::{Target, keep_permissions, unwritten};

/// Bytes by which the final header may exceed the first one, for certificates and findings.
const RESERVE: usize = 64 << 10;

/// A result file that is being written.
pub(crate) struct Partial {
    target: PathBuf,
    file: File,
    journal: File,
    arrays: Vec<Planned>,
    /// Bytes of the header, including the field of its own length.
    header: usize,
    /// Committed chunks.
    done: BTreeSet<usize>,
}

impl Partial {
    /// Opens the partial file of `path`. Resumes an interrupted run of the same work if there is one; otherwise starts
    /// from the beginning. `about` identifies the work. `fresh` never resumes.
    ///
    /// # Errors
    /// A partial file that belongs to other work, that another process is writing, or that cannot be written.
    pub(crate) fn open(path: &Path, arrays: &[Planned], about: &Metadata, fresh: bool) -> Result<Self> {
        let Target::File(target) = Target::of(path)? else {
            return Err(fail(
                path,
                "is not a regular file, and this result is not written in order; name a regular file",
            ));
        };
        let path = &target.clone();
        let file = open(&beside(path, ""), false)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(fail(
                    &beside(path, ""),
                    "is being written by another process; wait for it, or name another file",
                ));
            }
            // A file system without locks cannot exclude a second writer, so the user has to.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let header = (header(arrays, about, 0)?.len() + RESERVE).next_multiple_of(4096);
        let identity = identity(arrays, about);
        let size = header as u64 + bytes(arrays);
        let length = file.metadata().map_err(|e| unwritten(path, &e))?.len();
        let left = if fresh || length == 0 { None } else { Journal::read(path)? };
        let (journal, done) = match left {
            Some(left) => {
                left.must_be(path, &identity)?;
                if length != size {
                    return Err(fail(&beside(path, ""), &format!("is damaged; {START_AGAIN}")));
                }
                let mut journal = open(&beside(path, JOURNAL), false)?;
                // Remove the incomplete line that a crash may have left.
                journal.set_len(left.bytes).map_err(|e| unwritten(path, &e))?;
                journal.seek(SeekFrom::End(0)).map_err(|e| unwritten(path, &e))?;
                (journal, left.done)
            }
            None => {
                // Clear the old journal before the file that it describes.
                let mut journal = open(&beside(path, JOURNAL), true)?;
                let begun = journal
                    .sync_all()
                    .and_then(|()| file.set_len(0))
                    .and_then(|()| file.set_len(size))
                    .and_then(|()| journal.write_all(format!("{identity}\n").as_bytes()))
                    .and_then(|()| journal.sync_data());
                if let Err(e) = begun {
                    // The files contain nothing that a later run could resume.
                    for ending in ["", JOURNAL] {
                        let _gone = std::fs::remove_file(beside(path, ending));
                    }
                    return Err(unwritten(path, &e));
                }
                (journal, BTreeSet::new())
            }
        };
        Ok(Self { target, file, journal, arrays: arrays.to_vec(), header, done })
    }

    /// Returns the number of committed chunks.
    pub(crate) fn done(&self) -> usize {
        self.done.len()
    }

    /// Writes the final header, renames the file to its final name, and removes the journal.
    pub(crate) fn finish(mut self, about: &Metadata) -> Result<()> {
        let header = header(&self.arrays, about, self.header)?;
        if header.len() != self.header {
            let most = self.header;
            return Err(fail(&self.target, &format!("its metadata exceeds the {most} bytes reserved for it")));
        }
        let written = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| keep_permissions(&self.file, &self.target))
            .and_then(|()| self.file.sync_all());
        written.map_err(|e| unwritten(&self.target, &e))?;
        let partial = beside(&self.target, "");
        std::fs::rename(&partial, &self.target).map_err(|e| unwritten(&self.target, &e))?;
        std::fs::remove_file(beside(&self.target, JOURNAL)).map_err(|e| unwritten(&self.target, &e))
    }

    /// Returns the byte offset in the file of an element of an array.
    fn offset(&self, array: usize, at: usize) -> u64 {
        (self.header as u64) + bytes(&self.arrays[..array]) + 4 * at as u64
    }
}

impl Store for Partial {
    fn has(&self, chunk: usize) -> bool {
        self.done.contains(&chunk)
    }

    fn put(&mut self, array: usize, at: usize, numbers: &[f32]) -> Result<()> {
        let offset = self.offset(array, at);
        let written = self.file.seek(SeekFrom::Start(offset));
        written.and_then(|_| self.file.write_all(&little_endian(numbers))).map_err(|e| unwritten(&self.target, &e))
    }

    fn commit(&mut self, chunk: usize) -> Result<()> {
        let line = format!("{chunk}\n");
        let synced = self.file.sync_data().and_then(|()| self.journal.write_all(line.as_bytes()));
        synced.and_then(|()| self.journal.sync_data()).map_err(|e| unwritten(&self.target, &e))?;
        self.done.insert(chunk);
        Ok(())
    }

    fn read(&mut self, array: usize, range: Range<usize>) -> Result<Vec<f32>> {
        let offset = self.offset(array, range.start);
        let mut bytes = vec![0; 4 * range.len()];
        let read = self.file.seek(SeekFrom::Start(offset));
        read.and_then(|_| self.file.read_exact(&mut bytes)).map_err(|e| unwritten(&self.target, &e))?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

/// Ending of the journal's name, after that of the partial file.
const JOURNAL: &str = ".journal";
/// Fix named in the errors of a partial file that cannot be resumed.
const START_AGAIN: &str = "start again with --fresh, or give another name";

/// The journal of an interrupted run.
struct Journal {
    /// First line: identifies the work.
    identity: String,
    /// Committed chunks.
    done: BTreeSet<usize>,
    /// Length of its complete lines.
    bytes: u64,
}

impl Journal {
    /// Reads the journal of `path`. Returns `None` if there is no journal, or no complete first line: then no chunk is
    /// on the disk.
    fn read(path: &Path) -> Result<Option<Self>> {
        let path = beside(path, JOURNAL);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fail(&path, &format!("cannot be read: {e}; {START_AGAIN}"))),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = text[..whole].lines();
        let Some(identity) = lines.next() else { return Ok(None) };
        let done: Option<BTreeSet<usize>> = lines.map(|line| line.parse().ok()).collect();
        let done = done.ok_or_else(|| fail(&path, &format!("is damaged; {START_AGAIN}")))?;
        Ok(Some(Self { identity: identity.to_owned(), done, bytes: whole as u64 }))
    }

    /// Checks that the journal is of this work.
    ///
    /// # Errors
    /// Other work; the message names the first difference.
    fn must_be(&self, path: &Path, identity: &str) -> Result<()> {
        if self.identity == identity {
            return Ok(());
        }
        let of = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
        let difference = difference(&of(&self.identity), &of(identity)).unwrap_or_else(|| "it is damaged".to_owned());
        Err(fail(&beside(path, ""), &format!("belongs to other work: {difference}; {START_AGAIN}")))
    }
}

/// Returns the path `NAME.partial` followed by `ending`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    name.push(ending);
    path.with_file_name(name)
}

fn open(path: &Path, truncate: bool) -> Result<File> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(truncate).open(path);
    options.map_err(|e| unwritten(path, &e))
}

fn fail(path: &Path, reason: &str) -> Error {
    Error::File { path: path.to_owned(), reason: reason.to_owned() }
}

/// Returns one line that identifies the work: the shapes of its arrays, and its metadata.
fn identity(arrays: &[Planned], about: &Metadata) -> String {
    let shapes = arrays.iter().map(|a| (format!("shape of {}", a.name), json!(shape(a))));
    let about = about.iter().map(|(key, value)| (key.clone(), Value::String(value.clone())));
    Value::Object(shapes.chain(about).collect()).to_string()
}
