//! Models that are fetched from the hub: requests, stored files, and later requests.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use resolvent_engine::Device;
use resolvent_model::{HubEvent, Model};
use resolvent_tests::{Asked, COMMIT, Golden, Manners, sha256};

use super::{MERGES, REPO, Scene, VOCAB, server};

const FILES: [&str; 4] = ["config.json", "merges.txt", "model.safetensors", "vocab.json"];

fn gets(asked: &[Asked]) -> Vec<&str> {
    asked.iter().filter(|a| a.method == "GET").map(|a| a.path.as_str()).collect()
}

#[test]
fn a_model_is_requested_once() {
    let scene = Scene::new();
    let snapshot = scene.hub().fetch(REPO).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(snapshot.name, format!("{REPO}@{COMMIT}"));
    for file in FILES {
        assert_eq!(fs::read(snapshot.dir.join(file)).expect("a file"), scene.server.file(file), "{file}");
    }
    let asked = scene.server.asked();
    // The answer to the first request contains the commit. All other requests name this commit.
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("HEAD", "/some-org/tiny/resolve/main/config.json"));
    assert!(asked[1..].iter().all(|a| a.elsewhere || a.path.contains(COMMIT)), "{asked:?}");
    assert_eq!(gets(&asked).len(), 4, "{asked:?}");

    let again = scene.hub().fetch(REPO).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again, snapshot);
    assert_eq!(scene.server.asked().len(), 0, "the cache has all of it");
    // `Model` opens the cached model even if there is no server.
    let hub = scene.hub().with_endpoint("http://127.0.0.1:9");
    for name in [REPO, &format!("{REPO}@main"), &format!("{REPO}@{COMMIT}")] {
        let model = Model::named_with(&Device::host(), name, &hub).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(model.name(), snapshot.name);
        assert!(model.tokenizer().is_some());
    }
    let directory = Model::open(&Device::host(), &Golden::directory("tiny-odd")).expect("a golden model");
    let model = Model::named_with(&Device::host(), REPO, &hub).expect("is in the cache");
    assert_eq!(model.hash(), directory.hash());
}

/// The cache has the layout that Python's huggingface_hub reads and writes.
#[test]
fn the_cache_has_the_layout_of_huggingface_hub() {
    let scene = Scene::new();
    scene.fetched();
    let root = "models--some-org--tiny";
    let etag = |file: &str| {
        let hash = sha256(&scene.server.file(file));
        if file.ends_with(".safetensors") { hash } else { hash[..40].to_owned() }
    };
    let mut want: Vec<String> = FILES.iter().map(|file| format!("{root}/blobs/{}", etag(file))).collect();
    want.extend(FILES.iter().map(|file| format!("{root}/snapshots/{COMMIT}/{file}")));
    want.push(format!("{root}/refs/main"));
    let absent = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];
    want.extend(absent.map(|file| format!("{root}/.no_exist/{COMMIT}/{file}")));
    want.sort();
    assert_eq!(scene.cached(), want);
    let root = scene.cache.path().join(root);
    assert_eq!(fs::read(root.join("refs/main")).expect("a file"), COMMIT.as_bytes());
    #[cfg(unix)]
    for file in FILES {
        let link = fs::read_link(root.join("snapshots").join(COMMIT).join(file)).expect("a link");
        assert_eq!(link.to_str(), Some(format!("../../blobs/{}", etag(file)).as_str()));
    }
}

/// Files that change ids are fetched with the tokenizer. If another program has left them out of the cache, they are
/// requested later.
#[test]
fn settings_of_a_tokenizer_come_with_it() {
    let served = || {
        server()
            .with("vocab.json", VOCAB)
            .with("merges.txt", MERGES)
            .with("added_tokens.json", b"{\"<u>\": 2}")
            .with("tokenizer_config.json", b"{\"additional_special_tokens\": [\"<u>\"]}")
    };
    let ids = |dir: &Path| {
        let model = Model::open(&Device::host(), dir).unwrap_or_else(|e| panic!("{e}"));
        model.tokenizer().expect("a tokenizer").prompt("a<u>b").unwrap_or_else(|e| panic!("{e}"))
    };
    let scene = Scene::of(served());
    let dir = scene.fetched();
    assert_eq!(ids(&dir), [0, 2, 1]);
    for file in ["added_tokens.json", "tokenizer_config.json"] {
        fs::remove_file(dir.join(file)).expect("is there");
    }
    scene.server.asked();
    // Without a network, the cached model is used as it is, with a warning.
    let unreachable = scene.hub().with_endpoint("http://127.0.0.1:9");
    for hub in [unreachable, scene.hub().offline(true)] {
        assert_eq!(hub.fetch(REPO).unwrap_or_else(|e| panic!("{e}")).dir, dir);
    }
    assert_eq!(scene.server.asked().len(), 0);
    assert_eq!(ids(&scene.fetched()), [0, 2, 1]);
    let asked = scene.server.asked();
    assert!(asked.iter().all(|a| a.path.contains("token") && a.method == "HEAD"), "{asked:?}");
    scene.fetched();
    assert_eq!(scene.server.asked().len(), 0);
}

#[test]
fn shards_come_by_their_index() {
    let weights = server().file("model.safetensors");
    let index = br#"{"weight_map": {"transformer.wte.weight": "model-00001-of-00001.safetensors"}}"#;
    let shards = server()
        .without("model.safetensors")
        .with("model.safetensors.index.json", index)
        .with("model-00001-of-00001.safetensors", &weights);
    let scene = Scene::of(shards);
    let dir = scene.fetched();
    assert_eq!(fs::read(dir.join("model-00001-of-00001.safetensors")).expect("a file"), weights);
    Model::open(&Device::host(), &dir).unwrap_or_else(|e| panic!("{e}"));
    scene.server.asked();
    scene.fetched();
    assert_eq!(scene.server.asked().len(), 0);
}

/// A model may have no tokenizer. The cache records this, so that the tokenizer is not requested again.
#[test]
fn a_model_may_have_no_tokenizer() {
    let scene = Scene::of(server());
    let dir = scene.fetched();
    assert!(scene.cached().contains(&format!("models--some-org--tiny/.no_exist/{COMMIT}/vocab.json")));
    scene.server.asked();
    assert_eq!(scene.fetched(), dir);
    assert_eq!(scene.server.asked().len(), 0);
}

#[test]
fn a_redirected_name_is_followed_and_stored_as_it_was_typed() {
    let scene = Scene::of(server().moved_from("tiny"));
    let snapshot = scene.hub().fetch("tiny").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(snapshot.name, format!("tiny@{COMMIT}"));
    assert!(snapshot.dir.starts_with(scene.cache.path().join("models--tiny")));
}

/// The token is sent to the hub, and not to the second address, which serves the weights.
#[test]
fn the_token_stays_with_the_hub() {
    let scene = Scene::new();
    scene.hub().with_token("hf_secret").fetch(REPO).unwrap_or_else(|e| panic!("{e}"));
    let asked = scene.server.asked();
    assert!(asked.iter().any(|a| a.elsewhere));
    for a in asked {
        let want = if a.elsewhere { None } else { Some("Bearer hf_secret") };
        assert_eq!(a.authorization.as_deref(), want, "{a:?}");
    }
}

#[test]
fn content_that_is_there_is_not_fetched_twice() {
    let scene = Scene::new();
    let dir = scene.fetched();
    scene.server.asked();
    // This is the state after a new commit that does not change the files.
    fs::remove_dir_all(&dir).expect("is there");
    fs::remove_file(scene.cache.path().join("models--some-org--tiny/refs/main")).expect("is there");
    scene.fetched();
    let asked = scene.server.asked();
    assert!(asked.iter().all(|a| a.method == "HEAD"), "{asked:?}");
}

#[test]
fn a_download_reports_its_progress() {
    let scene = Scene::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&told);
    let hub = scene.hub().with_report(move |event| {
        let line = match event {
            HubEvent::Model { name, from, .. } => format!("{name} from {from}"),
            HubEvent::File { name, bytes, have } => format!("{name} {have}/{bytes}"),
            HubEvent::Bytes(_) => return,
            HubEvent::Whole { name } => format!("{name} whole"),
            other => format!("{other:?}"),
        };
        notes.lock().expect("is not poisoned").push(line);
    });
    scene.server.behave(Manners { cut: Some(60_000), no_ranges: true, ..Manners::default() });
    hub.fetch(REPO).expect_err("breaks off");
    scene.server.behave(Manners::default());
    hub.fetch(REPO).unwrap_or_else(|e| panic!("{e}"));
    let told = told.lock().expect("is not poisoned");
    let size = scene.server.file("model.safetensors").len();
    let first = format!("{REPO} from {}", scene.server.endpoint());
    assert_eq!(told.iter().filter(|line| **line == first).count(), 2, "{told:?}");
    assert!(told.contains(&format!("model.safetensors 60000/{size}")), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("model.safetensors whole"));
    drop(told);
}

/// Concurrent fetches of one file wait for the first one, and then find the file.
#[test]
fn concurrent_fetches_download_once() {
    let scene = Scene::new();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| scene.fetched())).collect();
        for one in all {
            let dir = one.join().expect("does not panic");
            assert_eq!(
                fs::read(dir.join("model.safetensors")).expect("a file"),
                scene.server.file("model.safetensors")
            );
        }
    });
    let asked = scene.server.asked();
    assert_eq!(asked.iter().filter(|a| a.elsewhere).count(), 1, "{asked:?}");
}
