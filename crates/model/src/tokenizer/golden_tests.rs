//! Compares ids with those of Hugging Face transformers, over the formats and options of its files. The cases are in
//! `tests/data/tokenizers.json`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::*;

/// Cases that are refused, by the start of their names, and the reason. All cases that are neither here nor in
/// [`OTHER_IDS`] have the ids of Hugging Face.
const REFUSED: [(&str, &str); 13] = [
    ("gpt2 lower", "tokenizer_class GPT2Tokenizer replaces the normalizer"),
    ("gpt2 nfkc", "tokenizer_class GPT2Tokenizer replaces the normalizer"),
    ("gpt2 strip", "tokenizer_class GPT2Tokenizer replaces the normalizer"),
    ("gpt2 digits", "tokenizer_class GPT2Tokenizer replaces the pre_tokenizer"),
    ("gpt2 fallback", "tokenizer_class GPT2Tokenizer replaces the normalizer"),
    ("gpt2 unknown", "tokenizer_class GPT2Tokenizer replaces options of the model"),
    ("gpt2 ignore merges", "tokenizer_class GPT2Tokenizer replaces options of the model"),
    ("old fast", "tokenizer_class asks for a tokenizer.json"),
    ("old other class", "tokenizer_class `CodeGenTokenizer` is not supported"),
    ("new other class", "tokenizer_class `BertTokenizer` is not supported"),
    ("fast prefix True", "`add_prefix_space` is true, but false in tokenizer.json"),
    ("fast prefix False", "`add_prefix_space` is false, but true in tokenizer.json"),
    ("file token that the decoder lacks", "its added token `<|user|>` is not in `added_tokens_decoder`"),
];

/// Cases that are refused because their files declare other ids than Hugging Face gives.
const OTHER_IDS: [&str; 4] = ["old decoder ids", "new decoder ids", "old added ids", "new added ids"];

struct Goldens(Value);

impl Goldens {
    fn open() -> Self {
        let path: PathBuf =
            [env!("CARGO_MANIFEST_DIR"), "..", "..", "tests", "data", "tokenizers.json"].iter().collect();
        Self(serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("json"))
    }

    fn list(&self, name: &str) -> &[Value] {
        self.0[name].as_array().expect("a list")
    }

    /// Returns the vocabulary by its name in the file.
    fn vocab(&self, name: &str) -> Value {
        let mut pieces: Vec<Value> = self.list("pieces").to_vec();
        if name == "full" {
            pieces.push(json!("<|endoftext|>"));
        }
        let entries = pieces.iter().enumerate().map(|(id, piece)| (text(piece).to_owned(), json!(id)));
        Value::Object(entries.collect())
    }

    fn merges(&self) -> String {
        let lines = self.list("merges").iter().map(|merge| format!("{}\n", text(merge)));
        lines.fold("#version: 0.2\n".to_owned(), |all, line| all + &line)
    }

    /// Writes the files of a case to a directory.
    fn write(&self, case: &Value, dir: &Path) {
        for (name, content) in object(&case["files"]) {
            let content = match (name.as_str(), content) {
                ("vocab.json", vocab) => self.vocab(text(vocab)).to_string(),
                ("merges.txt", _) => self.merges(),
                ("tokenizer.json", whole) => {
                    let mut whole = whole.clone();
                    if whole["model"]["vocab"] == "full" {
                        whole["model"]["vocab"] = self.vocab("full");
                        whole["model"]["merges"] = self.0["merges"].clone();
                    }
                    whole.to_string()
                }
                (_, settings) => text(settings).to_owned(),
            };
            std::fs::write(dir.join(name), content).expect("writable");
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

#[test]
fn ids_are_those_of_hugging_face() {
    let goldens = Goldens::open();
    let (mut compared, mut refused) = (0, 0);
    for case in goldens.list("cases") {
        let name = text(&case["name"]);
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("config.json"), r#"{"model_type": "gpt2"}"#).expect("writable");
        goldens.write(case, dir.path());
        let tokenizer = match Tokenizer::open(dir.path()) {
            Ok(tokenizer) => tokenizer.expect("a tokenizer"),
            Err(error) => {
                let line = error.to_string();
                let reason = REFUSED.iter().find(|(start, _)| name.starts_with(start)).map(|(_, reason)| *reason);
                let reason = reason.or(OTHER_IDS.contains(&name).then_some("is declared to have id"));
                assert!(reason.is_some_and(|reason| line.contains(reason)), "{name}: {line}");
                assert!(!line.contains('\n'), "{name}: {line}");
                refused += 1;
                continue;
            }
        };
        assert!(case.get("error").is_none(), "{name}: Hugging Face refuses it, {}", case["error"]);
        let [prompts, plain] = ["prompt", "plain"].map(|kind| {
            goldens.list("ids")[case[kind].as_u64().expect("an index") as usize].as_array().expect("a list")
        });
        for (at, text) in goldens.list("texts").iter().map(text).enumerate() {
            match tokenizer.prompt(text) {
                Ok(found) => assert_eq!(found, ids(&prompts[at]), "{name}: {text:?}"),
                // Hugging Face's library drops text that it has no token for. Here that is an error.
                Err(error) => {
                    let line = error.to_string();
                    assert!(line.contains("no token for") && name.contains("fallback"), "{name}: {line}");
                    continue;
                }
            }
            assert_eq!(tokenizer.encode(text).expect("has tokens"), ids(&plain[at]), "{name}: {text:?}");
            compared += 1;
        }
    }
    assert_eq!(refused, 20, "cases that are refused");
    assert!(compared > 2400, "{compared} texts were compared");
}
