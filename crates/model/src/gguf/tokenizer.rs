//! The `tokenizer.json` that describes the tokenizer of a GGUF file.

mod byte_level;
mod pieces;
mod pre;
mod sentencepiece;

use std::path::Path;

use serde_json::{Value, json};

use super::arch::Arch;
use super::metadata::Metadata;
use crate::error::{Error, Result, shown};
use crate::tokenizer::Tokenizer;
use pieces::{Kind, Pieces};

/// Builds the tokenizer; `None` if the file has none.
pub(super) fn build(path: &Path, metadata: Metadata<'_>, arch: Arch) -> Result<Option<Tokenizer>> {
    let fail = |message: String| Error::GgufTokenizer { path: path.into(), message };
    let Some(json) = describe(metadata, arch).map_err(fail)? else { return Ok(None) };
    match Tokenizer::from_bytes(&path.to_string_lossy(), json.to_string().as_bytes()) {
        Err(Error::Tokenizer { message, .. }) => Err(fail(message)),
        built => built.map(Some),
    }
}

/// Returns the content of a `tokenizer.json`.
fn describe(metadata: Metadata<'_>, arch: Arch) -> Result<Option<Value>, String> {
    let Some(model) = metadata.text("tokenizer.ggml.model")? else { return Ok(None) };
    let build = match model {
        "gpt2" => byte_level::parts,
        "llama" => sentencepiece::parts,
        "none" | "no_vocab" => return Ok(None),
        other => {
            let other = shown(other);
            return Err(format!(
                "it is of kind `{other}`; gpt2 (byte-level BPE) and llama (SentencePiece) are supported"
            ));
        }
    };
    let pieces = Pieces::read(metadata)?;
    let parts = build(metadata, arch, &pieces)?;
    Ok(Some(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added(&pieces),
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": around(metadata, &pieces, parts.begins)?,
        "decoder": parts.decoder,
        "model": parts.model,
    })))
}

/// The parts of a `tokenizer.json` that depend on the kind of model.
struct Parts {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    model: Value,
    /// Whether a prompt begins with the token of `bos_token_id` unless the file says otherwise.
    begins: bool,
}

/// Returns the tokens that are found in a text before it is split.
fn added(pieces: &Pieces<'_>) -> Vec<Value> {
    let token = |(id, text, kind): (usize, &str, Kind)| {
        let special = match kind {
            Kind::Control | Kind::Unknown => true,
            Kind::UserDefined => false,
            Kind::Normal | Kind::Unused | Kind::Byte => return None,
        };
        Some(json!({
            "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": special,
        }))
    };
    pieces.iter().filter_map(token).collect()
}

/// Returns the post-processor, which puts tokens around a prompt.
fn around(metadata: Metadata<'_>, pieces: &Pieces<'_>, begins: bool) -> Result<Value, String> {
    let (mut template, mut special) = (vec![json!({"Sequence": {"id": "A", "type_id": 0}})], serde_json::Map::new());
    for (name, default, first) in [("bos", begins, true), ("eos", false, false)] {
        if !metadata.flag(&format!("tokenizer.ggml.add_{name}_token"))?.unwrap_or(default) {
            continue;
        }
        let key = format!("tokenizer.ggml.{name}_token_id");
        let id = metadata.whole(&key)?.ok_or_else(|| format!("the metadata lack `{key}`"))?;
        let text = usize::try_from(id).ok().and_then(|id| pieces.text(id));
        let text = text.ok_or_else(|| format!("`{key}` is {id}, which is no token"))?;
        let at = if first { 0 } else { template.len() };
        template.insert(at, json!({"SpecialToken": {"id": text, "type_id": 0}}));
        special.insert(text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}));
    }
    if special.is_empty() {
        return Ok(Value::Null);
    }
    let pair = [&template[..], &[json!({"Sequence": {"id": "B", "type_id": 1}})]].concat();
    Ok(json!({"type": "TemplateProcessing", "single": template, "pair": pair, "special_tokens": special}))
}
