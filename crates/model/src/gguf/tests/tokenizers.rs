//! Ids are those of the models' own tokenizers: `tests/data/gguf/tokenizers.json`.

use super::super::writer::{Field, llama};
use super::*;

fn goldens(kind: &str) -> Value {
    let all: Value = serde_json::from_slice(&std::fs::read(golden("tokenizers.json")).expect("a file")).expect("json");
    all[kind].clone()
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("the right type")
}

/// Returns a model with a vocabulary.
fn model(kind: &str, cases: &Value) -> Writer {
    llama()
        .set("tokenizer.ggml.model", Field::Text(kind.to_owned()))
        .set("tokenizer.ggml.tokens", Field::Texts(read(&cases["pieces"])))
        .set("tokenizer.ggml.token_type", Field::I32s(read(&cases["kinds"])))
        .without("tokenizer.ggml.add_bos_token")
}

/// Returns the tokenizer of a file, as that of a model of another architecture.
fn tokenizer_of(writer: &Writer, arch: &str) -> Tokenizer {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("model.gguf");
    writer.write(&path);
    let file = GgufFile::open(path).unwrap_or_else(|e| panic!("{e}"));
    let built = tokenizer::build(file.path(), file.metadata(), Arch::of(arch).expect("is read"));
    built.unwrap_or_else(|e| panic!("{e}")).expect("a tokenizer")
}

#[test]
fn byte_level_ids_are_those_of_hugging_face() {
    let goldens = goldens("byte_level");
    let texts: Vec<String> = read(&goldens["texts"]);
    let cases = goldens["cases"].as_array().expect("a list");
    for case in cases {
        let mut writer = model("gpt2", &goldens)
            .set("tokenizer.ggml.merges", Field::Texts(read(&goldens["merges"])))
            .set("tokenizer.ggml.bos_token_id", Field::U32(271))
            .without("tokenizer.ggml.pre");
        if let Some(pre) = case["pre"].as_str() {
            writer = writer.set("tokenizer.ggml.pre", Field::Text(pre.to_owned()));
        }
        let tokenizer = tokenizer_of(&writer, &read::<String>(&case["arch"]));
        let ids: Vec<Vec<u32>> = read(&case["ids"]);
        for (text, ids) in texts.iter().zip(&ids) {
            let found = tokenizer.prompt(text).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(&found, ids, "{} {} {text:?}", case["pre"], case["arch"]);
        }
    }
    assert_eq!(cases.len(), 11);
}

#[test]
fn sentencepiece_ids_are_those_of_sentencepiece() {
    let goldens = goldens("sentencepiece");
    let texts: Vec<String> = read(&goldens["texts"]);
    for case in goldens["cases"].as_array().expect("a list") {
        let writer = model("llama", &goldens)
            .set("tokenizer.ggml.scores", Field::F32s(read(&goldens["scores"])))
            .set("tokenizer.ggml.add_space_prefix", Field::Flag(read(&case["prefix"])))
            .set("tokenizer.ggml.bos_token_id", Field::U32(1));
        let tokenizer = tokenizer_of(&writer, "llama");
        let ids: Vec<Vec<u32>> = read(&case["ids"]);
        for (text, ids) in texts.iter().zip(&ids) {
            assert_eq!(&tokenizer.encode(text).unwrap_or_else(|e| panic!("{e}")), ids, "{} {text:?}", case["prefix"]);
            assert_eq!(&tokenizer.decode(ids).expect("known ids"), text);
            let prompt = tokenizer.prompt(text).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((prompt[0], &prompt[1..]), (1, ids.as_slice()), "a prompt begins with <s>");
        }
    }
}

#[test]
fn tokens_around_a_prompt_are_those_of_the_file() {
    let ids = |writer: &Writer| {
        let gguf = opened(writer).expect("a model");
        let tokenizer = gguf.tokenizer().unwrap_or_else(|e| panic!("{e}")).expect("a tokenizer");
        tokenizer.prompt("Hi<|user|>the").expect("ids")
    };
    assert_eq!(ids(&llama()), [9, 6, 10, 8]);
    assert_eq!(ids(&llama().without("tokenizer.ggml.add_bos_token")), [6, 10, 8]);
    let both = llama().set("tokenizer.ggml.add_eos_token", Field::Flag(true));
    assert_eq!(ids(&both.set("tokenizer.ggml.eos_token_id", Field::U32(9))), [9, 6, 10, 8, 9]);
}

#[test]
fn tokenizers_that_are_not_supported_are_named() {
    let error = |writer: &Writer| {
        let error = opened(writer).expect("the model can be used").tokenizer().expect_err("is refused").to_string();
        assert!(error.contains("give token ids instead of text") && !error.contains('\n'), "{error}");
        error
    };
    let text = |text: &str| Field::Text(text.to_owned());
    assert!(error(&llama().set("tokenizer.ggml.model", text("t5"))).contains("of kind `t5`; gpt2"));
    assert!(error(&llama().set("tokenizer.ggml.pre", text("falcon"))).contains("`falcon`; gpt-2, olmo"));
    assert!(error(&llama().without("tokenizer.ggml.pre")).contains("does not say how a text is split"));
    assert!(error(&llama().without("tokenizer.ggml.merges")).contains("lack `tokenizer.ggml.merges`"));
    assert!(error(&llama().without("tokenizer.ggml.token_type")).contains("lack `tokenizer.ggml.token_type`"));
    assert!(error(&llama().without("tokenizer.ggml.bos_token_id")).contains("lack `tokenizer.ggml.bos_token_id`"));
    assert!(error(&llama().set("tokenizer.ggml.bos_token_id", Field::U32(11))).contains("is 11, which is no token"));
    let merges = |merge: &str| llama().set("tokenizer.ggml.merges", Field::Texts(vec![merge.to_owned()]));
    assert!(error(&merges("Hi")).contains("the merge `Hi` is not a pair"));
    assert!(error(&merges("H x")).contains("needs `x`, which the vocabulary lacks"));
    let kinds = |kinds: Vec<i32>| llama().set("tokenizer.ggml.token_type", Field::I32s(kinds));
    assert!(error(&kinds(vec![1; 10])).contains("must be a list of 11 numbers, found 10"));
    assert!(error(&kinds(vec![7; 11])).contains("of token 0 is 7; it must be 1 to 6"));
    let twice = Field::Texts(vec!["a".to_owned(); 11]);
    assert!(error(&llama().set("tokenizer.ggml.tokens", twice)).contains("the token `a` has two ids"));
    let pieces = llama().set("tokenizer.ggml.model", text("llama"));
    assert!(error(&pieces.clone().without("tokenizer.ggml.scores")).contains("lack `tokenizer.ggml.scores`"));
    let nan = pieces.set("tokenizer.ggml.scores", Field::F32s(vec![f32::NAN; 11]));
    assert!(error(&nan).contains("of token 0 is NaN"));
    let none = opened(&llama().without("tokenizer.ggml.model")).expect("a model");
    assert!(none.tokenizer().expect("no tokenizer").is_none());
}
