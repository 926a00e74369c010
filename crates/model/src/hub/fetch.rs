//! Downloads from a hub into its cache: selects the files that a model needs, and makes each of them complete.

use std::io::{self, Read};

use super::cache::{CONFIG, Folder, INDEX, MERGES, SETTINGS, TOKENIZER, VOCAB, WEIGHTS};
use super::name::{Name, is_commit};
use super::part::{Part, is_whole};
use super::remote::{Content, Found, Meta, Remote, RepoFile, Trouble};
use super::{Hub, HubEvent};
use crate::arch::Architecture;
use crate::checkpoint::shard_names;
use crate::error::{Error, Result};

/// Number of attempts to download a file when connections break. An attempt that brings no new bytes is the last.
const ATTEMPTS: usize = 5;

/// One download of a model.
pub(super) struct Fetch<'a> {
    hub: &'a Hub,
    name: &'a Name,
    folder: &'a Folder,
    remote: Remote<'a>,
    /// The commit of all files, once it is known.
    commit: Option<String>,
    /// Whether an answer of the hub has shown that it has the model.
    seen: bool,
    /// Whether [`HubEvent::Model`] has been reported.
    announced: bool,
}

/// A failure of the hub, or of this machine.
enum Failure {
    Hub(Trouble),
    Own(Error),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Hub(trouble)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

/// Downloads the files of a model that the cache lacks, and returns its commit. `cached` describes the state of the
/// cache, for messages.
pub(super) fn fetch(hub: &Hub, name: &Name, folder: &Folder, cached: &str) -> Result<String> {
    let commit = is_commit(&name.revision).then(|| name.revision.clone());
    run(hub, name, folder, (cached, commit), |fetch| fetch.model())
}

/// Downloads the settings of the tokenizer of a commit, if it has any.
pub(super) fn settings(hub: &Hub, name: &Name, folder: &Folder, commit: &str) -> Result<()> {
    let cached = "in the cache without settings of its tokenizer";
    run(hub, name, folder, (cached, Some(commit.to_owned())), |fetch| {
        SETTINGS.into_iter().try_for_each(|file| fetch.file(file).map(|_| ()))
    })
}

fn run<T>(
    hub: &Hub,
    name: &Name,
    folder: &Folder,
    (cached, commit): (&str, Option<String>),
    work: impl FnOnce(&mut Fetch<'_>) -> Result<T, Failure>,
) -> Result<T> {
    let shown = || name.typed.clone();
    let absent =
        |Trouble { message, fix }| Error::NoModel { name: shown(), tried: format!("{cached}, and {message}"), fix };
    let remote = Remote::new(hub).map_err(absent)?;
    let mut fetch = Fetch { hub, name, folder, remote, commit, seen: false, announced: false };
    let done = work(&mut fetch);
    done.map_err(|failure| match failure {
        Failure::Own(error) => error,
        Failure::Hub(trouble) if !fetch.seen => absent(trouble),
        Failure::Hub(Trouble { message, fix }) => Error::Hub { name: shown(), message, fix },
    })
}

impl Fetch<'_> {
    /// Downloads the description of the model, its tokenizer and its weights, and returns the commit. In this order, an
    /// unsuitable model fails before its large files are downloaded.
    fn model(&mut self) -> Result<String, Failure> {
        self.needed(CONFIG)?;
        let commit = self.commit.clone().unwrap_or_default();
        let snapshot = self.folder.snapshot(&commit);
        Architecture::open(&snapshot)?;
        let whole = self.file(TOKENIZER)?;
        let parts = !whole && self.file(VOCAB)?;
        if parts {
            self.file(MERGES)?;
        }
        if whole || parts {
            for file in SETTINGS {
                self.file(file)?;
            }
        }
        if !self.file(WEIGHTS)? {
            if !self.file(INDEX)? {
                let fix = "only safetensors are read: convert the model, or name a revision that has them (@REVISION)";
                return Err(self.lacks(WEIGHTS, fix).into());
            }
            for shard in shard_names(&snapshot.join(INDEX))? {
                self.needed(&shard)?;
            }
        }
        // The branch is stored last, when its snapshot is complete.
        self.written(self.folder.set_commit(&self.name.revision, &commit))?;
        Ok(commit)
    }

    fn needed(&mut self, file: &str) -> Result<(), Failure> {
        match self.file(file)? {
            true => Ok(()),
            false => Err(self.lacks(file, "name a revision that has it (@REVISION), or another model").into()),
        }
    }

    fn lacks(&self, file: &str, fix: &str) -> Trouble {
        Trouble::new(format!("{}/{} has no {file}", self.hub.endpoint, self.folder.repo), fix)
    }

    /// Downloads a file into the snapshot unless it is there. Returns false if the repository has no file of this name.
    fn file(&mut self, file: &str) -> Result<bool, Failure> {
        if let Some(commit) = &self.commit {
            if self.folder.has(commit, file) {
                return Ok(true);
            }
            if self.folder.is_absent(commit, file) {
                return Ok(false);
            }
        }
        let commit = self.commit.clone();
        let revision = commit.as_deref().unwrap_or(&self.name.revision);
        let found = self.remote.look_up(self.repo_file(revision, file), self.seen)?;
        self.seen = true;
        let meta = match found {
            Found::File(meta) => meta,
            Found::Absent => {
                if let Some(commit) = &self.commit {
                    self.written(self.folder.mark_absent(commit, file))?;
                }
                return Ok(false);
            }
        };
        if commit.is_some_and(|commit| commit != meta.commit) {
            let message = format!("{} sends {file} of another commit than requested", self.hub.endpoint);
            return Err(Trouble::new(message, "check HF_ENDPOINT").into());
        }
        self.commit = Some(meta.commit.clone());
        if !self.folder.has(&meta.commit, file) {
            self.content(file, &meta)?;
            self.written(self.folder.link(&meta.commit, file, &meta.etag))?;
        }
        Ok(true)
    }

    /// Downloads the content of a file into its blob unless it is there.
    fn content(&mut self, file: &str, meta: &Meta) -> Result<(), Failure> {
        let blob = self.folder.blob(&meta.etag);
        if is_whole(&blob, meta.size) {
            return Ok(());
        }
        let _lock = self.folder.lock(&meta.etag, file);
        if is_whole(&blob, meta.size) {
            return Ok(());
        }
        if !self.announced {
            self.announced = true;
            self.hub.report(HubEvent::Model { name: &self.name.typed, from: &self.hub.endpoint, to: &self.hub.cache });
        }
        let part = self.written(Part::open(self.folder.part(&meta.etag), meta.size, &meta.etag))?;
        self.hub.report(HubEvent::File { name: file, bytes: meta.size, have: part.len() });
        let part = self.fill(part, file, meta)?;
        if !self.written(part.finish(&blob))? {
            let message = format!("{file} arrived damaged (its SHA-256 is not {}) and was deleted", meta.etag);
            return Err(Trouble::new(message, "run the same command again").into());
        }
        self.hub.report(HubEvent::Whole { name: file });
        Ok(())
    }

    /// Downloads the rest of a part, and resumes it when the connection breaks.
    fn fill(&self, mut part: Part, file: &str, meta: &Meta) -> Result<Part, Failure> {
        for attempt in 1.. {
            if part.rest() == 0 {
                break;
            }
            let before = part.len();
            let at = meta.at.clone().filter(|_| attempt == 1);
            let at = at.unwrap_or_else(|| self.remote.url(self.repo_file(&meta.commit, file)));
            let mut content = self.remote.content(at, before)?;
            if let Some(size) = content.size.filter(|&size| size != meta.size) {
                let message = format!("the hub reports two sizes of {file}: {} bytes, then {size}", meta.size);
                return self.wrong(part, message);
            }
            if content.start != part.len() {
                if content.start != 0 {
                    return self.wrong(part, format!("the hub sends other bytes of {file} than requested"));
                }
                self.written(part.restart())?;
                self.hub.report(HubEvent::File { name: file, bytes: meta.size, have: 0 });
            }
            let broken = match self.receive(&mut content, &mut part)? {
                Received::All => continue,
                Received::TooMuch => {
                    return self.wrong(part, format!("the hub sends more than the {} bytes of {file}", meta.size));
                }
                Received::Broken(reason) => reason,
            };
            if part.len() <= before || attempt == ATTEMPTS {
                let message =
                    format!("the download of {file} stopped at {} of {} bytes ({broken})", part.len(), meta.size);
                return Err(Trouble::new(message, "run the same command again to resume it").into());
            }
            tracing::debug!("the download of {file} stopped at {} bytes ({broken})", part.len());
        }
        Ok(part)
    }

    /// Writes what the server sends to the part.
    fn receive(&self, content: &mut Content, part: &mut Part) -> Result<Received, Failure> {
        let mut buffer = vec![0; 1 << 17];
        loop {
            let n = match content.bytes.read(&mut buffer) {
                Ok(0) if part.rest() == 0 => return Ok(Received::All),
                Ok(0) => return Ok(Received::Broken("the connection was closed".to_owned())),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Received::Broken(error.to_string())),
            };
            if n as u64 > part.rest() {
                return Ok(Received::TooMuch);
            }
            self.written(part.write(&buffer[..n]))?;
            self.hub.report(HubEvent::Bytes(n as u64));
            resolvent_engine::go_on().map_err(Error::from)?;
        }
    }

    /// Discards the part and fails, because sizes or positions contradict each other.
    fn wrong(&self, part: Part, message: String) -> Result<Part, Failure> {
        self.written(part.discard())?;
        Err(Trouble::new(message, "run the same command again; if it fails again, check HF_ENDPOINT").into())
    }

    fn repo_file<'a>(&'a self, revision: &'a str, file: &'a str) -> RepoFile<'a> {
        RepoFile { repo: &self.folder.repo, revision, file }
    }

    fn written<T>(&self, done: io::Result<T>) -> Result<T, Failure> {
        done.map_err(|source| Error::Cache { path: self.folder.root().into(), source }.into())
    }
}

/// How the transfer of a body ended.
enum Received {
    All,
    TooMuch,
    Broken(String),
}
