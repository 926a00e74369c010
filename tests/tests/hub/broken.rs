//! Hubs and connections that fail: the error is one line, and the cache has no incomplete file under a final name.

use std::fs;

use resolvent_engine::Device;
use resolvent_model::{Error, Hub, Model};
use resolvent_tests::Manners;

use super::{REPO, Scene, server};

fn ranges(scene: &Scene) -> Vec<Option<String>> {
    scene.server.asked().into_iter().filter(|a| a.elsewhere).map(|a| a.range).collect()
}

#[test]
fn an_interrupted_download_is_resumed() {
    let scene = Scene::new();
    let weights = scene.server.file("model.safetensors");
    scene.server.behave(Manners { cut: Some(10_000), ..Manners::default() });
    scene.fails(REPO, &[REPO, "the download of model.safetensors stopped at 50000 of", "run the same command again"]);
    assert!(!scene.has_weights());
    assert_eq!(fs::read(scene.part()).expect("is stored"), weights[..50_000]);
    // Each connection resumed where the one before it had ended.
    let want = [None, Some(10_000), Some(20_000), Some(30_000), Some(40_000)];
    let range = |from: Option<u32>| from.map(|from| format!("bytes={from}-"));
    assert_eq!(ranges(&scene), want.map(range));

    scene.server.behave(Manners::default());
    let dir = scene.fetched();
    assert_eq!(ranges(&scene), [range(Some(50_000))]);
    assert_eq!(fs::read(dir.join("model.safetensors")).expect("a file"), weights);
    assert!(!scene.part().exists());
}

#[test]
fn a_server_without_ranges_sends_whole_files() {
    let scene = Scene::new();
    for manners in [
        Manners { cut: Some(60_000), no_ranges: true, ..Manners::default() },
        Manners { cut: Some(60_000), no_ranges: true, no_length: true, ..Manners::default() },
    ] {
        scene.server.behave(manners.clone());
        scene.fails(REPO, &["stopped at 60000"]);
        assert!(!scene.has_weights());
        scene.server.behave(Manners { cut: None, ..manners });
        let dir = scene.fetched();
        assert_eq!(fs::read(dir.join("model.safetensors")).expect("a file"), scene.server.file("model.safetensors"));
        fs::remove_dir_all(scene.cache.path().join("models--some-org--tiny")).expect("is there");
    }
}

/// A partial file with other content than the served file is discarded.
#[test]
fn a_wrong_partial_file_is_discarded() {
    let scene = Scene::new();
    scene.server.behave(Manners { cut: Some(0), ..Manners::default() });
    scene.fails(REPO, &["stopped at 0 of"]);
    let size = scene.server.file("model.safetensors").len();
    scene.server.behave(Manners::default());
    for other in [vec![1; 1000], vec![1; size]] {
        fs::write(scene.part(), other).expect("writable");
        scene.fails(REPO, &["model.safetensors arrived damaged", "SHA-256", "run the same command again"]);
        assert!(!scene.has_weights() && !scene.part().exists());
    }
    // A partial file that is longer than the served file is not resumed.
    fs::write(scene.part(), vec![1; size + 1]).expect("writable");
    scene.fetched();
}

#[test]
fn content_is_compared_with_its_hash() {
    let scene = Scene::new();
    scene.server.behave(Manners { wrong_byte: true, ..Manners::default() });
    scene.fails(REPO, &["model.safetensors arrived damaged", "SHA-256", "was deleted"]);
    assert!(!scene.has_weights() && !scene.part().exists());
    scene.server.behave(Manners::default());
    scene.fetched();
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let scene = Scene::new();
    let size = scene.server.file("model.safetensors").len() as u64;
    let claim = |claim: u64| Manners { claim: Some(claim), ..Manners::default() };
    for wrong in [size - 1, size + 1, 0] {
        scene.server.behave(claim(wrong));
        let error = scene.fails(REPO, &["model.safetensors"]);
        assert!(matches!(error, Error::Hub { .. }), "{error:?}");
        assert!(!scene.has_weights() && !scene.part().exists(), "{wrong}: {:?}", scene.cached());
    }
    // Without a length, the end of the connection is the end of the file.
    scene.server.behave(Manners { no_length: true, ..claim(size - 1) });
    scene.fails(REPO, &["sends more than the"]);
    assert!(!scene.has_weights() && !scene.part().exists());
    scene.server.behave(Manners { no_length: true, ..claim(size + 1) });
    scene.fails(REPO, &["model.safetensors"]);
    assert!(!scene.has_weights());
    scene.server.behave(Manners::default());
    scene.fetched();
}

#[test]
fn refusals_have_different_messages() {
    let scene = Scene::new();
    let refuse = |status: u16, code: &'static str, parts: &[&str]| {
        scene.server.behave(Manners { refuse: Some((status, code)), ..Manners::default() });
        let error = scene.fails(REPO, parts);
        assert!(matches!(error, Error::NoModel { .. }), "{error:?}");
        assert_eq!(scene.cached(), Vec::<String>::new());
    };
    let endpoint = scene.server.endpoint();
    let none: &[&str] = &["no model `some-org/tiny`: not in the cache", &endpoint, "shows no model", "check the name"];
    refuse(404, "", none);
    refuse(404, "RepoNotFound", none);
    refuse(401, "RepoNotFound", &["set HF_TOKEN"]);
    refuse(404, "RevisionNotFound", &["has no revision `main`"]);
    refuse(403, "GatedRepo", &["is gated", "accept its terms", "HF_TOKEN"]);
    refuse(503, "", &["answers 503", "try again later"]);
    refuse(429, "", &["answers 429", "try again later"]);
    // With a token, a refusal without an error code is attributed to the token.
    for (status, parts) in [(401, "refuses the token in HF_TOKEN (401)"), (403, "does not give access")] {
        scene.server.behave(Manners { refuse: Some((status, "")), ..Manners::default() });
        let line = scene.hub().with_token("hf_bad").fetch(REPO).expect_err("is refused").to_string();
        assert!(line.contains(parts) && line.contains("set HF_TOKEN to a"), "{line}");
        assert!(!line.contains("network") && !line.contains("hf_bad"), "{line}");
    }
    scene.server.behave(Manners { refuse: Some((401, "RepoNotFound")), ..Manners::default() });
    let line = scene.hub().with_token("hf_bad").fetch(REPO).expect_err("is refused").to_string();
    assert!(line.contains("shows no model") && line.contains("and HF_TOKEN if it is private"), "{line}");
    scene.server.behave(Manners::default());
    scene.server.asked();
    for token in ["hf_a b", "hf_a\nb", "hf_ä", "hf_\u{7f}"] {
        let line = scene.hub().with_token(token).fetch(REPO).expect_err("is no token").to_string();
        assert!(line.contains("invalid HF_TOKEN: character ") && !line.contains("reached"), "{line}");
    }
    assert_eq!(scene.server.asked().len(), 0);
    scene.fails("some-org/tinny", &["no model `some-org/tinny`", "shows no model `some-org/tinny`"]);
    scene.fails("some-org/tiny@v2", &["has no revision `v2`", "check what follows the @"]);
    let error = Model::named_with(&Device::host(), "some-org/tinny", &scene.hub()).err().expect("is none");
    let line = error.to_string();
    let embedded = "no embedded one (atlas-nano, atlas-micro, atlas-small, random, random-gpt2)";
    let tried = [embedded, "no directory", "not in the cache", &endpoint];
    assert!(tried.iter().all(|part| line.contains(part)), "{line}");
}

#[test]
fn a_hub_that_cannot_be_reached() {
    let scene = Scene::new();
    let dead = |endpoint: &str| Hub::new(scene.cache.path()).with_endpoint(endpoint).fetch(REPO).expect_err("fails");
    let line = dead("http://127.0.0.1:9").to_string();
    assert!(line.contains("http://127.0.0.1:9 cannot be reached: ") && line.contains("check the network"), "{line}");
    for endpoint in ["", "hub", "ftp://hub", "http://"] {
        let line = dead(endpoint).to_string();
        assert!(line.contains("invalid address `") && line.contains("check HF_ENDPOINT"), "{endpoint}: {line}");
    }
    for content in [None, Some("no certificate")] {
        let path = scene.cache.path().join("roots.pem");
        let _written = content.map(|text| fs::write(&path, text).expect("writable"));
        let line = scene.hub().with_certificates(&path).fetch(REPO).expect_err("fails").to_string();
        assert!(line.contains("roots.pem cannot be used: ") && line.contains("check SSL_CERT_FILE"), "{line}");
    }
    assert_eq!(scene.cached(), ["roots.pem"]);
}

/// Servers that send no valid commit are refused, such as login pages, or servers that send a path instead.
#[test]
fn servers_that_are_no_hub() {
    let scene = Scene::new();
    for commit in ["", "main", "../../../../x", "0123456789ABCDEF0123456789ABCDEF01234567"] {
        scene.server.behave(Manners { commit: Some(commit), ..Manners::default() });
        scene.fails(REPO, &["does not answer as a hub does", "check HF_ENDPOINT"]);
    }
    assert_eq!(scene.cached(), Vec::<String>::new());
}

#[test]
fn repositories_that_are_no_model() {
    let refused = |scene: &Scene, parts: &[&str]| {
        let error = scene.fails(REPO, parts);
        assert!(!scene.has_weights(), "{error}");
    };
    let bare = Scene::of(server().without("config.json"));
    refused(&bare, &["has no config.json", "some-org/tiny"]);
    let bare = Scene::of(server().without("model.safetensors").with("pytorch_model.bin", b"pickled"));
    refused(&bare, &["has no model.safetensors", "only safetensors are read"]);
    // The type of the model is checked before the weights are fetched.
    let bert = Scene::of(server().with("config.json", br#"{"model_type": "bert"}"#));
    refused(&bert, &["this family of models is not supported", "bert"]);
    assert!(bert.server.asked().iter().all(|a| !a.path.contains("safetensors")));
    let index = br#"{"weight_map": {"wte.weight": "../../../escape.safetensors"}}"#;
    let hostile = Scene::of(server().without("model.safetensors").with("model.safetensors.index.json", index));
    refused(&hostile, &["expected the name of a file beside the index"]);
    let index = br#"{"weight_map": {"wte.weight": "a.safetensors"}}"#;
    let partial = Scene::of(server().without("model.safetensors").with("model.safetensors.index.json", index));
    refused(&partial, &["has no a.safetensors"]);
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_written() {
    let scene = Scene::new();
    let file = scene.cache.path().join("file");
    fs::write(&file, b"").expect("writable");
    let error = Hub::new(&file).with_endpoint(&scene.server.endpoint()).fetch(REPO).expect_err("fails");
    let line = error.to_string();
    assert!(line.contains("cannot write ") && line.contains("HF_HUB_CACHE"), "{line}");
}
