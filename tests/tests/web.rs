//! What the page for browsers calls, on this platform: the same requests and answers, without a browser.

use resolvent::model::{DEFAULT_MODEL, Model, Observable};
use resolvent::prelude::Device;
use resolvent_web::Explorer;
use serde_json::{Value, json};

use crate::architecture::{root, text};

const CLEAN: &str = "When Mary and John went to the store, John gave a drink to";
const CORRUPTED: &str = "When Mary and John went to the store, Mary gave a drink to";

/// Returns the files of an embedded model, as the page fetches them.
fn files(model: &str) -> Vec<(String, Vec<u8>)> {
    let atlas = root().join("crates/model/atlas");
    let paths = [format!("{model}/config.json"), format!("{model}/model.safetensors"), "tokenizer.json".to_owned()];
    let file = |path: &String| {
        let name = path.rsplit('/').next().expect("has a name").to_owned();
        (name, std::fs::read(atlas.join(path)).unwrap_or_else(|e| panic!("{path}: {e}")))
    };
    paths.iter().map(file).collect()
}

fn nano() -> Explorer {
    let mut explorer = Explorer::new();
    let about = explorer.open("atlas-nano", files("nano")).expect("opens");
    let about: Value = serde_json::from_str(&about).expect("is JSON");
    assert_eq!((&about["name"], &about["text"]), (&json!("atlas-nano"), &json!(true)));
    explorer
}

fn request(analysis: &str, more: &Value) -> String {
    let mut request = json!({
        "analysis": analysis, "clean": CLEAN, "corrupted": CORRUPTED, "target": " Mary", "against": " John",
    });
    let all = request.as_object_mut().expect("is an object");
    all.extend(more.as_object().expect("is an object").clone());
    request.to_string()
}

/// Returns the message of a request that fails.
fn refused(explorer: &Explorer, request: &str) -> String {
    explorer.ask(request).expect_err("is refused").to_string()
}

#[test]
fn answers_are_those_of_the_library() {
    let (explorer, device) = (nano(), Device::host());
    let model = Model::named(&device, "atlas-nano").expect("is embedded");
    let tokens = |text: &str| model.tokenizer().expect("has one").prompt(text).expect("has tokens");
    let runs = model.run_all(&[tokens(CLEAN), tokens(CORRUPTED)], &Default::default()).expect("runs");
    let token = |text: &str| model.token(text).expect("is one");
    let j = Observable::logit_diff(token(" Mary"), token(" John"), runs[0].tokens().len() - 1);
    let ours = explorer.ask(&request("patch", &json!({}))).expect("passes its checks");
    let theirs = resolvent::patch(&runs[0], &runs[1], &j).expect("passes its checks");
    assert_eq!((&ours.result().arrays, &ours.result().metadata), (&theirs.arrays, &theirs.metadata));

    let shown: Value = serde_json::from_str(&ours.shown_json()).expect("is JSON");
    assert_eq!(shown["labels"][9], " Mary");
    assert_eq!(shown["checks"].as_array().map(Vec::len), Some(theirs.certificates.len()));
    assert!(shown["figures"][0]["svg"].as_str().is_some_and(|svg| svg.starts_with("<svg")));
    // The plot that the page itself shows has the colours of the page.
    assert!(shown["scatter"].as_str().is_some_and(|svg| svg.starts_with("<svg") && svg.contains("var(--ink)")));
    let file = ours.safetensors().expect("is written");
    let read = safetensors::SafeTensors::deserialize(&file).expect("is a safetensors file");
    let effect = read.tensor("effect").expect("is in the file").data();
    let stored: Vec<f32> = effect.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(stored, ours.result().array("effect").expect("is in the result").data);
}

#[test]
fn every_analysis_answers_with_its_checks() {
    let explorer = nano();
    let source = json!({ "place": [1, -1], "amplitudes": [0.5, 1.0], "direction": "displacement" });
    for (analysis, array) in
        [("run", "logits"), ("lens", "top_tokens"), ("sensitivity", "norm"), ("green", "energy"), ("regime", "finite")]
    {
        let answer = explorer.ask(&request(analysis, &source)).unwrap_or_else(|e| panic!("{analysis}: {e}"));
        let result = answer.result();
        assert_eq!(result.metadata["analysis"], analysis);
        assert!(result.array(array).is_some() && !result.certificates.is_empty(), "{analysis}");
    }
    // The displacement with amplitude 1 is the patch of that place.
    let finite = explorer.ask(&request("regime", &source)).expect("passes its checks");
    let patch = explorer.ask(&request("patch", &json!({}))).expect("passes its checks");
    let effect = patch.result().array("effect").expect("is there");
    let [finite, effect] =
        [finite.result().array("finite").expect("is there").data[1], effect.data[2 * effect.axes[1].1 - 1]];
    assert!(effect != 0.0 && (finite - effect).abs() <= 1e-5 * effect.abs(), "{finite} and {effect}");
}

#[test]
fn wrong_requests_are_explained() {
    let explorer = nano();
    let patch = |more: &Value| refused(&explorer, &request("patch", more));
    assert!(refused(&explorer, "{").starts_with("invalid request: "));
    assert!(refused(&explorer, &request("guess", &json!({}))).contains("unknown variant `guess`"));
    assert!(patch(&json!({ "colour": 1 })).contains("unknown field `colour`"));
    assert!(patch(&json!({ "corrupted": "The" })).ends_with("give prompts of the same length"));
    assert!(patch(&json!({ "target": "Mary Mary" })).contains("it must be one token"));
    assert!(patch(&json!({ "clean": "", "corrupted": "" })).contains("the prompt is empty"));
    let green = |more: &Value| refused(&explorer, &request("green", more));
    assert!(green(&json!({})).contains("no place was given"));
    assert!(green(&json!({ "place": [99, 0] })).contains("level 99 is out of range"));
    assert!(green(&json!({ "place": [0, 0], "direction": "/etc/passwd" })).starts_with("invalid direction"));
    assert!(refused(&Explorer::new(), &request("patch", &json!({}))).contains("no model is open"));
    let error = explorer.check_kernels(&mut |_| {}).expect_err("is the host executor").to_string();
    assert!(error.contains("nothing to compare its kernels with; choose WebGPU"), "{error}");
    let error = Explorer::new().bench("x", &mut |_| {}).expect_err("no files were added").to_string();
    assert!(error.contains("no model `x`") || error.contains("cannot read x"), "{error}");
}

#[test]
fn tokens_are_listed_and_completed() {
    let explorer = nano();
    let list = |text: String| serde_json::from_str::<Vec<String>>(&text).expect("is a list");
    let tokens = list(explorer.tokens(CLEAN).expect("has tokens"));
    assert_eq!((tokens.len(), tokens.concat().as_str()), (14, CLEAN));
    let found = list(explorer.completions(" Ma", 5).expect("a model is open"));
    assert!((1..=5).contains(&found.len()) && found.iter().all(|text| text.starts_with(" Ma")), "{found:?}");
}

/// A model whose files are in memory is the same model: also one GGUF file, and with the messages of damaged files.
#[test]
fn files_in_memory_are_opened_as_those_of_a_folder() {
    let device = Device::host();
    let mut explorer = Explorer::new();
    let gguf = root().join("tests/data/gguf/llama.gguf");
    let bytes = std::fs::read(&gguf).expect("is there");
    let about = explorer.open("llama", vec![("llama.gguf".to_owned(), bytes)]).expect("opens");
    let hash = Model::open(&device, &gguf).expect("opens").hash().to_owned();
    assert!(about.contains(&hash), "{about}");
    let error =
        explorer.open("x", vec![("x.gguf".to_owned(), b"not a model".to_vec())]).expect_err("is none").to_string();
    assert!(error.contains("x.gguf") && error.contains("does not begin with GGUF"), "{error}");
    let error = explorer.open("x", files("nano").split_off(1)).expect_err("has no configuration").to_string();
    assert!(error.contains("config.json"), "{error}");
    let mut cut = files("nano");
    cut[1].1.truncate(100_000);
    let error = explorer.open("x", cut).expect_err("is cut").to_string();
    assert!(error.contains("model.safetensors") && error.contains("truncated"), "{error}");
    assert!(
        refused(&explorer, &request("patch", &json!({}))).contains("no model is open"),
        "the earlier one is closed"
    );
}

/// Files that arrive in pieces are those files. What does not fit is refused before memory is taken.
#[test]
fn files_arrive_in_pieces() {
    let mut explorer = Explorer::new();
    let arrive = |explorer: &mut Explorer, files: Vec<(String, Vec<u8>)>| {
        for (name, bytes) in files {
            explorer.begin_file(&name, bytes.len() as u64 / 2).expect("has room");
            bytes.chunks(100_000).for_each(|piece| explorer.append(piece).expect("has room"));
        }
    };
    arrive(&mut explorer, files("nano"));
    let about = explorer.open_added("atlas-nano").expect("opens");
    let mut other = Explorer::new();
    assert_eq!(about, other.open("atlas-nano", files("nano")).expect("opens"));
    explorer.begin_file("cut.gguf", 4).expect("has room");
    let error = explorer.begin_file("huge.gguf", 1 << 62).expect_err("has no room").to_string();
    assert!(error.starts_with("no memory for huge.gguf: it has 4294967296.0 GiB, beside 0.0 MiB"), "{error}");
    explorer.ask(&request("patch", &json!({}))).expect("the model is still open");
    // Files of a transfer that broke off are not part of the next model.
    explorer.drop_files();
    assert!(explorer.append(b"x").expect_err("no file was begun").to_string().contains("no file was begun"));
    arrive(&mut explorer, files("nano"));
    assert_eq!(explorer.open_added("atlas-nano").expect("opens"), about);
    assert!(explorer.lost().is_none());
}

/// The page opens the model that the command line opens.
#[test]
fn the_page_states_the_default() {
    let page = text("crates/web/page/state.js");
    assert!(page.contains(&format!("model: \"{DEFAULT_MODEL}\"")));
}

/// Another device closes the model, and gives the same numbers.
#[test]
fn devices_are_chosen_by_name() {
    let mut explorer = nano();
    let effect = |explorer: &Explorer| {
        let answer = explorer.ask(&request("patch", &json!({}))).expect("passes its checks");
        answer.result().array("effect").expect("is there").data.clone()
    };
    let host = effect(&explorer);
    for (name, is_host) in [("gpu", false), ("host", true)] {
        let about: Value = serde_json::from_str(&explorer.choose(name).expect("opens")).expect("is JSON");
        assert_eq!(about["host"], is_host, "{about}");
        assert!(refused(&explorer, &request("patch", &json!({}))).contains("no model is open"));
        explorer.open("atlas-nano", files("nano")).expect("opens");
        let other = effect(&explorer);
        let most = host.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let apart = host.iter().zip(&other).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(apart <= 2e-5 * most, "{name}: {apart} of {most}");
    }
    let error = explorer.choose("no such adapter").expect_err("is none").to_string();
    assert!(error.contains("no such adapter"), "{error}");
    assert_eq!(effect(&explorer), host, "device and model stay open");
}
