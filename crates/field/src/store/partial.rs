//! A safetensors file that grows where it lies, and goes on where it was.
//!
//! The header of a safetensors file stands at its start and its arrays at fixed offsets behind it, so that once all
//! shapes are known pieces can be written in any order. What is being written is `NAME.partial`; beside it
//! `NAME.partial.journal` says in its first line what the file is of, as JSON, and then in one line each which chunks are
//! on the disk. A chunk's line is written after its numbers have been synced, so a line that is there can be believed
//! after a crash of the program or of the machine. At the end the header gets its last form, padded with blanks to the
//! length that was reserved, the file is synced and takes its name, and the journal goes.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::layout::{Metadata, header, little_endian, shape};
use super::{Planned, Store, bytes};
use crate::error::{Error, Result};
use crate::file::{Target, keep_permissions, unwritten};

/// What the header may grow by between the first form and the last: certificates and findings.
const RESERVE: usize = 64 << 10;

/// A result that is being written.
pub(crate) struct Partial {
    target: PathBuf,
    file: File,
    journal: File,
    arrays: Vec<Planned>,
    /// Bytes of the header, its length included.
    header: usize,
    done: BTreeSet<usize>,
}

impl Partial {
    /// Opens what will be `path`: goes on with what an interrupted run of the same work has left, or begins. `about`
    /// says what the work is; `fresh` begins in any case.
    ///
    /// # Errors
    /// What is there is of other work, or is being written by another process, or cannot be written.
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
            // Where a file system knows no locks, two writers are the user's affair.
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
                    return Err(fail(&beside(path, ""), &format!("is damaged; {AWAY}")));
                }
                let mut journal = open(&beside(path, JOURNAL), false)?;
                // What a crash has left of a line is no line.
                journal.set_len(left.bytes).map_err(|e| unwritten(path, &e))?;
                journal.seek(SeekFrom::End(0)).map_err(|e| unwritten(path, &e))?;
                (journal, left.done)
            }
            None => {
                // The old journal goes before what it speaks of.
                let mut journal = open(&beside(path, JOURNAL), true)?;
                let begun = journal
                    .sync_all()
                    .and_then(|()| file.set_len(0))
                    .and_then(|()| file.set_len(size))
                    .and_then(|()| journal.write_all(format!("{identity}\n").as_bytes()))
                    .and_then(|()| journal.sync_data());
                if let Err(e) = begun {
                    // Nothing is in them that a later run could go on with.
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

    /// How many chunks are there already.
    pub(crate) fn done(&self) -> usize {
        self.done.len()
    }

    /// Gives the file its header and its name.
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

    /// Where a number of an array lies in the file.
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

const JOURNAL: &str = ".journal";
const AWAY: &str = "remove it and its .journal, or start again with --fresh";

/// What an interrupted run has left.
struct Journal {
    identity: String,
    done: BTreeSet<usize>,
    /// Length of its whole lines.
    bytes: u64,
}

impl Journal {
    /// `None` where there is none, or none that got as far as its first line: then no chunk is on the disk.
    fn read(path: &Path) -> Result<Option<Self>> {
        let path = beside(path, JOURNAL);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fail(&path, &format!("cannot be read: {e}; {AWAY}"))),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = text[..whole].lines();
        let Some(identity) = lines.next() else { return Ok(None) };
        let done: Option<BTreeSet<usize>> = lines.map(|line| line.parse().ok()).collect();
        let done = done.ok_or_else(|| fail(&path, &format!("is damaged; {AWAY}")))?;
        Ok(Some(Self { identity: identity.to_owned(), done, bytes: whole as u64 }))
    }

    /// Fails with the first thing in which the work differs.
    fn must_be(&self, path: &Path, identity: &str) -> Result<()> {
        if self.identity == identity {
            return Ok(());
        }
        let of = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
        let (theirs, ours) = (of(&self.identity), of(identity));
        // A hash says that something differs, and not what; so it comes last.
        let mut keys: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
        keys.sort_by_key(|key| (key.contains("hash"), key.as_str()));
        let differs = keys.into_iter().find(|key| ours.get(*key) != theirs.get(*key));
        let shown = |value: Option<&Value>| match value {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "none".to_owned(),
        };
        let difference = differs.map_or_else(
            || "it is damaged".to_owned(),
            |key| format!("`{key}` was {} and is now {}", shown(theirs.get(key)), shown(ours.get(key))),
        );
        Err(fail(&beside(path, ""), &format!("belongs to other work: {difference}; {AWAY}")))
    }
}

/// `NAME.partial`, and what goes with it.
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

/// What the work is, in one line: arrays with their shapes, and what is said about them.
fn identity(arrays: &[Planned], about: &Metadata) -> String {
    let shapes = arrays.iter().map(|a| (format!("shape of {}", a.name), json!(shape(a))));
    let about = about.iter().map(|(key, value)| (key.clone(), Value::String(value.clone())));
    Value::Object(shapes.chain(about).collect()).to_string()
}
