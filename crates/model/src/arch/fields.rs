//! Typed access to the fields of a `config.json`.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Activation;
use crate::error::{Error, Result, shown};

/// Returns an error about a configuration file.
pub(crate) fn error(path: &Path, message: impl Into<String>) -> Error {
    Error::Config { path: PathBuf::from(path), message: message.into() }
}

/// The fields of a JSON object of a configuration file. A null counts as absent.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(map: &'a Map<String, Value>, path: &'a Path) -> Self {
        Self { map, path }
    }

    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// Returns `model_type` and `architectures`.
    pub(crate) fn kind(&self) -> (Option<&'a str>, Vec<&'a str>) {
        let classes = self.get("architectures").and_then(Value::as_array);
        let classes = classes.map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
        (self.get("model_type").and_then(Value::as_str), classes)
    }

    /// Returns the error of a file whose family is none of `known`. `missing` is the feature that it needs and that is
    /// missing, as far as the file tells; `None` if it was not looked for.
    pub(crate) fn unknown_family(&self, known: &[&str], missing: Option<Option<String>>) -> Error {
        let found = match self.kind() {
            (Some(kind), _) => format!("model_type is `{}`", shown(kind)),
            (None, classes) => match classes.first() {
                None => "it names neither model_type nor architectures".to_owned(),
                Some(first) => format!("architectures is `{}`", shown(first)),
            },
        };
        let needs = match missing {
            None => String::new(),
            Some(Some(feature)) => format!(", and it needs {feature}, which is missing here"),
            Some(None) if self.kind() == (None, Vec::new()) => String::new(),
            Some(None) => ", and no field names a missing feature: if it computes what one of the supported families \
                           does, set model_type to that one"
                .to_owned(),
        };
        Error::Family { path: self.path.into(), found: found + &needs, known: known.join(", ") }
    }

    /// Returns an error about the file.
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        error(self.path, message)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    /// Returns whether a field is given, if only as a null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub(crate) fn wrong(&self, name: &str, wanted: &str, found: &Value) -> Error {
        let found = shown(&found.to_string());
        self.error(format!("`{name}` must be {wanted}, found {found}"))
    }

    /// Returns the object of a field, if it is given.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Self>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let map = value.as_object().ok_or_else(|| self.wrong(name, "an object", value))?;
        Ok(Some(Self { map, path: self.path }))
    }

    /// Returns the size under the first of several spellings that is present.
    pub(crate) fn size(&self, names: &[&str]) -> Result<usize> {
        for name in names {
            if let Some(size) = self.size_or_none(name)? {
                return Ok(size);
            }
        }
        let name = names.first().copied().unwrap_or_default();
        Err(self.error(format!("`{name}` is missing; use the config.json that came with the weights")))
    }

    /// Returns a size, or the default of the family's own library where the file has none.
    pub(crate) fn size_or(&self, name: &str, default: usize) -> Result<usize> {
        Ok(self.size_or_none(name)?.unwrap_or(default))
    }

    pub(crate) fn size_or_none(&self, name: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let size = value.as_u64().and_then(|n| usize::try_from(n).ok());
        size.map(Some).ok_or_else(|| self.wrong(name, "a positive whole number", value))
    }

    pub(crate) fn number(&self, name: &str, default: f64) -> Result<f64> {
        Ok(self.number_or_none(name)?.unwrap_or(default))
    }

    pub(crate) fn number_or_none(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.wrong(name, "a number", value))
    }

    /// Returns a number that must be positive and in the range of f32.
    pub(crate) fn positive(&self, name: &str, number: f64) -> Result<f64> {
        match (number as f32).is_finite() && number as f32 > 0.0 {
            true => Ok(number),
            false => Err(self.error(format!("`{name}` is {number}; it must be a positive number in the range of f32"))),
        }
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(name, "true or false", value))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(name, "a text", value))
    }

    /// Returns a list of texts, if it is given.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let texts = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or_else(|| self.wrong(name, "a list of texts", value))
    }

    /// Returns a token id, or the first of a list of them.
    ///
    /// Returns `None` if the id is outside the vocabulary. The file of a small model may have the class default of
    /// 50256, for example.
    pub(crate) fn token(&self, name: &str, vocab_size: usize) -> Option<u32> {
        let value = self.get(name)?;
        let value = value.as_array().map_or(Some(value), |list| list.first())?;
        u32::try_from(value.as_u64()?).ok().filter(|&id| (id as usize) < vocab_size)
    }

    /// Returns the activation that a field names, or `default`. Without a gate it must be a GELU.
    pub(crate) fn activation(&self, name: &str, default: Activation, gated: bool) -> Result<Activation> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.as_str() {
            // Hugging Face computes each of these in more than one way, with equal results.
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate") => {
                Ok(Activation::GeluNew)
            }
            Some("gelu" | "gelu_python") => Ok(Activation::Gelu),
            Some("silu" | "swish") if gated => Ok(Activation::Silu),
            _ if gated => Err(self.wrong(name, "gelu_new, gelu_pytorch_tanh, gelu or silu", value)),
            _ => Err(self.wrong(name, "gelu_new, gelu_pytorch_tanh or gelu", value)),
        }
    }
}
