//! The vocabulary of a GGUF file.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::super::metadata::Metadata;
use crate::error::shown;

/// What a piece is for. The discriminants are the numbers of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

impl Kind {
    fn of(value: &super::super::metadata::Value) -> Option<Self> {
        let all = [Self::Normal, Self::Unknown, Self::Control, Self::UserDefined, Self::Unused, Self::Byte];
        let number = value.whole()?;
        all.into_iter().find(|&kind| kind as u64 == number)
    }
}

/// The pieces, in the order of their ids.
pub(super) struct Pieces<'a> {
    texts: Vec<&'a str>,
    kinds: Vec<Kind>,
}

impl<'a> Pieces<'a> {
    pub(super) fn read(metadata: Metadata<'a>) -> Result<Self, String> {
        let missing = |key: &str| format!("the metadata lack `{key}`");
        let key = "tokenizer.ggml.tokens";
        let texts = metadata.texts(key)?.ok_or_else(|| missing(key))?;
        let mut seen = HashSet::new();
        if let Some((id, text)) = texts.iter().enumerate().find(|(_, text)| !text.is_empty() && !seen.insert(**text)) {
            return Err(format!("the token `{}` has two ids; one is {id}", shown(text)));
        }
        let key = "tokenizer.ggml.token_type";
        let kinds = metadata.values(key, texts.len())?.ok_or_else(|| missing(key))?;
        let kind =
            |(id, value)| Kind::of(value).ok_or_else(|| format!("`{key}` of token {id} is {value}; it must be 1 to 6"));
        let kinds = kinds.iter().enumerate().map(kind).collect::<Result<_, _>>()?;
        Ok(Self { texts, kinds })
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn text(&self, id: usize) -> Option<&'a str> {
        self.texts.get(id).copied().filter(|text| !text.is_empty())
    }

    /// Returns id, text and kind of all pieces that have a text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &'a str, Kind)> {
        let all = self.texts.iter().zip(&self.kinds).enumerate();
        all.filter(|(_, (text, _))| !text.is_empty()).map(|(id, (text, kind))| (id, *text, *kind))
    }
}

/// Returns the `vocab` of a tokenizer.json.
pub(super) fn vocab<'a>(pieces: impl Iterator<Item = (usize, &'a str)>) -> Value {
    Value::Object(pieces.map(|(id, text)| (text.to_owned(), json!(id))).collect::<Map<_, _>>())
}

/// Returns the `model` of a tokenizer.json.
pub(super) fn bpe(vocab: Value, merges: Vec<[&str; 2]>) -> Value {
    let merges = merges.into_iter().map(|pair| json!(pair)).collect();
    let mut model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
    });
    model["vocab"] = vocab;
    model["merges"] = Value::Array(merges);
    model
}
