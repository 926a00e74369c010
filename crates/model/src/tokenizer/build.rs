//! Builds a tokenizer of the tokenizers crate from the files of a directory.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Model as _, PreTokenizerWrapper};

use super::checks::{MAX_ID, check, check_merge};
use super::settings::{CONFIG, Class, Settings};
use super::{BYTES, Tokenizer};
use crate::error::{Error, Result, one_line, shown};
use crate::files;

/// Opens the tokenizer of a directory: `tokenizer.json`, or else `vocab.json` and `merges.txt`, with the settings
/// beside them. Returns `None` if the directory has neither.
pub(super) fn open(dir: &Path) -> Result<Option<Tokenizer>> {
    let [whole, vocab, merges] = ["tokenizer.json", "vocab.json", "merges.txt"].map(|name| dir.join(name));
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |message: String| Error::Tokenizer { path, message }
    };
    if files::exists(&whole)? {
        let json = files::object(&files::read(&whole)?).map_err(fail(&whole))?;
        let inner = from_json(&json).map_err(fail(&whole))?;
        let settings = Settings::read(dir, Some(&declared(&json).map_err(fail(&whole))?))?;
        // If no class is named, AutoTokenizer uses GPT-2's for this kind of model.
        let gpt2 = match settings.class {
            Class::Gpt2 => true,
            Class::File => false,
            Class::Unnamed => is_gpt2(&inner, &json, &settings),
        };
        let inner = with_pipeline(inner, &json, &settings).map_err(fail(&dir.join(CONFIG)))?;
        return finish(inner, settings, gpt2).map(Some).map_err(fail(&whole));
    }
    match (files::exists(&vocab)?, files::exists(&merges)?) {
        (false, false) => return Ok(None),
        (true, true) => {}
        (true, false) => return Err(fail(&vocab)("merges.txt is missing beside it".to_owned())),
        (false, true) => return Err(fail(&merges)("vocab.json is missing beside it".to_owned())),
    }
    let entries = parse_vocab(&files::read(&vocab)?).map_err(fail(&vocab))?;
    let mut inner = from_bpe(entries, &files::read(&merges)?).map_err(fail(&merges))?;
    let settings = Settings::read(dir, None)?;
    if settings.class == Class::File {
        let message = "tokenizer_class asks for a tokenizer.json, and there is none; to use vocab.json and merges.txt, \
                       set it to GPT2Tokenizer";
        return Err(fail(&dir.join(CONFIG))(message.to_owned()));
    }
    inner.with_pre_tokenizer(Some(gpt2_pre_tokenizer(settings.add_prefix_space)));
    finish(inner, settings, true).map(Some).map_err(fail(&vocab))
}

/// Builds a tokenizer from a `tokenizer.json` alone. Padding and truncation are left out, because they would change a
/// prompt.
pub(super) fn from_json(json: &Map<String, Value>) -> Result<tokenizers::Tokenizer, String> {
    check(json)?;
    let parts = json.iter().filter(|(key, _)| !["padding", "truncation"].contains(&key.as_str()));
    let parts: Map<String, Value> = parts.map(|(key, value)| (key.clone(), value.clone())).collect();
    serde_json::from_value(Value::Object(parts)).map_err(|e| one_line(&e))
}

/// Returns the added tokens of a `tokenizer.json`, with the ids that it declares.
fn declared(json: &Map<String, Value>) -> Result<Vec<(u32, AddedToken)>, String> {
    let tokens = json.get("added_tokens").and_then(Value::as_array);
    let token = |value: &Value| {
        let token: AddedToken = serde_json::from_value(value.clone()).map_err(|e| one_line(&e))?;
        match value.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Ok((id, token)),
            None => Err(format!("the added token `{}` has no id", shown(&token.content))),
        }
    };
    tokens.into_iter().flatten().map(token).collect()
}

/// Builds GPT-2's tokenizer from its two original files.
fn from_bpe(vocab: HashMap<String, u32>, merges: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    let mut pairs = Vec::new();
    for (number, line) in files::text(merges)?.lines().enumerate() {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        let at = |message: String| format!("line {}: {message}", number + 1);
        let (a, b) = line.split_once(' ').ok_or_else(|| at(format!("`{}` is not a pair", shown(line))))?;
        check_merge(|piece| vocab.contains_key(piece), a, b).map_err(at)?;
        pairs.push((a.to_owned(), b.to_owned()));
    }
    let vocab: Vocab = vocab.into_iter().collect();
    let model = BPE::builder().vocab_and_merges(vocab, pairs).build().map_err(|e| one_line(&e))?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_decoder(Some(ByteLevel::default()));
    Ok(tokenizer)
}

fn parse_vocab(bytes: &[u8]) -> Result<HashMap<String, u32>, String> {
    let vocab: HashMap<String, u32> = serde_json::from_str(files::text(bytes)?)
        .map_err(|e| format!("not a JSON object of pieces and ids ({})", one_line(&e)))?;
    let mut ids = HashSet::new();
    if let Some((piece, id)) = vocab.iter().find(|(_, id)| !ids.insert(**id)) {
        return Err(format!("id {id} is given twice, once to `{}`", shown(piece)));
    }
    match vocab.iter().find(|(_, id)| **id > MAX_ID) {
        None => Ok(vocab),
        Some((piece, id)) => Err(format!("the id {id} of `{}` is larger than any vocabulary", shown(piece))),
    }
}

fn gpt2_pre_tokenizer(add_prefix_space: Option<bool>) -> ByteLevel {
    ByteLevel::default().add_prefix_space(add_prefix_space.unwrap_or(false))
}

/// Gives a tokenizer the pipeline that its class has in transformers. Fails where releases of transformers disagree:
/// the user then has to choose.
fn with_pipeline(
    mut inner: tokenizers::Tokenizer,
    json: &Map<String, Value>,
    settings: &Settings,
) -> Result<tokenizers::Tokenizer, String> {
    let own = difference_from_gpt2(json);
    match (settings.class, own) {
        (Class::Gpt2, Some(own)) => {
            return Err(format!(
                "tokenizer_class GPT2Tokenizer replaces {own} of tokenizer.json in transformers 5 and keeps it in \
                 transformers 4; to keep it, set tokenizer_class to PreTrainedTokenizerFast"
            ));
        }
        (Class::Gpt2, None) => {
            inner.with_pre_tokenizer(Some(gpt2_pre_tokenizer(settings.add_prefix_space)));
        }
        (class, _) => {
            let Some(PreTokenizerWrapper::ByteLevel(ours)) = inner.get_pre_tokenizer() else {
                return Ok(inner);
            };
            let (file, wanted) = (ours.add_prefix_space, settings.add_prefix_space);
            if wanted.is_none_or(|wanted| wanted == file) {
                return Ok(inner);
            }
            if class == Class::File {
                return Err(format!(
                    "`add_prefix_space` is {}, but {file} in tokenizer.json; transformers 5 uses the latter and \
                     transformers 4 the former: set both to the same value",
                    !file
                ));
            }
            let ours = ours.add_prefix_space(!file);
            inner.with_pre_tokenizer(Some(ours));
        }
    }
    Ok(inner)
}

/// Returns the first part of a `tokenizer.json` that differs from GPT-2's in a way that changes ids.
fn difference_from_gpt2(json: &Map<String, Value>) -> Option<&'static str> {
    let not_null = |value: &&Value| !value.is_null();
    if json.get("normalizer").filter(not_null).is_some() {
        return Some("the normalizer");
    }
    let pre = json.get("pre_tokenizer").filter(not_null);
    let byte_level = pre.is_some_and(|pre| {
        pre.get("type").is_some_and(|kind| kind == "ByteLevel")
            && pre.get("use_regex").is_none_or(|regex| *regex == true)
    });
    let model = json.get("model").and_then(Value::as_object)?;
    let vocab = model.get("vocab").and_then(Value::as_object);
    let (Some(vocab), true, true) = (vocab, model.contains_key("merges"), byte_level) else {
        return Some(if byte_level { "the model" } else { "the pre_tokenizer" });
    };
    let set = |key: &&str| {
        model.get(*key).is_some_and(|value| match value {
            Value::Null => false,
            Value::Bool(flag) => *flag,
            Value::String(text) => !text.is_empty(),
            _ => true,
        })
    };
    // A vocabulary with all bytes has no unknown characters.
    let complete = BYTES.keys().all(|letter| vocab.contains_key(letter.encode_utf8(&mut [0; 4]) as &str));
    let unknown = ["unk_token", "byte_fallback"].iter().any(&set);
    let differs = ["ignore_merges", "end_of_word_suffix"].iter().any(set);
    (differs || unknown && !complete).then_some("options of the model")
}

/// Adds the tokens of the settings, and checks that all have the ids that the files declare. `gpt2` says whether
/// transformers uses GPT-2's class.
fn finish(mut inner: tokenizers::Tokenizer, settings: Settings, gpt2: bool) -> Result<Tokenizer, String> {
    let settings = if gpt2 { settings.with_defaults_of_gpt2() } else { settings };
    let known: HashSet<String> = inner.get_added_vocabulary().get_vocab().keys().cloned().collect();
    // In GPT-2's class, the tokens of `added_tokens_decoder` replace those of the file.
    let replaced = gpt2 && settings.has_decoder;
    let none = HashSet::new();
    let tokens = settings.to_add(if replaced { &none } else { &known });
    let again =
        |text: &str| tokens.iter().any(|token| token.content == text) && inner.get_model().token_to_id(text).is_some();
    let declared = |text: &str| settings.declared().any(|(_, token)| token.content == text);
    if let Some(lost) = known.iter().find(|text| replaced && !declared(text) && !again(text)) {
        return Err(format!(
            "its added token `{}` is not in `added_tokens_decoder` of {CONFIG}, which replaces it in transformers 5; \
             add the token there",
            shown(lost)
        ));
    }
    inner.add_tokens(tokens).map_err(|e| one_line(&e))?;
    for (id, token) in settings.declared().filter(|(_, token)| !token.content.is_empty()) {
        if let Some(given) = inner.token_to_id(&token.content).filter(|given| *given != id) {
            return Err(format!(
                "the added token `{}` is declared to have id {id}, and Hugging Face gives it {given}; declare that id",
                shown(&token.content)
            ));
        }
    }
    inner.set_encode_special_tokens(settings.split_special_tokens);
    let id = |wanted: bool, name: &str| {
        wanted.then(|| settings.named(name).and_then(|text| inner.token_to_id(text))).flatten()
    };
    let around = (id(settings.add_bos_token, "bos_token"), id(settings.add_eos_token, "eos_token"));
    Ok(Tokenizer::new(inner, around))
}

/// Returns whether a `tokenizer.json` without a class describes GPT-2's pipeline, which GPT-2's class then rebuilds
/// without loss.
fn is_gpt2(inner: &tokenizers::Tokenizer, json: &Map<String, Value>, settings: &Settings) -> bool {
    let prefix = matches!(inner.get_pre_tokenizer(), Some(PreTokenizerWrapper::ByteLevel(b)) if b.add_prefix_space);
    (settings.add_prefix_space.is_some() || !prefix) && difference_from_gpt2(json).is_none()
}
