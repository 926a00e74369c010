//! BPE of SentencePiece: pieces with scores, a mark for spaces, bytes for unknown characters.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::super::arch::Arch;
use super::super::metadata::{self, Metadata};
use super::Parts;
use super::pieces::{Kind, Pieces, bpe, vocab};
use crate::error::shown;

/// The mark that pieces have in place of a space.
const SPACE: &str = "\u{2581}";

/// Longest piece in characters. Merges are found by cutting each piece at every place.
const LONGEST: usize = 1024;

/// Returns the parts of a tokenizer.json.
pub(super) fn parts(metadata: Metadata<'_>, arch: Arch, pieces: &Pieces<'_>) -> Result<Parts, String> {
    let key = "tokenizer.ggml.remove_extra_whitespaces";
    if metadata.flag(key)? == Some(true) {
        return Err(format!("`{key}` is true, which is not supported"));
    }
    let texts = spelled(pieces, arch)?;
    let merges = merges(metadata, arch, pieces.len(), &texts)?;
    let mut model = bpe(vocab(texts.iter().map(|(id, text, _)| (*id, text.as_str()))), merges);
    let unknown = metadata.whole("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
    let unknown = usize::try_from(unknown).ok().and_then(|id| pieces.text(id));
    model["unk_token"] = json!(unknown);
    model["fuse_unk"] = json!(true);
    model["byte_fallback"] = json!(true);
    let prefix = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let replace = |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut normalizers = vec![replace(" ", SPACE)];
    let mut decoders = vec![replace(SPACE, " "), json!({"type": "ByteFallback"}), json!({"type": "Fuse"})];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(Parts {
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: Value::Null,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model,
        begins: true,
    })
}

/// Returns the pieces as the model spells them.
///
/// The converter writes runs of spaces as spaces, and Gemma's tokenizer.json has a tab in place of its byte.
fn spelled(pieces: &Pieces<'_>, arch: Arch) -> Result<Vec<(usize, String, Kind)>, String> {
    let spell = |(id, text, kind): (usize, &str, Kind)| {
        if text.len() > LONGEST {
            return Err(format!("the token `{}` is longer than {LONGEST} bytes", shown(text)));
        }
        let text = match text {
            "<0x09>" if arch.is_gemma() => "\t".to_owned(),
            text if text.trim_matches(' ').is_empty() => text.replace(' ', SPACE),
            text => text.to_owned(),
        };
        Ok((id, text, kind))
    };
    let spelled = pieces.iter().map(spell).collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    match spelled.iter().find(|(_, text, _)| !seen.insert(text)) {
        None => Ok(spelled),
        Some((id, text, _)) => Err(format!("the token `{}` has two ids; one is {id}", shown(text))),
    }
}

/// Returns the merges in their order: for each piece, best first, all pairs of pieces that make it.
///
/// `count` is the number of tokens. SentencePiece merges the pair whose result has the best score. In Gemma's
/// tokenizer.json the order is that of the ids.
fn merges<'a>(
    metadata: Metadata<'_>,
    arch: Arch,
    count: usize,
    texts: &'a [(usize, String, Kind)],
) -> Result<Vec<[&'a str; 2]>, String> {
    let key = "tokenizer.ggml.scores";
    let scores = metadata.values(key, count)?.ok_or_else(|| format!("the metadata lack `{key}`"))?;
    let scores: Vec<f64> = scores.iter().map(|x| metadata::Value::number(x).unwrap_or(f64::NAN)).collect();
    if let Some((id, score)) = scores.iter().enumerate().find(|(_, score)| !score.is_finite()) {
        return Err(format!("`{key}` of token {id} is {score}"));
    }
    let is_text = |kind: Kind| matches!(kind, Kind::Normal | Kind::UserDefined);
    let tab = |text: &str| text == "\t";
    let ids: HashMap<&str, usize> = texts
        .iter()
        .filter(|(_, text, kind)| is_text(*kind) || tab(text))
        .map(|(id, text, _)| (text.as_str(), *id))
        .collect();
    let mut found = Vec::new();
    for (&text, &id) in &ids {
        let score = if arch.is_gemma() { -(id as f64) } else { scores[id] };
        for (at, _) in text.char_indices().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some(&a), Some(&b)) = (ids.get(left), ids.get(right)) {
                found.push((score, id, a, b, [left, right]));
            }
        }
    }
    // Of equal scores, the smaller ids come first.
    found.sort_by(|x, y| y.0.total_cmp(&x.0).then((x.1, x.2, x.3).cmp(&(y.1, y.2, y.3))));
    Ok(found.into_iter().map(|(.., pair)| pair).collect())
}
