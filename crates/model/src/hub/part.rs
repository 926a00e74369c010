//! A partly downloaded file, beside the path of the complete file.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::cache::create_parent;

/// The first bytes of a file of known size.
pub(super) struct Part {
    path: PathBuf,
    file: File,
    len: u64,
    size: u64,
    /// The hash so far, and the expected hash if it is known.
    hash: Option<(Sha256, String)>,
}

impl Part {
    /// Opens the remainder of an earlier download at `path`, or creates an empty file. An etag of 64 hexadecimal digits
    /// is the SHA-256 of the content.
    pub(super) fn open(path: PathBuf, size: u64, etag: &str) -> io::Result<Self> {
        create_parent(&path)?;
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let is_hash = etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit());
        let mut hash = is_hash.then(|| (Sha256::new(), etag.to_ascii_lowercase()));
        let mut len = file.metadata()?.len();
        if len > size {
            file.set_len(0)?;
            len = 0;
        }
        if let Some((hasher, _)) = &mut hash {
            let mut earlier = (&mut file).take(len);
            let mut buffer = vec![0; 1 << 16];
            loop {
                match earlier.read(&mut buffer)? {
                    0 => break,
                    n => hasher.update(&buffer[..n]),
                }
            }
        }
        // Writes go to fixed positions: if another process does the same without a lock, both write the same bytes.
        file.seek(SeekFrom::Start(len))?;
        Ok(Self { path, file, len, size, hash })
    }

    /// Returns the number of bytes that are present.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the number of bytes that are missing.
    pub(super) fn rest(&self) -> u64 {
        self.size - self.len
    }

    /// Drops all bytes that are present.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.len = 0;
        if let Some((hasher, _)) = &mut self.hash {
            *hasher = Sha256::new();
        }
        Ok(())
    }

    /// Appends bytes, at most [`Part::rest`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        if let Some((hasher, _)) = &mut self.hash {
            hasher.update(bytes);
        }
        Ok(())
    }

    /// Renames the complete file to `to`. If size or hash are wrong, removes the file and returns false.
    pub(super) fn finish(self, to: &Path) -> io::Result<bool> {
        let intact = self.file.metadata()?.len() == self.size
            && self.hash.is_none_or(|(hasher, want)| hex(&hasher.finalize()) == want);
        if !intact {
            fs::remove_file(&self.path)?;
            return Ok(false);
        }
        // The content reaches the disk before the rename, so that the name never denotes an incomplete file.
        self.file.sync_all()?;
        drop(self.file);
        match fs::rename(&self.path, to) {
            // Locks do not work on every file system: another process has made the same file.
            Err(_) if is_whole(to, self.size) => Ok(true),
            renamed => renamed.map(|()| true),
        }
    }

    /// Removes the partial file.
    pub(super) fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Returns whether a file exists in full size.
pub(super) fn is_whole(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_part_is_continued_and_checked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, to) = (folder.path().join("blobs/x.incomplete"), folder.path().join("blobs/x"));
        let open = || Part::open(path.clone(), 3, ABC).expect("opens");
        let mut part = open();
        part.write(b"a").expect("writes");
        drop(part);
        let mut part = open();
        assert_eq!((part.len(), part.rest()), (1, 2));
        part.write(b"bc").expect("writes");
        assert!(part.finish(&to).expect("finishes"));
        assert_eq!(fs::read(&to).expect("a file"), b"abc");
        assert!(!path.exists() && is_whole(&to, 3) && !is_whole(&to, 4));
    }

    #[test]
    fn wrong_content_is_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, to) = (folder.path().join("x.incomplete"), folder.path().join("x"));
        for content in [&b"abd"[..], b"ab"] {
            let mut part = Part::open(path.clone(), 3, ABC).expect("opens");
            part.write(content).expect("writes");
            assert!(!part.finish(&to).expect("finishes"));
            assert!(!path.exists() && !to.exists());
        }
    }

    #[test]
    fn too_long_parts_are_restarted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.incomplete");
        fs::write(&path, b"longer than three").expect("writable");
        let mut part = Part::open(path.clone(), 3, ABC).expect("opens");
        assert_eq!(part.len(), 0);
        part.write(b"zz").expect("writes");
        part.restart().expect("restarts");
        part.write(b"abc").expect("writes");
        assert!(part.finish(&folder.path().join("x")).expect("finishes"));
        Part::open(path.clone(), 3, "no-hash").expect("opens").discard().expect("removes");
        assert!(!path.exists());
    }
}
