//! Byte-level BPE, as GPT-2 introduced it.

use serde_json::{Value, json};

use super::super::arch::Arch;
use super::super::metadata::Metadata;
use super::Parts;
use super::pieces::{Pieces, bpe, vocab};
use super::pre::Split;
use crate::error::shown;

/// Returns the parts of a tokenizer.json.
pub(super) fn parts(metadata: Metadata<'_>, arch: Arch, pieces: &Pieces<'_>) -> Result<Parts, String> {
    let split = Split::of(metadata.text("tokenizer.ggml.pre")?, arch)?;
    let key = "tokenizer.ggml.merges";
    let merges = metadata.texts(key)?.ok_or_else(|| format!("the metadata lack `{key}`"))?;
    let merges = merges.into_iter().map(pair).collect::<Result<_, _>>()?;
    let mut model = bpe(vocab(pieces.iter().map(|(id, text, _)| (id, text))), merges);
    model["ignore_merges"] = json!(split.ignore_merges);
    let prefix = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(false);
    Ok(Parts {
        normalizer: if split.compose { json!({"type": "NFC"}) } else { Value::Null },
        pre_tokenizer: split.pre_tokenizer(prefix),
        decoder: json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}),
        model,
        begins: split.begins,
    })
}

/// Splits a merge. Its first piece is never empty, but may be a space.
fn pair(merge: &str) -> Result<[&str; 2], String> {
    let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
    match at {
        Some(at) if at + 1 < merge.len() => Ok([&merge[..at], &merge[at + 1..]]),
        _ => Err(format!("the merge `{}` is not a pair", shown(merge))),
    }
}
