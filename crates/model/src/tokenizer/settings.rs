//! Settings in the files beside a vocabulary: classes, options, added and special tokens.
//!
//! They are read as transformers 5.23 reads them (`_from_pretrained` of `tokenization_utils_base.py`), and in the same
//! order: tokens that the vocabulary lacks get ids in the order in which they are added.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use tokenizers::AddedToken;

use super::json::{Json, Object};
use crate::error::{Error, Result, shown};
use crate::files;

pub(super) const CONFIG: &str = "tokenizer_config.json";
pub(super) const SPECIAL: &str = "special_tokens_map.json";
pub(super) const ADDED: &str = "added_tokens.json";

/// Special tokens that have a name in every tokenizer, in the order in which they are added.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// GPT-2's only special token. By default, its class uses it as the beginning, the end and the unknown token.
const END_OF_TEXT: &str = "<|endoftext|>";

/// The class that builds a tokenizer from files in transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `GPT2Tokenizer`: GPT-2's pipeline, whatever a tokenizer.json says.
    Gpt2,
    /// `PreTrainedTokenizerFast`: the pipeline of tokenizer.json.
    File,
    /// No class is named.
    Unnamed,
}

/// A token of a setting: its text alone, or with its flags.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    Full(AddedToken),
}

impl Token {
    fn content(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Full(token) => &token.content,
        }
    }
}

/// The settings of one model directory.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) class: Class,
    /// The value in `tokenizer_config.json`, if it is given.
    pub(super) add_prefix_space: Option<bool>,
    pub(super) add_bos_token: bool,
    pub(super) add_eos_token: bool,
    /// Whether special tokens in a text are split like other text.
    pub(super) split_special_tokens: bool,
    /// Whether `added_tokens_decoder` is given. It replaces the older files.
    pub(super) has_decoder: bool,
    /// Added tokens by their declared id.
    added: BTreeMap<u32, AddedToken>,
    /// Named special tokens; `None` where the value is null.
    named: HashMap<&'static str, Option<Token>>,
    /// Special tokens with names that are specific to the model.
    own: Vec<Token>,
    /// Special tokens without a name.
    extra: Vec<Token>,
}

impl Settings {
    /// Reads the settings of a directory. `whole` is the added tokens of its `tokenizer.json`, if it has one.
    pub(super) fn read(dir: &Path, whole: Option<&[(u32, AddedToken)]>) -> Result<Self> {
        let config = object(dir, CONFIG)?;
        let class = match config.as_ref().and_then(|config| text(config, "tokenizer_class")) {
            Some(class) => Some(class),
            // Errors of the model's configuration are reported when the model is opened.
            None => object(dir, "config.json").ok().flatten().and_then(|c| text(&c, "tokenizer_class")),
        };
        let named = |name: &str, message: String| Error::Tokenizer { path: dir.join(name), message };
        let config = config.unwrap_or_default();
        if config.get("added_tokens_decoder").is_some() {
            return Self::new(class.as_deref(), config, None, None, whole).map_err(|m| named(CONFIG, m));
        }
        let (special, added) = (object(dir, SPECIAL)?, object(dir, ADDED)?);
        let culprit = if special.is_some() { SPECIAL } else { CONFIG };
        let culprit = if added.is_some() { ADDED } else { culprit };
        Self::new(class.as_deref(), config, special, added, whole).map_err(|m| named(culprit, m))
    }

    fn new(
        class: Option<&str>,
        mut config: Object,
        special: Option<Object>,
        added: Option<Object>,
        whole: Option<&[(u32, AddedToken)]>,
    ) -> Result<Self, String> {
        refuse_unsupported(&config)?;
        if whole.is_some() {
            // If there is a tokenizer.json, its post-processor decides instead.
            config.take("add_bos_token");
            config.take("add_eos_token");
        }
        if config.get("additional_special_tokens").is_some()
            && !config.get("extra_special_tokens").is_some_and(Json::is_truthy)
            && let Some(list) = config.take("additional_special_tokens")
        {
            config.set("extra_special_tokens", list);
        }
        // Texts with model-specific names are taken out before the older files are read, and tokens with flags after.
        let mut own = own_texts(&mut config)?;
        let decoder = config.take("added_tokens_decoder");
        let has_decoder = decoder.is_some();
        let mut declared = decoder.map_or(Ok(BTreeMap::new()), |decoder| added_tokens(&decoder))?;
        if !has_decoder {
            merge(&mut config, special)?;
            own.extend(own_object(&mut config)?);
            declared = older_tokens(&config, added)?;
            declared.extend(whole.unwrap_or_default().iter().cloned());
        }
        let by_text: HashMap<&str, &AddedToken> = declared.values().map(|t| (t.content.as_str(), t)).collect();
        let mut named = HashMap::new();
        for name in NAMED {
            let Some(value) = config.take(name) else { continue };
            let value = token(name, &value)?.map(|token| match by_text.get(token.content()) {
                Some(full) => Token::Full((*full).clone()),
                None => token,
            });
            named.insert(name, value);
        }
        let later = own_tokens(&config)?;
        let extra = config.get("extra_special_tokens").or_else(|| config.get("additional_special_tokens"));
        Ok(Self {
            class: parse_class(class)?,
            add_prefix_space: flag(&config, "add_prefix_space")?,
            add_bos_token: flag(&config, "add_bos_token")?.unwrap_or(false),
            add_eos_token: flag(&config, "add_eos_token")?.unwrap_or(false),
            split_special_tokens: flag(&config, "split_special_tokens")?.unwrap_or(false),
            has_decoder,
            extra: tokens("extra_special_tokens", extra)?,
            own: later.into_iter().chain(own).collect(),
            added: declared,
            named,
        })
    }

    /// Adds the default special tokens of GPT-2's class.
    pub(super) fn with_defaults_of_gpt2(mut self) -> Self {
        for name in ["bos_token", "eos_token", "unk_token"] {
            self.named.entry(name).or_insert_with(|| Some(Token::Text(END_OF_TEXT.to_owned())));
        }
        self
    }

    /// Returns the text of a named special token.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        self.named.get(name)?.as_ref().map(Token::content)
    }

    /// Returns the added tokens with the ids that their files declare.
    pub(super) fn declared(&self) -> impl Iterator<Item = (u32, &AddedToken)> {
        self.added.iter().map(|(id, token)| (*id, token))
    }

    /// Returns the tokens to add to a tokenizer that has `known` added tokens, in order.
    pub(super) fn to_add(&self, known: &HashSet<String>) -> Vec<AddedToken> {
        let named = || NAMED.iter().filter_map(|name| self.named.get(name)?.as_ref()).chain(&self.own);
        let mut known: HashSet<&str> = known.iter().map(String::as_str).collect();
        known.extend(self.added.values().map(|token| token.content.as_str()));
        let mut queue: Vec<Token> = self.added.values().cloned().map(Token::Full).collect();
        for token in named().chain(&self.extra) {
            if !known.contains(token.content()) && !queue.contains(token) {
                queue.push(token.clone());
            }
        }
        let named: HashSet<&str> = named().map(Token::content).collect();
        let token = |token: Token| match token {
            Token::Text(text) => AddedToken::from(text, true),
            Token::Full(token) => {
                let special = token.special || named.contains(token.content.as_str());
                token.special(special)
            }
        };
        queue.into_iter().map(token).collect()
    }
}

/// Reads the object of a settings file; `None` if the file does not exist.
fn object(dir: &Path, name: &str) -> Result<Option<Object>> {
    let path = dir.join(name);
    if !files::exists(&path)? {
        return Ok(None);
    }
    let bytes = files::read(&path)?;
    let object = files::text(&bytes).and_then(Object::parse);
    object.map(Some).map_err(|message| Error::Tokenizer { path, message })
}

fn parse_class(name: Option<&str>) -> Result<Class, String> {
    let Some(name) = name else { return Ok(Class::Unnamed) };
    match name.strip_suffix("Fast").unwrap_or(name) {
        "GPT2Tokenizer" => Ok(Class::Gpt2),
        "PreTrainedTokenizer" | "TokenizersBackend" | "PythonBackend" => Ok(Class::File),
        _ => Err(format!(
            "tokenizer_class `{}` is not supported; to use tokenizer.json as it is, set it to PreTrainedTokenizerFast",
            shown(name)
        )),
    }
}

/// Refuses settings that change ids in ways that are not supported.
fn refuse_unsupported(config: &Object) -> Result<(), String> {
    if let Some(Json::Object(map)) = config.get("auto_map")
        && map.get("AutoTokenizer").is_some_and(Json::is_truthy)
    {
        return Err("`auto_map` asks for Python code of the model, which is not run".to_owned());
    }
    match config.get("fast_tokenizer_files").is_some_and(Json::is_truthy) {
        true => Err("`fast_tokenizer_files` (a tokenizer.json by version) is not supported".to_owned()),
        false => Ok(()),
    }
}

/// Returns whether a key is a model-specific name of a special token.
fn is_own(key: &str) -> bool {
    key.ends_with("_token") && !NAMED.contains(&key)
}

/// Takes the texts with model-specific names out of `tokenizer_config.json`.
fn own_texts(config: &mut Object) -> Result<Vec<Token>, String> {
    let mut own = Vec::new();
    config.0.retain(|(key, value)| match value {
        Json::Text(text) if is_own(key) => {
            own.push(Token::Text(text.clone()));
            false
        }
        _ => true,
    });
    own.extend(own_object(config)?);
    Ok(own)
}

/// Takes `extra_special_tokens` out, if it is an object of names and tokens.
fn own_object(config: &mut Object) -> Result<Vec<Token>, String> {
    if !matches!(config.get("extra_special_tokens"), Some(Json::Object(_))) {
        return Ok(Vec::new());
    }
    let Some(Json::Object(object)) = config.take("extra_special_tokens") else { return Ok(Vec::new()) };
    object.0.iter().filter_map(|(key, value)| token(key, value).transpose()).collect()
}

/// Returns the remaining tokens with model-specific names: those with flags, and those of `special_tokens_map.json`.
fn own_tokens(config: &Object) -> Result<Vec<Token>, String> {
    let own = config.0.iter().filter(|(key, value)| is_own(key) && matches!(value, Json::Text(_) | Json::Object(_)));
    own.filter_map(|(key, value)| token(key, value).transpose()).collect()
}

/// Merges `special_tokens_map.json` into `tokenizer_config.json`, whose values it replaces.
fn merge(config: &mut Object, special: Option<Object>) -> Result<(), String> {
    for (key, value) in special.unwrap_or_default().0 {
        match (key.as_str(), value) {
            ("extra_special_tokens", Json::List(new)) => {
                let mut list = match config.take("extra_special_tokens") {
                    Some(Json::List(list)) => list,
                    _ => Vec::new(),
                };
                for value in new {
                    if !list.contains(&value) {
                        list.push(value);
                    }
                }
                config.set(&key, Json::List(list));
            }
            ("extra_special_tokens", value) => config.set(&key, value),
            // Every token of this file is special.
            (_, Json::Object(mut token)) => {
                token.set("special", Json::Flag(true));
                config.set(&key, Json::Object(token));
            }
            (_, value) => config.set(&key, value),
        }
    }
    Ok(())
}

/// Returns the tokens of `added_tokens.json` by id.
fn older_tokens(config: &Object, added: Option<Object>) -> Result<BTreeMap<u32, AddedToken>, String> {
    let mut special = HashSet::new();
    for name in NAMED {
        let value = config.get(name).map_or(Ok(None), |value| token(name, value))?;
        special.extend(value.map(|token| token.content().to_owned()));
    }
    let extra = tokens("extra_special_tokens", config.get("extra_special_tokens"))?;
    special.extend(extra.iter().map(|token| token.content().to_owned()));
    let entry = |(text, id): (String, Json)| match id {
        Json::Number(Some(id)) => {
            let special = special.contains(&text);
            Ok((checked_id(id, &text)?, AddedToken::from(text, special)))
        }
        _ => Err(format!("the id of `{}` must be a whole number", shown(&text))),
    };
    added.unwrap_or_default().0.into_iter().map(entry).collect()
}

/// Returns the tokens of `added_tokens_decoder` by id.
fn added_tokens(decoder: &Json) -> Result<BTreeMap<u32, AddedToken>, String> {
    let Json::Object(decoder) = decoder else {
        return Err("`added_tokens_decoder` must be an object of ids and tokens".to_owned());
    };
    let entry = |(id, value): &(String, Json)| {
        let number = id
            .parse()
            .map_err(|_| format!("invalid id `{}` in `added_tokens_decoder`: expected a whole number", shown(id)))?;
        match value {
            Json::Object(object) => Ok((checked_id(number, id)?, full("added_tokens_decoder", object)?)),
            _ => Err(format!("token {} of `added_tokens_decoder` must be an object", shown(id))),
        }
    };
    decoder.0.iter().map(entry).collect()
}

/// Converts an id, and checks that it leaves room for ids after it.
fn checked_id(id: u64, text: &str) -> Result<u32, String> {
    u32::try_from(id)
        .ok()
        .filter(|id| *id <= super::checks::MAX_ID)
        .ok_or_else(|| format!("the id {id} of `{}` is larger than any vocabulary", shown(text)))
}

/// Parses a list of tokens. A null or missing list is empty.
fn tokens(name: &str, value: Option<&Json>) -> Result<Vec<Token>, String> {
    match value {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::List(list)) => list.iter().filter_map(|value| token(name, value).transpose()).collect(),
        Some(_) => Err(format!("`{name}` must be a list of tokens")),
    }
}

/// Parses a token, given as text or as an object; `None` for null.
fn token(name: &str, value: &Json) -> Result<Option<Token>, String> {
    match value {
        Json::Null => Ok(None),
        Json::Text(text) => Ok(Some(Token::Text(text.clone()))),
        Json::Object(object) => Ok(Some(Token::Full(full(name, object)?))),
        _ => Err(format!("`{}` must be a token: text, or an object with `content`", shown(name))),
    }
}

/// Parses a token with its flags. Missing flags are false, except that a token that is not special is normalized.
fn full(name: &str, object: &Object) -> Result<AddedToken, String> {
    let Some(Json::Text(content)) = object.get("content") else {
        return Err(format!("a token of `{}` has no `content`", shown(name)));
    };
    let flag = |key: &str| flag(object, key).map_err(|e| format!("token `{}`: {e}", shown(content)));
    let token = AddedToken::from(content.as_str(), flag("special")?.unwrap_or(false))
        .single_word(flag("single_word")?.unwrap_or(false))
        .lstrip(flag("lstrip")?.unwrap_or(false))
        .rstrip(flag("rstrip")?.unwrap_or(false));
    Ok(match flag("normalized")? {
        Some(normalized) => token.normalized(normalized),
        None => token,
    })
}

fn flag(object: &Object, key: &str) -> Result<Option<bool>, String> {
    match object.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Flag(flag)) => Ok(Some(*flag)),
        Some(_) => Err(format!("`{key}` must be true or false")),
    }
}

fn text(object: &Object, key: &str) -> Option<String> {
    match object.get(key) {
        Some(Json::Text(text)) => Some(text.clone()),
        _ => None,
    }
}
