//! Models in a cache, written by this program or another one, and messages about missing ones.

use std::fs;
use std::path::Path;

use resolvent_engine::Device;
use resolvent_model::{Error, Hub, Model};
use resolvent_tests::{COMMIT, Golden};

use super::{MERGES, REPO, Scene, VOCAB, server};

/// Writes a snapshot of files without links, as huggingface_hub does on systems without them.
fn put(cache: &Path, repo: &str, files: &[&str]) {
    let root = cache.join(format!("models--{}", repo.replace('/', "--")));
    let snapshot = root.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).expect("a folder");
    fs::create_dir_all(root.join("refs")).expect("a folder");
    fs::write(root.join("refs/main"), COMMIT).expect("writable");
    for file in files {
        let content = match *file {
            "vocab.json" => VOCAB.to_vec(),
            "merges.txt" => MERGES.to_vec(),
            other => fs::read(Golden::directory("tiny-odd").join(other)).expect("a file"),
        };
        fs::write(snapshot.join(file), content).expect("writable");
    }
}

const ALL: [&str; 4] = ["config.json", "model.safetensors", "vocab.json", "merges.txt"];

#[test]
fn a_model_that_moved_is_found_under_either_name() {
    for (cached, typed) in [
        ("openai-community/gpt2", "gpt2"),
        ("gpt2", "openai-community/gpt2"),
        ("gpt2-xl", "gpt2-xl"),
        ("distilbert/distilgpt2", "distilgpt2@main"),
    ] {
        let cache = tempfile::tempdir().expect("a temporary folder");
        put(cache.path(), cached, &ALL);
        let hub = Hub::new(cache.path()).with_endpoint("http://127.0.0.1:9");
        let snapshot = hub.fetch(typed).unwrap_or_else(|e| panic!("{typed}: {e}"));
        assert_eq!(snapshot.name, format!("{cached}@{COMMIT}"));
    }
}

#[test]
fn offline_errors_name_what_the_cache_lacks() {
    let scene = Scene::new();
    let says = |name: &str, parts: &[&str]| {
        let error = scene.hub().offline(true).fetch(name).expect_err("is not there");
        assert!(matches!(error, Error::NoModel { .. }), "{error:?}");
        let line = error.to_string();
        for part in parts {
            assert!(line.contains(part), "`{part}` is not in: {line}");
        }
    };
    let cache = scene.cache.path().display().to_string();
    says(REPO, &[REPO, "not in the cache", &cache, "HF_HUB_OFFLINE forbids requests to", "unset HF_HUB_OFFLINE"]);
    put(scene.cache.path(), REPO, &["config.json", "merges.txt"]);
    says(REPO, &["incomplete in the cache", &cache, "lacks model.safetensors, tokenizer.json"]);
    says(&format!("{REPO}@other"), &["@other", "not in the cache"]);
    put(scene.cache.path(), REPO, &["model.safetensors"]);
    // A model without a tokenizer works with ids.
    scene.hub().offline(true).fetch(REPO).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(scene.server.asked().len(), 0);
    // Online, only the tokenizer is requested.
    scene.fetched();
    let asked = scene.server.asked();
    assert!(!asked.iter().any(|a| a.elsewhere), "{asked:?}");
}

#[test]
fn a_damaged_cache_is_completed() {
    let scene = Scene::new();
    let dir = scene.fetched();
    let blob = scene.blob();
    // A broken link, and a blob whose size does not match its name.
    fs::remove_file(&blob).expect("is there");
    assert!(!dir.join("model.safetensors").exists());
    scene.fetched();
    assert_eq!(fs::read(dir.join("model.safetensors")).expect("a file"), scene.server.file("model.safetensors"));
    fs::write(&blob, b"short").expect("writable");
    fs::remove_file(dir.join("model.safetensors")).expect("is there");
    scene.fetched();
    assert_eq!(fs::read(&blob).expect("a file"), scene.server.file("model.safetensors"));
    // An invalid ref.
    let reference = scene.cache.path().join("models--some-org--tiny/refs/main");
    for text in ["", "../../../etc", "main"] {
        fs::write(&reference, text).expect("writable");
        scene.fetched();
        assert_eq!(fs::read(&reference).expect("a file"), COMMIT.as_bytes());
    }
}

/// An invalid name never becomes part of a path or an address.
#[test]
fn hostile_names_are_refused() {
    let scene = Scene::of(server());
    for name in [
        "../../x",
        "...",
        "a/../../b",
        "/no/such/path",
        "C:\\x",
        "a\\b",
        "\\\\host\\x",
        "a/b/c",
        "a//b",
        "-x",
        "x\n",
        "x%2f..",
        "x?y",
        "x#y",
        "a@../../b",
        "a@",
        "a@b\\c",
        "",
        "x\0y",
        "~/x",
    ] {
        scene.fails(name, &["no model `", "no valid name of a hub", "check the path"]);
        let error = Model::named_with(&Device::host(), name, &scene.hub()).err().expect("is refused");
        let line = error.to_string();
        assert!(line.contains("no embedded one (atlas-nano") && line.contains("no directory"), "{line}");
        assert!(!line.contains(['\n', '\0']), "{line:?}");
    }
    assert_eq!((scene.server.asked().len(), scene.cached()), (0, Vec::new()));
}

/// A directory takes precedence over a name of the hub.
#[test]
fn embedded_names_and_directories_come_first() {
    let scene = Scene::of(server());
    let directory = Golden::directory("tiny-odd");
    for name in ["atlas-small", "random:3", directory.to_str().expect("a UTF-8 path")] {
        Model::named_with(&Device::host(), name, &scene.hub()).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    assert_eq!(scene.server.asked().len(), 0);
}
