//! Converts text to token ids and back, with GPT-2's byte-level BPE or another tokenizer that a `tokenizer.json`
//! describes.

mod build;
mod checks;
mod ends;
#[cfg(test)]
mod golden_tests;
mod json;
mod settings;

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::LazyLock;

use tokenizers::{
    DecoderWrapper, Encoding, Model as _, ModelWrapper, OffsetReferential, OffsetType, PreTokenizer as _,
};

use resolvent_engine::closest;

use crate::error::{Error, Result, one_line, shown};
use crate::files;

/// A tokenizer of a model directory.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Whether pieces are spelled in GPT-2's byte alphabet (`ĠParis` for ` Paris`).
    byte_level: bool,
    /// Tokens to add before and after a prompt, besides those of the post-processor.
    around: (Option<u32>, Option<u32>),
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What is wrong with a tokenizer that makes its crate panic.
const CONTRADICT: &str = "the normalizers of this tokenizer contradict each other";

/// Returns `None` if `work` panics: some combinations of normalizers make the crate index beyond its text. It has no
/// state that this could damage.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

impl Tokenizer {
    /// Opens `tokenizer.json`, or else `vocab.json` with `merges.txt`. Returns `None` if the directory has neither.
    ///
    /// Added tokens, special tokens and options of `tokenizer_config.json`, `special_tokens_map.json` and
    /// `added_tokens.json` are applied as Hugging Face transformers (5.23) applies them, so that the ids are the same.
    ///
    /// # Errors
    /// A file cannot be read or is damaged, or only one of `vocab.json` and `merges.txt` exists. The files ask for
    /// something that is not supported: this is an error so that ids never differ silently.
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        // Added tokens pass through the normalizers.
        guarded(|| build::open(dir)).unwrap_or_else(|| {
            Err(Error::Tokenizer { path: dir.join("tokenizer.json"), message: CONTRADICT.to_owned() })
        })
    }

    /// Reads a tokenizer from the bytes of a `tokenizer.json`. `name` names the file in messages.
    ///
    /// # Errors
    /// The bytes are not a tokenizer that the `tokenizers` crate can read.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self> {
        let read = || files::object(bytes).and_then(|json| build::from_json(&json));
        let inner = guarded(read).unwrap_or_else(|| Err(CONTRADICT.to_owned()));
        let inner = inner.map_err(|message| Error::Tokenizer { path: name.into(), message })?;
        Ok(Self::new(inner, (None, None)))
    }

    fn new(inner: tokenizers::Tokenizer, around: (Option<u32>, Option<u32>)) -> Self {
        let byte_level = matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_)));
        Self { inner, byte_level, around }
    }

    /// Returns the number of tokens, special ones included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Returns whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the ids of a text, without special tokens around it. `<|endoftext|>` in the text becomes that token.
    ///
    /// # Errors
    /// [`Error::Encoding`] if a part of the text has no token, as in a vocabulary that lacks some bytes.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.ids(text, false)
    }

    /// Returns the ids of a prompt: those of its text, and around them the tokens that the tokenizer's files ask for
    /// (`add_bos_token`, a post-processor). GPT-2's files ask for none.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.ids(text, true)?;
        Ok(self.around.0.into_iter().chain(ids).chain(self.around.1).collect())
    }

    fn ids(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        Ok(self.encoded(text, || self.inner.encode_fast(text, special))?.get_ids().to_vec())
    }

    /// Returns what `encode` makes of a text.
    fn encoded(&self, text: &str, encode: impl FnOnce() -> tokenizers::Result<Encoding>) -> Result<Encoding> {
        let failed =
            |e: tokenizers::Error| encoding_error(format!("`{}` cannot be encoded: {}", shown(text), one_line(&e)));
        let encoded = guarded(|| match self.loses(text)? {
            true => Ok(None),
            false => encode().map(Some),
        });
        let encoded =
            encoded.ok_or_else(|| encoding_error(format!("`{}` cannot be encoded: {CONTRADICT}", shown(text))))?;
        encoded.map_err(failed)?.ok_or_else(|| {
            encoding_error(format!("`{}` has characters that this tokenizer has no token for", shown(text)))
        })
    }

    /// Returns whether a part of a text would be dropped: BPE drops characters that it has no token for. A prompt must
    /// not change silently.
    ///
    /// Only the text that reaches the model matters: added tokens, normalizer and pre-tokenizer process the text first.
    fn loses(&self, text: &str) -> Result<bool, tokenizers::Error> {
        let ModelWrapper::BPE(model) = self.inner.get_model() else { return Ok(false) };
        let added = self.inner.get_added_vocabulary();
        let mut pieces = added.extract_and_normalize(self.inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        for (piece, _, tokens) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            if tokens.is_none() {
                let last = model.tokenize(piece)?.pop().map_or(0, |token| token.offsets.1);
                if last != piece.len() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Returns the text of some ids. Bytes that are not UTF-8 become U+FFFD, and special tokens remain.
    ///
    /// # Errors
    /// [`Error::Encoding`] if an id is not in the tokenizer.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            return Err(encoding_error(format!("token #{id} is not in the tokenizer, which has {}", self.len())));
        }
        if self.byte_level {
            let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.bytes(id).unwrap_or_default()).collect();
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        self.inner
            .decode(ids, false)
            .map_err(|e| encoding_error(format!("the tokens cannot be decoded: {}", one_line(&e))))
    }

    /// Returns the display text of one token: its piece of text with its space. Bytes that are not UTF-8 by themselves
    /// are written `<0xE2>`. An id that the tokenizer does not know is written `#50300`: models pad their vocabulary.
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

    /// Returns the id of an argument that must be one token: text that is exactly one (` Paris`, with its space), or an
    /// id written `#1234`.
    ///
    /// # Errors
    /// [`Error::Token`]: the argument is empty, is several tokens, is not in the vocabulary, or is an id outside it.
    /// The message for several tokens names them, and the token that may have been meant.
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
            [] => fail("the text must be one token, and it is empty; write ` word` or #id".to_owned()),
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
                fail(format!("`{text}` is {n} tokens: {names}; it must be one token; {hint}"))
            }
        }
    }

    /// Suggests a single token in place of a text of several: with a leading space, or without its punctuation.
    fn suggestion(&self, arg: &str) -> Option<String> {
        let trimmed = arg.trim();
        let core = arg.trim_matches(|c: char| !c.is_alphanumeric());
        // An emoji has no letters: only the space would remain of it.
        [format!(" {trimmed}"), trimmed.to_owned(), format!(" {core}"), core.to_owned()]
            .into_iter()
            .find(|text| text != arg && !text.trim().is_empty() && matches!(self.encode(text).as_deref(), Ok([_])))
            .or_else(|| self.nearest(arg))
    }

    /// Returns the token of a word that is spelt almost like `arg`, if `arg` is a word. The first letter has to be the
    /// same.
    fn nearest(&self, arg: &str) -> Option<String> {
        let first = arg.trim().chars().next()?;
        let is_word = |text: &str| text.chars().count() > 3 && text.chars().all(char::is_alphabetic);
        if !is_word(arg.trim()) {
            return None;
        }
        let all = (0..self.len() as u32).map(|id| self.token(id));
        let words: Vec<String> = all.filter(|text| text.trim().starts_with(first) && is_word(text.trim())).collect();
        // Words with a leading space are the usual targets, and come first among equally near ones.
        let (spaced, bare): (Vec<&str>, Vec<&str>) =
            words.iter().map(String::as_str).partition(|text| text.starts_with(' '));
        let meant = closest(arg.trim(), spaced.iter().chain(&bare).map(|text| text.trim()))?.to_owned();
        spaced.iter().chain(&bare).find(|text| text.trim() == meant).map(|text| (*text).to_owned())
    }

    /// Returns the bytes of one token of a byte-level vocabulary.
    fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        let piece = self.inner.id_to_token(id)?;
        // Added tokens are plain text. So is a piece with a character from outside the byte alphabet.
        if self.inner.get_added_tokens_decoder().contains_key(&id) {
            return Some(piece.into_bytes());
        }
        let bytes = piece.chars().map(|c| BYTES.get(&c).copied()).collect::<Option<Vec<u8>>>();
        Some(bytes.unwrap_or_else(|| piece.into_bytes()))
    }
}

/// Parses an id argument such as `#1234`. Returns `None` for other text, and `Some(None)` for an id that exceeds u32.
pub(crate) fn id_argument(arg: &str) -> Option<Option<u32>> {
    let digits = arg.strip_prefix('#')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())
}

/// GPT-2's printable alphabet for bytes, as a map from letter to byte. A printable Latin-1 byte is its own letter. The
/// other bytes have the letters from U+0100 on, in order (`encoder.py` of the GPT-2 release).
static BYTES: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    let plain = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255u8).filter(|&b| !plain(b)).zip('\u{100}'..).map(|(b, c)| (c, b));
    (0..=255u8).filter(|&b| plain(b)).map(|b| (char::from(b), b)).chain(others).collect()
});

fn encoding_error(message: String) -> Error {
    Error::Encoding { message }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
pub(crate) mod tests;
