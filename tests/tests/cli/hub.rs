//! `--model` with the name of a model on a hub.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use resolvent_tests::{COMMIT, HubServer, Manners};
use tempfile::TempDir;

use super::directory::Directory;
use super::{Ran, command, run, utf8};

/// A hub with one model, and a cache.
struct Scene {
    server: HubServer,
    cache: TempDir,
    // The files that are served.
    _directory: Directory,
}

const REPO: &str = "some-org/tiny";

impl Scene {
    fn new() -> Self {
        let directory = Directory::copy().with_tokenizer();
        let server = HubServer::new(REPO, directory.argument().as_ref());
        Self { server, cache: tempfile::tempdir().expect("a temporary folder"), _directory: directory }
    }

    fn command(&self, model: &str) -> Command {
        let mut command = command(&["run", "ab ab", "--top", "2", "--device", "host", "--model", model]);
        command.env("HF_HUB_CACHE", self.cache.path()).env("HF_ENDPOINT", self.server.endpoint());
        command.env_remove("HF_HUB_OFFLINE");
        command
    }

    fn run(&self, model: &str) -> Ran {
        self.command(model).output().expect("runs").into()
    }
}

#[test]
fn a_name_of_the_hub_is_a_model() {
    let scene = Scene::new();
    let first = scene.run(REPO);
    // If stderr is not a terminal, one line replaces the progress bar.
    let cache = utf8(scene.cache.path());
    let want = format!("downloading {REPO} from {} to {cache}\n", scene.server.endpoint());
    assert_eq!(first.stderr, want);
    let first = first.done();
    assert!(first.starts_with("next token"), "{first}");
    scene.server.asked();
    let second = scene.run(REPO);
    assert_eq!((second.stderr.as_str(), scene.server.asked().len()), ("", 0));
    assert_eq!(second.done(), first);
    let offline: Ran = scene.command(REPO).env("HF_HUB_OFFLINE", "1").args(["--json"]).output().expect("runs").into();
    assert!(offline.done().contains(&format!("\"model\":\"{REPO}@{COMMIT}\"")), "the commit is named");
}

#[test]
fn an_interrupted_download_is_resumed() {
    let scene = Scene::new();
    scene.server.behave(Manners { stall: Some(40_000), ..Manners::default() });
    let mut child = scene.command(REPO).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let hash = resolvent_tests::sha256(&scene.server.file("model.safetensors"));
    let part = scene.cache.path().join(format!("models--some-org--tiny/blobs/{hash}.incomplete"));
    let started = Instant::now();
    while std::fs::metadata(&part).map_or(0, |found| found.len()) < 40_000 {
        assert!(started.elapsed() < Duration::from_secs(60), "nothing comes");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("runs");
    child.wait().expect("ends");
    scene.server.behave(Manners::default());
    scene.server.asked();
    scene.run(REPO).done();
    let ranges: Vec<_> = scene.server.asked().into_iter().filter(|a| a.elsewhere).map(|a| a.range).collect();
    assert_eq!(ranges, [Some("bytes=40000-".to_owned())]);
    assert!(!part.exists());
}

#[test]
fn the_error_of_a_mistyped_name_lists_what_was_tried() {
    let scene = Scene::new();
    let line = scene.run("some-org/tinny").failed();
    let cache = utf8(scene.cache.path());
    for part in ["no model `some-org/tinny`", "atlas-small", "no directory", &cache, &scene.server.endpoint()] {
        assert!(line.contains(part), "`{part}` is not in: {line}");
    }
    for name in ["../../x", "/no/such/directory", "no\\such", "a/b/c"] {
        let line = scene.run(name).failed();
        assert!(line.contains("no valid name of a hub"), "{line}");
    }
    // All other tests run without a network.
    let line = run(&["run", "--tokens", "1", "--model", "gpt2"]).failed();
    assert!(line.contains("HF_HUB_OFFLINE forbids requests to"), "{line}");
    let token: Ran = scene.command("some-org/tinny").env("HF_TOKEN", "hf_x").output().expect("runs").into();
    assert!(token.failed().contains("check the name, and HF_TOKEN"));
    assert!(scene.server.asked().iter().any(|a| a.authorization.as_deref() == Some("Bearer hf_x")));
}
