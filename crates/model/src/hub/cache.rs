//! The folder of one repository in a hub cache. Its layout is that of Python's `huggingface_hub`, which uses it too:
//!
//! ```text
//! models--ORG--NAME/blobs/ETAG                   contents of files, by etag; ETAG.incomplete while one is downloaded
//! models--ORG--NAME/snapshots/COMMIT/FILE        links to the contents, by commit
//! models--ORG--NAME/refs/REVISION                the commit of a branch or tag
//! models--ORG--NAME/.no_exist/COMMIT/FILE        files that a commit is known to lack
//! .locks/models--ORG--NAME/ETAG.lock             locked by the process that downloads the content
//! ```

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::name::is_commit;
use crate::checkpoint::shard_names;

pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const VOCAB: &str = "vocab.json";
pub(super) const MERGES: &str = "merges.txt";
/// Files that change the ids of a tokenizer. Most models do not have them.
pub(super) const SETTINGS: [&str; 3] = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

/// Returns the location of the cache, by the variables that huggingface_hub reads.
pub(super) fn location(variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_default();
    let set = |name: &str| {
        let path = PathBuf::from(variable(name).filter(|value| !value.is_empty())?);
        Some(path.strip_prefix("~").map(|rest| home().join(rest)).unwrap_or(path))
    };
    let huggingface = || {
        set("HF_HOME")
            .unwrap_or_else(|| set("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache")).join("huggingface"))
    };
    set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).unwrap_or_else(|| huggingface().join("hub"))
}

/// The folder of one repository in the cache.
pub(super) struct Folder {
    /// The repository, in the spelling of this folder.
    pub(super) repo: String,
    root: PathBuf,
    locks: PathBuf,
}

impl Folder {
    pub(super) fn new(cache: &Path, repo: &str) -> Self {
        let name = format!("models--{}", repo.replace('/', "--"));
        Self { repo: repo.to_owned(), root: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// Returns the path of the folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the commit of a revision, if the cache knows it.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return self.snapshot(revision).is_dir().then(|| revision.to_owned());
        }
        let text = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Returns the model directory of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// Returns whether a file of a commit is cached. Files get their names when they are complete.
    pub(super) fn has(&self, commit: &str, file: &str) -> bool {
        self.snapshot(commit).join(file).is_file()
    }

    /// Returns whether a commit is known to lack a file.
    pub(super) fn is_absent(&self, commit: &str, file: &str) -> bool {
        self.absent(commit, file).is_file()
    }

    /// Returns the files that a model needs and the snapshot of a commit lacks. If there are none, the model can be
    /// opened without the hub.
    pub(super) fn missing(&self, commit: &str) -> Vec<String> {
        let has = |file: &str| self.has(commit, file);
        let mut missing = Vec::new();
        if !has(CONFIG) {
            missing.push(CONFIG.to_owned());
        }
        if !has(WEIGHTS) {
            match has(INDEX) {
                // A damaged index is reported when the model is opened.
                true => missing.extend(shard_names(&self.snapshot(commit).join(INDEX)).unwrap_or_default()),
                false => missing.push(WEIGHTS.to_owned()),
            }
            missing.retain(|file| !has(file));
        }
        let none = self.is_absent(commit, TOKENIZER) && self.is_absent(commit, VOCAB);
        if !(has(TOKENIZER) || has(VOCAB) && has(MERGES) || none) {
            missing.push(TOKENIZER.to_owned());
        }
        missing
    }

    /// Returns the settings of a tokenizer that are not cached although the commit may have them, because the hub has
    /// not been asked yet.
    pub(super) fn unknown_settings(&self, commit: &str) -> Vec<&'static str> {
        if self.is_absent(commit, TOKENIZER) && self.is_absent(commit, VOCAB) {
            return Vec::new();
        }
        let unknown = |file: &&str| !self.has(commit, file) && !self.is_absent(commit, file);
        SETTINGS.into_iter().filter(unknown).collect()
    }

    /// Returns the path of the blob `etag`.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root.join("blobs").join(etag)
    }

    /// Returns the path of the blob `etag` while it is downloaded.
    pub(super) fn part(&self, etag: &str) -> PathBuf {
        suffixed(&self.blob(etag), ".incomplete")
    }

    /// Makes the blob `etag` a file of a commit: by a link, or by a copy where links are not supported. Once the name
    /// exists it never disappears, so that other processes that download the same model can open it at any time.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> io::Result<()> {
        if self.has(commit, file) {
            return Ok(());
        }
        let path = self.snapshot(commit).join(file);
        let blob = self.blob(etag);
        let linked = put(&path, |new| {
            symlink(&Path::new("../../blobs").join(etag), new)
                .or_else(|_| fs::hard_link(&blob, new))
                .or_else(|_| fs::copy(&blob, new).map(|_| ()))
        });
        // Some systems cannot replace an open file. Another process may then have linked the file first.
        linked.or_else(|error| if self.has(commit, file) { Ok(()) } else { Err(error) })
    }

    /// Records that a commit lacks a file.
    pub(super) fn mark_absent(&self, commit: &str, file: &str) -> io::Result<()> {
        let path = self.absent(commit, file);
        create_parent(&path)?;
        fs::write(path, b"")
    }

    /// Stores the commit of a revision.
    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> io::Result<()> {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        put(&self.root.join("refs").join(revision), |new| fs::write(new, commit))
    }

    /// Waits until no other process downloads the blob `etag`, and locks it. Returns `None` where locks do not work, as
    /// on some network drives. Two processes may then both download the blob, and write the same bytes to the same
    /// places.
    pub(super) fn lock(&self, etag: &str, file: &str) -> Option<File> {
        let path = self.locks.join(format!("{etag}.lock"));
        let taken = create_parent(&path)
            .and_then(|()| File::options().write(true).create(true).truncate(false).open(&path))
            .and_then(|lock| match lock.try_lock() {
                Ok(()) => Ok(lock),
                Err(TryLockError::WouldBlock) => {
                    tracing::warn!("{file} is being downloaded by another process: waiting for it");
                    lock.lock().map(|()| lock)
                }
                Err(TryLockError::Error(error)) => Err(error),
            });
        taken.inspect_err(|error| tracing::debug!("{}: not locked: {error}", path.display())).ok()
    }

    fn absent(&self, commit: &str, file: &str) -> PathBuf {
        self.root.join(".no_exist").join(commit).join(file)
    }
}

/// Appends `suffix` to the last part of a path.
fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Makes a file under a unique temporary name, and renames it to `path`. Readers of `path` see the old file or the new
/// one: the name never disappears, and the file is never incomplete.
fn put(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let new = suffixed(path, &format!(".{}-{count}.tmp", std::process::id()));
    create_parent(path)?;
    let done = make(&new).and_then(|()| fs::rename(&new, path));
    // The temporary name remains after a failure, and after a rename between two links to one file.
    let _absent_after_success = fs::remove_file(&new);
    done
}

/// Creates the parent folder of a file.
pub(super) fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A name that one thread has linked stays readable while others link it too.
    #[test]
    fn a_linked_file_never_disappears() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::new(cache.path(), "org/model");
        fs::create_dir_all(folder.root().join("blobs")).expect("writable");
        fs::write(folder.blob("etag"), b"content").expect("writable");
        for round in 0..200 {
            let file = format!("file-{round}");
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        folder.link(COMMIT, &file, "etag").expect("links");
                        let content = fs::read(folder.snapshot(COMMIT).join(&file));
                        assert_eq!(content.expect("stays"), b"content");
                        folder.set_commit("main", COMMIT).expect("writes");
                    });
                }
            });
        }
        assert_eq!(fs::read_dir(folder.snapshot(COMMIT)).expect("a folder").count(), 200, "a temporary name is left");
        assert_eq!(folder.commit("main").as_deref(), Some(COMMIT));
    }

    /// A link to a removed blob is replaced.
    #[test]
    fn a_broken_link_is_replaced() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::new(cache.path(), "org/model");
        fs::create_dir_all(folder.root().join("blobs")).expect("writable");
        for etag in ["old", "new"] {
            fs::write(folder.blob(etag), etag).expect("writable");
            folder.link(COMMIT, "config.json", etag).expect("links");
            assert_eq!(fs::read(folder.snapshot(COMMIT).join("config.json")).expect("a file"), etag.as_bytes());
            fs::remove_file(folder.blob(etag)).expect("is there");
        }
    }
}
