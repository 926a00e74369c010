//! A file that is being gathered, beside the place where it will be when it is whole.

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
    /// The hash so far and what it has to be, if that is known.
    hash: Option<(Sha256, String)>,
}

impl Part {
    /// Opens what an earlier download has left at `path`, or begins anew. An etag of 64 hexadecimal digits is the
    /// SHA-256 of the content.
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
        // Written by position: should another process do the same without a lock, both write the same bytes.
        file.seek(SeekFrom::Start(len))?;
        Ok(Self { path, file, len, size, hash })
    }

    /// Bytes that are here.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes that are still to come.
    pub(super) fn rest(&self) -> u64 {
        self.size - self.len
    }

    /// Forgets what is here.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.len = 0;
        if let Some((hasher, _)) = &mut self.hash {
            *hasher = Sha256::new();
        }
        Ok(())
    }

    /// Appends no more than [`Part::rest`] bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        if let Some((hasher, _)) = &mut self.hash {
            hasher.update(bytes);
        }
        Ok(())
    }

    /// Gives a whole file its name; false, and nothing left of it, where its content is not what it has to be.
    pub(super) fn finish(self, to: &Path) -> io::Result<bool> {
        let sound = self.file.metadata()?.len() == self.size
            && self.hash.is_none_or(|(hasher, want)| hex(&hasher.finalize()) == want);
        if !sound {
            fs::remove_file(&self.path)?;
            return Ok(false);
        }
        // On the disk before it has its name, so that the name never stands for less, whatever happens.
        self.file.sync_all()?;
        drop(self.file);
        match fs::rename(&self.path, to) {
            // Another process, where locks do not work, has made the same file.
            Err(_) if is_whole(to, self.size) => Ok(true),
            renamed => renamed.map(|()| true),
        }
    }

    /// Removes what is here.
    pub(super) fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Whether a file is there in full size.
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
    fn other_content_is_thrown_away() {
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
    fn what_is_too_long_is_begun_anew() {
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
