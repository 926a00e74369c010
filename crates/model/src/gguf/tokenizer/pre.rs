//! How byte-level tokenizers split a text before they merge: facts of the models' own tokenizer.json files.

use serde_json::{Value, json};

use super::super::arch::Arch;
use crate::error::shown;

/// A way to split a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Split {
    /// Whether the text is first composed (NFC).
    pub(super) compose: bool,
    rule: Rule,
    /// Whether a word that is a token is not merged from its bytes.
    pub(super) ignore_merges: bool,
    /// Whether a prompt begins with a token unless the file says otherwise.
    pub(super) begins: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// GPT-2's words.
    Gpt2,
    /// Single digits, and between them GPT-2's words.
    Digits,
    /// A regular expression that finds the words.
    Words(&'static str),
}

const GPT2: Split = Split { compose: false, rule: Rule::Gpt2, ignore_merges: false, begins: false };
const NEOX: Split = Split { compose: true, ..GPT2 };
const SMOLLM: Split = Split { rule: Rule::Digits, ..GPT2 };
const COMMAND_R: Split = Split { compose: true, ..SMOLLM };
const QWEN2: Split = Split { compose: true, rule: Rule::Words(QWEN2_WORDS), ..GPT2 };
const DBRX: Split = Split { rule: Rule::Words(LLAMA3_WORDS), ..GPT2 };
const LLAMA3: Split = Split { ignore_merges: true, begins: true, ..DBRX };
const TEKKEN: Split = Split { rule: Rule::Words(TEKKEN_WORDS), ..LLAMA3 };

const LLAMA3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2_WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN_WORDS: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The names in `tokenizer.ggml.pre` that are supported.
const NAMES: [(&str, Split); 13] = [
    ("gpt-2", GPT2),
    ("olmo", NEOX),
    ("smollm", SMOLLM),
    ("starcoder", SMOLLM),
    ("refact", SMOLLM),
    ("command-r", COMMAND_R),
    ("qwen2", QWEN2),
    ("dbrx", DBRX),
    ("smaug-bpe", DBRX),
    ("llama-bpe", LLAMA3),
    ("llama3", LLAMA3),
    ("llama-v3", LLAMA3),
    ("tekken", TEKKEN),
];

impl Split {
    /// Returns the way of a name in `tokenizer.ggml.pre`. Older files have no name, or `default`. The architecture then
    /// decides, if all of its models agree.
    pub(super) fn of(name: Option<&str>, arch: Arch) -> Result<Self, String> {
        let names = || NAMES.map(|(name, _)| name).join(", ");
        let Some(name) = name.filter(|name| *name != "default") else {
            return match arch {
                Arch::Gpt2 => Ok(GPT2),
                Arch::GptNeox => Ok(NEOX),
                Arch::Qwen2 | Arch::Qwen3 => Ok(QWEN2),
                _ => Err(format!(
                    "`tokenizer.ggml.pre` does not say how a text is split (by one of {}); convert the model again \
                     with a newer llama.cpp",
                    names()
                )),
            };
        };
        let found = NAMES.iter().find(|(known, _)| *known == name).map(|(_, split)| *split);
        found.ok_or_else(|| format!("`tokenizer.ggml.pre` is `{}`; {} are supported", shown(name), names()))
    }

    /// Returns the `pre_tokenizer` of a tokenizer.json.
    pub(super) fn pre_tokenizer(self, prefix: bool) -> Value {
        let bytes = |regex: bool| {
            json!({
                "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex,
            })
        };
        let sequence = |first: Value, bytes: Value| json!({"type": "Sequence", "pretokenizers": [first, bytes]});
        match self.rule {
            Rule::Gpt2 => bytes(true),
            Rule::Digits => sequence(json!({"type": "Digits", "individual_digits": true}), bytes(true)),
            Rule::Words(regex) => {
                let pattern = json!({"Regex": regex});
                let split = json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
                sequence(split, bytes(false))
            }
        }
    }
}
