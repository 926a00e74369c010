//! One row of a prompt file, before it is tokens of a model.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;

use crate::error::{Error, Result, one_line};

/// One row of a prompt file: a prompt or a pair of prompts, and what is observed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct PromptRow {
    /// The prompt that `target` answers.
    pub clean: PromptText,
    /// A prompt of as many tokens that differs in what decides the answer; `against` answers it.
    pub corrupted: Option<PromptText>,
    /// The observed answer: one token, with its space, or `#id`; several with `|` between them. In JSON also a number,
    /// or a list.
    #[serde(default, deserialize_with = "answer")]
    pub target: Option<String>,
    /// The answer whose logit is subtracted.
    #[serde(default, deserialize_with = "answer")]
    pub against: Option<String>,
    /// An observable as text, in place of the answers.
    pub observable: Option<String>,
    /// A name for results.
    pub label: Option<String>,
    /// Roles of tokens by name, such as `"subject"`.
    #[serde(default)]
    pub roles: BTreeMap<String, Role>,
    /// Line of the file, from 1, if it has one row a line.
    #[serde(skip)]
    pub line: Option<usize>,
}

/// A prompt as text, or as token ids.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum PromptText {
    /// Text.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

impl Default for PromptText {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl fmt::Display for PromptText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Ids(ids) => f.write_str(&ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

/// Where in the clean prompt the tokens of a role are.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Role {
    /// A token position; negative ones count from the end.
    Position(i64),
    /// The tokens of the first occurrence of a text.
    Text(String),
}

fn answer<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Option<String>, D::Error> {
    let Some(value) = Option::<Value>::deserialize(from)? else { return Ok(None) };
    let text = answer_of(&value, &str::to_owned);
    text.map(Some).ok_or_else(|| D::Error::custom("an answer is a text, a token id, or a list of these"))
}

/// Returns an answer of JSON as text: a number is a token id, and the tokens of a list have `|` between them. `None` if
/// it is something else. `token` is applied to texts.
pub(crate) fn answer_of(value: &Value, token: &dyn Fn(&str) -> String) -> Option<String> {
    match value {
        Value::String(text) => Some(token(text)),
        Value::Number(id) => Some(format!("#{id}")),
        Value::Array(all) if !all.is_empty() => {
            Some(all.iter().map(|one| answer_of(one, token)).collect::<Option<Vec<_>>>()?.join("|"))
        }
        _ => None,
    }
}

impl PromptRow {
    /// Reads a row from a JSON object with the keys of a prompt file.
    ///
    /// # Errors
    /// Text of another form.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|error| Error::Place(format!("invalid row of prompts: {}", one_line(&error))))
    }

    /// Returns the label, or else where the row is: `line 3`, or the texts of its prompts.
    pub fn name(&self) -> String {
        match (&self.label, self.line, &self.corrupted) {
            (Some(label), ..) => label.clone(),
            (None, Some(line), _) => format!("line {line}"),
            (None, None, Some(corrupted)) => format!("`{}` / `{corrupted}`", self.clean),
            (None, None, None) => format!("`{}`", self.clean),
        }
    }
}
