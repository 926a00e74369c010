//! Text to token ids and back, for GPT-2's byte-level BPE and for whatever else a `tokenizer.json` describes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Map, Value};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper};

use crate::error::{Error, Result, shown};
use crate::files;

/// GPT-2's one special token.
const END_OF_TEXT: &str = "<|endoftext|>";

/// A tokenizer of a model directory.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Whether pieces are spelled in GPT-2's byte alphabet (`ĠParis` for ` Paris`).
    byte_level: bool,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Opens `tokenizer.json`, or else `vocab.json` with `merges.txt`; none where the directory has neither.
    ///
    /// # Errors
    /// A file cannot be read or is damaged, or only one of `vocab.json` and `merges.txt` is there.
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        let [whole, vocab, merges] = ["tokenizer.json", "vocab.json", "merges.txt"].map(|name| dir.join(name));
        let inner = if whole.exists() {
            from_json(&files::read(&whole)?).map_err(|message| Error::Tokenizer { path: whole, message })?
        } else if vocab.exists() || merges.exists() {
            let entries =
                parse_vocab(&files::read(&vocab)?).map_err(|message| Error::Tokenizer { path: vocab, message })?;
            from_bpe(entries, &files::read(&merges)?).map_err(|message| Error::Tokenizer { path: merges, message })?
        } else {
            return Ok(None);
        };
        Ok(Some(Self::from_inner(inner)))
    }

    /// A tokenizer from the bytes of a `tokenizer.json`; `name` stands for the file in messages.
    ///
    /// # Errors
    /// The bytes are no tokenizer that the `tokenizers` crate can read.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let inner = from_json(bytes).map_err(|message| Error::Tokenizer { path: name.into(), message })?;
        Ok(Self::from_inner(inner))
    }

    fn from_inner(inner: tokenizers::Tokenizer) -> Self {
        let byte_level = matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_)));
        Self { inner, byte_level }
    }

    /// Number of tokens, special ones included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether there are no tokens at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of a text, with no special tokens put around it. `<|endoftext|>` in the text is that token.
    ///
    /// # Errors
    /// [`Error::Encoding`] where a part of the text has no token, as in a vocabulary that lacks some bytes.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| encoding_error(format!("`{}` cannot be encoded: {e}", shown(text))))?;
        let ids = encoding.get_ids().to_vec();
        // BPE drops bytes that it has no token for; a prompt must not change silently.
        if self.byte_level && self.inner.get_normalizer().is_none() {
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id).unwrap_or_default()).collect();
            if bytes != text.as_bytes() && bytes.strip_prefix(b" ") != Some(text.as_bytes()) {
                let message = format!("`{}` has characters that this tokenizer has no token for", shown(text));
                return Err(encoding_error(message));
            }
        }
        Ok(ids)
    }

    /// The text of some ids. Bytes that are not UTF-8 become U+FFFD; special tokens are kept.
    ///
    /// # Errors
    /// [`Error::Encoding`] where an id is not in the tokenizer.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            return Err(encoding_error(format!("token #{id} is not in the tokenizer, which has {}", self.len())));
        }
        if self.byte_level {
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id).unwrap_or_default()).collect();
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        self.inner.decode(ids, false).map_err(|e| encoding_error(format!("the tokens cannot be decoded: {e}")))
    }

    /// Display text of one token: its piece of text with its space. Bytes that are no UTF-8 by themselves are
    /// written `<0xE2>`, and an id that the tokenizer does not know (models pad their vocabulary) `#50300`.
    pub fn token(&self, id: u32) -> String {
        if !self.byte_level {
            return self.decode(&[id]).unwrap_or_else(|_| format!("#{id}"));
        }
        let Some(bytes) = self.bytes(id) else { return format!("#{id}") };
        bytes.utf8_chunks().fold(String::new(), |mut text, chunk| {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|byte| format!("<0x{byte:02X}>")));
            text
        })
    }

    /// The id of an argument that must be one token: text that is exactly one (` Paris`, with its space), or
    /// an id written `#1234`.
    ///
    /// # Errors
    /// [`Error::Token`]: it is empty, several tokens (the message names them, and the token that may have been
    /// meant), not in the vocabulary, or an id outside it.
    pub fn single(&self, arg: &str) -> Result<u32> {
        let fail = |message: String| Err(Error::Token { message });
        if let Some(id) = id_argument(arg) {
            return match id.filter(|&id| self.inner.id_to_token(id).is_some()) {
                Some(id) => Ok(id),
                None => fail(format!("token {} is not in the tokenizer, which has {}", shown(arg), self.len())),
            };
        }
        let ids = self.encode(arg).map_err(|error| Error::Token { message: error.to_string() })?;
        match ids.as_slice() {
            [id] => Ok(*id),
            [] => fail("a target must be one token, and this one is empty; write ` word` or #id".to_owned()),
            _ => {
                let names = ids.iter().take(6).map(|&id| format!("`{}` #{id}", shown(&self.token(id))));
                let mut names = names.collect::<Vec<_>>().join(", ");
                if ids.len() > 6 {
                    names += ", …";
                }
                let hint = match self.suggestion(arg) {
                    Some(text) => format!("did you mean `{text}`?"),
                    None => "write one of them as #id".to_owned(),
                };
                let (text, n) = (shown(arg), ids.len());
                fail(format!("`{text}` is {n} tokens: {names}; a target must be one token; {hint}"))
            }
        }
    }

    /// A single token near a text that is several: with a leading space, or without its punctuation.
    fn suggestion(&self, arg: &str) -> Option<String> {
        let trimmed = arg.trim();
        let core = arg.trim_matches(|c: char| !c.is_alphanumeric());
        [format!(" {trimmed}"), trimmed.to_owned(), format!(" {core}"), core.to_owned()]
            .into_iter()
            .find(|text| text != arg && matches!(self.encode(text).as_deref(), Ok([_])))
    }

    /// The bytes of one token of a byte-level vocabulary.
    fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        let piece = self.inner.id_to_token(id)?;
        // Added tokens are spelled as they are; so is a piece with a letter from outside the alphabet.
        if self.inner.get_added_tokens_decoder().contains_key(&id) {
            return Some(piece.into_bytes());
        }
        let bytes = piece.chars().map(|c| BYTES.get(&c).copied()).collect::<Option<Vec<u8>>>();
        Some(bytes.unwrap_or_else(|| piece.into_bytes()))
    }
}

/// `#1234`: the id, or nothing inside where it exceeds u32. Other text is not an id.
pub(crate) fn id_argument(arg: &str) -> Option<Option<u32>> {
    let digits = arg.strip_prefix('#')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())
}

/// GPT-2's printable alphabet for bytes, from letter to byte: printable Latin-1 stands for itself, the other
/// bytes follow from U+0100 on (`encoder.py` of the GPT-2 release).
static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    let plain = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255u8).filter(|&b| !plain(b)).zip('\u{100}'..).map(|(b, c)| (c, b));
    (0..=255u8).filter(|&b| plain(b)).map(|b| (char::from(b), b)).chain(others).collect()
});

fn encoding_error(message: String) -> Error {
    Error::Encoding { message }
}

/// A whole `tokenizer.json`. Merges are checked first: the tokenizers crate (0.23) panics on some bad ones.
fn from_json(bytes: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    let json: Map<String, Value> = serde_json::from_slice(bytes).map_err(|e| format!("not a JSON object ({e})"))?;
    let model = json.get("model").and_then(Value::as_object).ok_or("`model` is missing")?;
    if let (Some(vocab), Some(merges)) = (model.get("vocab"), model.get("merges")) {
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
    }
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| e.to_string())?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| e.to_string())?;
    Ok(tokenizer)
}

/// GPT-2's tokenizer from its two original files.
fn from_bpe(vocab: HashMap<String, u32>, merges: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    let text = std::str::from_utf8(merges).map_err(|e| format!("not UTF-8 text ({e})"))?;
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        let at = |message: String| format!("line {}: {message}", number + 1);
        let (a, b) = line.split_once(' ').ok_or_else(|| at(format!("`{}` is not a pair", shown(line))))?;
        check_merge(|piece| vocab.contains_key(piece), a, b).map_err(at)?;
        pairs.push((a.to_owned(), b.to_owned()));
    }
    let special = vocab.contains_key(END_OF_TEXT);
    let vocab: Vocab = vocab.into_iter().collect();
    let model = BPE::builder().vocab_and_merges(vocab, pairs).build().map_err(|e| e.to_string())?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer
        .with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)))
        .with_decoder(Some(ByteLevel::default()));
    if special {
        tokenizer.add_special_tokens([AddedToken::from(END_OF_TEXT, true)]).map_err(|e| e.to_string())?;
    }
    Ok(tokenizer)
}

fn check_merge(known: impl Fn(&str) -> bool, a: &str, b: &str) -> Result<(), String> {
    let whole = format!("{a}{b}");
    match [a, b, &whole].into_iter().find(|piece| !known(piece)) {
        None => Ok(()),
        Some(piece) => {
            let [a, b, piece] = [a, b, piece].map(shown);
            Err(format!("the merge `{a} {b}` needs `{piece}`, which the vocabulary lacks"))
        }
    }
}

fn parse_vocab(bytes: &[u8]) -> Result<HashMap<String, u32>, String> {
    let vocab: HashMap<String, u32> =
        serde_json::from_slice(bytes).map_err(|e| format!("not a JSON object of pieces and ids ({e})"))?;
    let mut ids = HashSet::new();
    match vocab.iter().find(|(_, id)| !ids.insert(**id)) {
        None => Ok(vocab),
        Some((piece, id)) => Err(format!("id {id} is given twice, once to `{}`", shown(piece))),
    }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
pub(crate) mod tests;
