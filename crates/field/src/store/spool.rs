//! Bytes that are written once and read several times: in memory, or in a temporary file when they are many.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How much memory work may take for what grows with the number of prompts, and where the rest goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room<'a> {
    /// Bytes of memory.
    pub(crate) memory: usize,
    /// The folder of temporary files; without one, everything is in memory.
    pub(crate) folder: Option<&'a Path>,
}

impl Room<'_> {
    /// Everything in memory.
    pub(crate) const MEMORY: Self = Room { memory: usize::MAX, folder: None };

    /// Creates a temporary file, which has no name and ends with the process; `None` without a folder.
    pub(crate) fn file(&self) -> io::Result<Option<File>> {
        self.folder.map(tempfile::tempfile_in).transpose()
    }
}

/// Bytes of a spool that are in memory.
const BUFFER: usize = 16 << 10;

/// Lines of text.
#[derive(Debug)]
pub(crate) struct Spool<'a> {
    room: Room<'a>,
    /// The first bytes, if they are many.
    file: Option<File>,
    /// The last bytes.
    buffer: Vec<u8>,
}

impl<'a> Spool<'a> {
    pub(crate) fn new(room: Room<'a>) -> Self {
        Self { room, file: None, buffer: Vec::new() }
    }

    /// Adds a line, which has no line break.
    pub(crate) fn push(&mut self, line: &str) -> io::Result<()> {
        self.buffer.extend_from_slice(line.as_bytes());
        self.buffer.push(b'\n');
        if self.buffer.len() < BUFFER {
            return Ok(());
        }
        if self.file.is_none() {
            self.file = self.room.file()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Visits all lines.
    pub(crate) fn each(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        match &self.file {
            Some(file) => {
                let mut file: &File = file;
                file.seek(SeekFrom::Start(0))?;
                each_line(BufReader::new(file.chain(&self.buffer[..])), visit)?;
                // The next line is written after the last one.
                file.seek(SeekFrom::End(0)).map(|_| ())
            }
            None => each_line(&self.buffer[..], visit),
        }
    }
}

fn each_line(mut lines: impl BufRead, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        visit(line.trim_end_matches('\n'))?;
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_from_memory_and_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let line = |n: usize| format!("{n} é {}", "x".repeat(n % 97));
        for (room, is_file) in [(Room::MEMORY, false), (Room { memory: 0, folder: Some(folder.path()) }, true)] {
            let mut spool = Spool::new(room);
            for half in 0..2 {
                (0..1000).for_each(|n| spool.push(&line(1000 * half + n)).expect("writes"));
                // Reading does not move the end.
                let mut found = Vec::new();
                spool
                    .each(&mut |text| {
                        found.push(text.to_owned());
                        Ok(())
                    })
                    .expect("reads");
                assert_eq!(found, (0..1000 * (half + 1)).map(line).collect::<Vec<_>>());
            }
            assert_eq!((spool.file.is_some(), spool.buffer.len() < BUFFER), (is_file, is_file));
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "its file has no name");
    }
}
