mod broken;
mod cached;
mod fetched;

use std::fs;
use std::path::{Path, PathBuf};

use resolvent_model::{Error, Hub};
use resolvent_tests::{Golden, HubServer};
use tempfile::TempDir;

/// A served model, and an empty cache.
struct Scene {
    server: HubServer,
    cache: TempDir,
}

/// The name of the served model.
const REPO: &str = "some-org/tiny";

/// GPT-2's kind of tokenizer with two tokens.
const VOCAB: &[u8] = b"{\"a\": 0, \"b\": 1}";
const MERGES: &[u8] = b"#version: 0.2\n";

impl Scene {
    /// The smallest golden model, with a tokenizer.
    fn new() -> Self {
        Self::of(server().with("vocab.json", VOCAB).with("merges.txt", MERGES))
    }

    fn of(server: HubServer) -> Self {
        Self { server, cache: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The hub as a client sees it.
    fn hub(&self) -> Hub {
        Hub::new(self.cache.path()).with_endpoint(&self.server.endpoint())
    }

    /// Fetches the model; the folder with its files.
    fn fetched(&self) -> PathBuf {
        self.hub().fetch(REPO).unwrap_or_else(|e| panic!("{e}")).dir
    }

    /// What is said where it cannot be fetched: one line with all of `parts`.
    #[track_caller]
    fn fails(&self, name: &str, parts: &[&str]) -> Error {
        let error = self.hub().fetch(name).expect_err("cannot be fetched");
        let line = error.to_string();
        for part in parts {
            assert!(line.contains(part), "`{part}` is not in: {line}");
        }
        assert!(!line.contains('\n') && line.len() < 700, "{line:?}");
        error
    }

    /// Paths below the cache, without folders and locks, in order.
    fn cached(&self) -> Vec<String> {
        let (mut open, mut found) = (vec![self.cache.path().to_owned()], Vec::new());
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => open.push(path),
                    false => found.push(self.relative(&path)),
                }
            }
        }
        found.retain(|path| !path.starts_with(".locks/"));
        found.sort();
        found
    }

    fn relative(&self, path: &Path) -> String {
        let path = path.strip_prefix(self.cache.path()).expect("lies in the cache");
        path.to_str().expect("a plain path").replace('\\', "/")
    }

    /// Whether something in the cache could be taken for weights.
    fn has_weights(&self) -> bool {
        self.cached().iter().any(|path| path.contains("snapshots/") && path.ends_with(".safetensors"))
            || self.blob().exists()
    }

    /// Where the weights are when they are whole.
    fn blob(&self) -> PathBuf {
        let weights = fs::read(Golden::directory("tiny-odd").join("model.safetensors")).expect("a file");
        let hash = resolvent_tests::sha256(&weights);
        self.cache.path().join("models--some-org--tiny/blobs").join(hash)
    }

    /// Where they are gathered.
    fn part(&self) -> PathBuf {
        self.blob().with_extension("incomplete")
    }
}

/// The smallest golden model: config.json and model.safetensors.
fn server() -> HubServer {
    HubServer::new(REPO, &Golden::directory("tiny-odd"))
}
