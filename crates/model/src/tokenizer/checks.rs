//! Checks of tokenizer files that the tokenizers crate (0.23) omits, and without which it panics or does not terminate.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::error::shown;

/// Largest accepted id. Tokens that are added later get ids after the largest one, in u32.
pub(super) const MAX_ID: u32 = i32::MAX as u32;

/// Checks the parts of a tokenizer.json.
pub(super) fn check(json: &Map<String, Value>) -> Result<(), String> {
    let model = json.get("model").and_then(Value::as_object).ok_or("`model` is missing")?;
    check_model(model)?;
    for part in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] {
        json.get(part).map_or(Ok(()), |value| check_part(part, value))?;
    }
    Ok(())
}

fn check_model(model: &Map<String, Value>) -> Result<(), String> {
    let vocab = model.get("vocab");
    if let Some(vocab) = vocab.and_then(Value::as_object) {
        let large = vocab.iter().find(|(_, id)| id.as_u64().is_some_and(|id| id > u64::from(MAX_ID)));
        if let Some((piece, id)) = large {
            return Err(format!("the id {id} of `{}` is larger than any vocabulary", shown(piece)));
        }
    }
    if model.get("dropout").and_then(Value::as_f64).is_some_and(|p| p != 0.0) {
        return Err("`dropout` is set: ids would be drawn at random; set it to null".to_owned());
    }
    let (Some(vocab), Some(merges)) = (vocab, model.get("merges")) else { return Ok(()) };
    let vocab = vocab.as_object().ok_or("`model.vocab` must be an object of pieces and ids")?;
    if model.get("continuing_subword_prefix").and_then(Value::as_str).is_some_and(|s| !s.is_empty()) {
        return Err("`continuing_subword_prefix` is not supported with BPE".to_owned());
    }
    for merge in merges.as_array().ok_or("`model.merges` must be a list")? {
        let pair = match merge {
            Value::String(line) => line.split_once(' '),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(a), Value::String(b)] => Some((a.as_str(), b.as_str())),
                _ => None,
            },
            _ => None,
        };
        let (a, b) = pair.ok_or_else(|| format!("the merge {} is not a pair", shown(&merge.to_string())))?;
        check_merge(|piece| vocab.contains_key(piece), a, b)?;
    }
    Ok(())
}

/// Checks that the vocabulary has both pieces of a merge, and its result.
pub(super) fn check_merge(known: impl Fn(&str) -> bool, a: &str, b: &str) -> Result<(), String> {
    let whole = format!("{a}{b}");
    match [a, b, &whole].into_iter().find(|piece| !known(piece)) {
        None => Ok(()),
        Some(piece) => {
            let [a, b, piece] = [a, b, piece].map(shown);
            Err(format!("the merge `{a} {b}` needs `{piece}`, which the vocabulary lacks"))
        }
    }
}

/// Checks one part of the pipeline. If it is a sequence, checks its parts as well.
fn check_part(part: &str, value: &Value) -> Result<(), String> {
    let Some(map) = value.as_object() else { return Ok(()) };
    let lists = ["normalizers", "pretokenizers", "processors", "decoders"];
    for inner in lists.iter().filter_map(|list| map.get(*list)?.as_array()).flatten() {
        check_part(part, inner)?;
    }
    let wrong = |what: &str| Err(format!("`{part}`: {what}"));
    let number = |key: &str| map.get(key).and_then(Value::as_u64);
    match map.get("type").and_then(Value::as_str) {
        Some("FixedLength") if number("length") == Some(0) => wrong("`length` is 0; it must be 1 or more"),
        Some("Strip") if part == "decoder" && number("stop").is_some_and(|stop| stop > 0) => {
            wrong("`stop` of a Strip decoder is not supported; set it to 0")
        }
        Some("Precompiled") => wrong("a Precompiled normalizer (of SentencePiece) is not supported"),
        Some("TemplateProcessing") => check_template(map),
        _ => Ok(()),
    }
}

/// Checks that a template names only special tokens that it lists.
fn check_template(map: &Map<String, Value>) -> Result<(), String> {
    let listed: HashSet<&str> = match map.get("special_tokens").and_then(Value::as_object) {
        Some(tokens) => tokens.keys().map(String::as_str).collect(),
        None => HashSet::new(),
    };
    let pieces = ["single", "pair"].iter().filter_map(|key| map.get(*key)?.as_array()).flatten();
    let mut named = pieces.filter_map(|piece| piece.get("SpecialToken")?.get("id")?.as_str());
    match named.find(|id| !listed.contains(id)) {
        None => Ok(()),
        Some(id) => Err(format!("`post_processor`: the template names `{}`, which it does not list", shown(id))),
    }
}
