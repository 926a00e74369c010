//! Models of a Hugging Face hub, from its cache on this machine or by a download.

mod address;
mod cache;
mod fetch;
mod name;
mod part;
mod remote;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result, shown};
use cache::Folder;
use name::Name;

/// A Hugging Face hub: the location of its cache, and how to download what the cache lacks.
///
/// The cache has the location and layout of Python's `huggingface_hub`, and both use each other's files. A model that
/// is complete in the cache is used without asking the hub for a newer version.
///
/// ```no_run
/// use resolvent_model::{Hub, Model};
///
/// let hub = Hub::from_env().with_report(|event| eprintln!("{event:?}"));
/// let model = Model::named_with(&resolvent_engine::Device::host(), "openai-community/gpt2", &hub)?;
/// # Ok::<(), resolvent_model::Error>(())
/// ```
#[derive(Clone)]
pub struct Hub {
    cache: PathBuf,
    endpoint: String,
    token: Option<String>,
    certificates: Option<PathBuf>,
    offline: bool,
    report: Option<Arc<Report>>,
}

type Report = dyn Fn(HubEvent<'_>) + Send + Sync;

/// An event of a download, for progress reports. The library itself prints nothing.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum HubEvent<'a> {
    /// Files of a model have to be downloaded.
    Model {
        /// The requested name.
        name: &'a str,
        /// The hub's address.
        from: &'a str,
        /// The cache directory.
        to: &'a Path,
    },
    /// The download of a file begins, or begins again because the server can only send the file from its start.
    File {
        /// Name of the file.
        name: &'a str,
        /// Size of the file in bytes.
        bytes: u64,
        /// Bytes of the file that an earlier download has left.
        have: u64,
    },
    /// This number of further bytes of the file has arrived.
    Bytes(u64),
    /// The file is complete and has the expected content.
    Whole {
        /// Name of the file.
        name: &'a str,
    },
}

/// A model directory in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The directory.
    pub dir: PathBuf,
    /// Repository and commit, `ORG/NAME@COMMIT`, which identify the model.
    pub name: String,
}

impl Hub {
    /// Returns the public hub, with the given cache directory and no token.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        let endpoint = "https://huggingface.co".to_owned();
        Self { cache: cache.into(), endpoint, token: None, certificates: None, offline: false, report: None }
    }

    /// Returns the hub that the environment describes.
    ///
    /// The cache directory is set by `HF_HUB_CACHE`, `HF_HOME` or `XDG_CACHE_HOME`; its default is
    /// `~/.cache/huggingface/hub`. `HF_ENDPOINT` sets the address, `HF_TOKEN` the token, and `SSL_CERT_FILE` the
    /// trusted certificates. `HF_HUB_OFFLINE=1` forbids use of the network.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| {
            let value = variable(name)?.into_string().ok()?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let on = |value: String| ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str());
        let hub = Self::new(cache::location(&variable)).offline(text("HF_HUB_OFFLINE").is_some_and(on));
        let hub = text("HF_ENDPOINT").into_iter().fold(hub, |hub, endpoint| hub.with_endpoint(&endpoint));
        let hub = text("HF_TOKEN").into_iter().fold(hub, |hub, token| hub.with_token(&token));
        text("SSL_CERT_FILE").into_iter().fold(hub, Hub::with_certificates)
    }

    /// Returns the cache directory.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Sets the hub's address, such as that of a mirror.
    #[must_use]
    pub fn with_endpoint(self, endpoint: &str) -> Self {
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), ..self }
    }

    /// Sets a token for private and gated models. It is sent only to the hub's own address.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// Sets a PEM file of certificates to trust instead of the built-in ones.
    #[must_use]
    pub fn with_certificates(self, path: impl Into<PathBuf>) -> Self {
        Self { certificates: Some(path.into()), ..self }
    }

    /// Sets whether use of the network is forbidden.
    #[must_use]
    pub fn offline(self, offline: bool) -> Self {
        Self { offline, ..self }
    }

    /// Sets a function that receives the events of downloads.
    #[must_use]
    pub fn with_report(self, report: impl Fn(HubEvent<'_>) + Send + Sync + 'static) -> Self {
        Self { report: Some(Arc::new(report)), ..self }
    }

    /// Returns the model directory of `NAME`, `ORG/NAME` or `ORG/NAME@REVISION`, from the cache or by a download.
    ///
    /// The cache suffices if it has all the files that are needed. An interrupted download is resumed. A file gets its
    /// name only when it is complete: it then has the size that the hub states, and the SHA-256 if the hub states one.
    ///
    /// # Errors
    /// [`Error::NoModel`]: the name is invalid, neither cache nor hub has the model, or the hub cannot be asked.
    /// [`Error::Hub`]: a download failed. [`Error::Cache`]: the cache cannot be written. Also the errors of the model's
    /// `config.json`.
    pub fn fetch(&self, name: &str) -> Result<Snapshot> {
        let no_model = |tried: String, fix: &str| Error::NoModel { name: shown(name), tried, fix: fix.to_owned() };
        let parsed = Name::parse(name).ok_or_else(|| {
            let tried = "no valid name of a hub (expected NAME or ORG/NAME, optionally with @REVISION)";
            no_model(tried.to_owned(), "check the path")
        })?;
        let folders: Vec<Folder> = parsed.spellings().map(|repo| Folder::new(&self.cache, repo)).collect();
        let mut cached = format!("not in the cache {}", self.cache.display());
        for folder in &folders {
            let Some(commit) = folder.commit(&parsed.revision) else { continue };
            let missing = folder.missing(&commit);
            let dir = folder.snapshot(&commit);
            if missing.is_empty() {
                self.ask_for_settings(&parsed, folder, &commit);
                return Ok(Snapshot::new(folder, &commit));
            }
            if self.offline && missing == [cache::TOKENIZER] {
                tracing::warn!("{} has no tokenizer, and HF_HUB_OFFLINE forbids a request for one", dir.display());
                return Ok(Snapshot::new(folder, &commit));
            }
            cached = format!("incomplete in the cache ({} lacks {})", dir.display(), missing.join(", "));
        }
        if self.offline {
            let tried = format!("{cached}, and HF_HUB_OFFLINE forbids requests to {}", self.endpoint);
            return Err(no_model(tried, "check the name, or unset HF_HUB_OFFLINE to download it"));
        }
        let folder = &folders[0];
        let commit = fetch::fetch(self, &parsed, folder, &cached)?;
        Ok(Snapshot::new(folder, &commit))
    }

    /// Downloads the settings of the tokenizer if a snapshot lacks only these, as other programs may leave it. If the
    /// hub cannot be asked, warns that the model is used without them.
    fn ask_for_settings(&self, name: &Name, folder: &Folder, commit: &str) {
        let unknown = folder.unknown_settings(commit);
        if unknown.is_empty() {
            return;
        }
        let reason = match self.offline {
            true => "HF_HUB_OFFLINE forbids a request for them".to_owned(),
            false => match fetch::settings(self, name, folder, commit) {
                Ok(()) => return,
                Err(error) => error.to_string(),
            },
        };
        tracing::warn!(
            "{} lacks {}, without which token ids may differ from Hugging Face's; {reason}",
            folder.snapshot(commit).display(),
            unknown.join(", ")
        );
    }

    /// Returns the names `ORG/NAME` of the repositories in the cache, for suggestions.
    pub(crate) fn repositories(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.cache).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| Some(name.strip_prefix("models--")?.replacen("--", "/", 1))).collect()
    }

    fn report(&self, event: HubEvent<'_>) {
        if let Some(report) = &self.report {
            report(event);
        }
    }
}

impl fmt::Debug for Hub {
    /// Omits the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Hub");
        shown.field("cache", &self.cache).field("endpoint", &self.endpoint).field("offline", &self.offline);
        shown.finish_non_exhaustive()
    }
}

impl Snapshot {
    fn new(folder: &Folder, commit: &str) -> Self {
        Self { dir: folder.snapshot(commit), name: format!("{}@{commit}", folder.repo) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        Hub::from_variables(|name| {
            let (_, value) = variables.iter().find(|(variable, _)| *variable == name)?;
            Some(OsString::from(value))
        })
    }

    #[test]
    fn the_cache_has_the_location_of_python() {
        let cache = |variables: &[(&str, &str)]| hub(variables).cache;
        let all = [("HF_HUB_CACHE", "/a"), ("HF_HOME", "/b"), ("XDG_CACHE_HOME", "/c")];
        assert_eq!(cache(&all), Path::new("/a"));
        assert_eq!(cache(&all[1..]), Path::new("/b/hub"));
        assert_eq!(cache(&all[2..]), Path::new("/c/huggingface/hub"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/d"), ("HF_HOME", "/b")]), Path::new("/d"));
        assert_eq!(cache(&[("HF_HUB_CACHE", ""), ("HF_HOME", "/b")]), Path::new("/b/hub"));
        assert!(cache(&[]).ends_with(".cache/huggingface/hub"));
        let home = std::env::home_dir().expect("a home");
        assert_eq!(cache(&[("HF_HUB_CACHE", "~/models")]), home.join("models"));
    }

    #[test]
    fn other_variables_are_read() {
        let plain = hub(&[("HF_TOKEN", " "), ("HF_HUB_OFFLINE", "0")]);
        assert_eq!((plain.endpoint.as_str(), plain.token, plain.offline), ("https://huggingface.co", None, false));
        let set = hub(&[("HF_ENDPOINT", "http://mirror/hub/"), ("HF_TOKEN", "hf_x\n"), ("HF_HUB_OFFLINE", "true")]);
        assert_eq!((set.endpoint.as_str(), set.offline), ("http://mirror/hub", true));
        assert!(!format!("{set:?}").contains("hf_x"), "a token is not shown");
        assert_eq!(set.token.as_deref(), Some("hf_x"));
    }
}
