//! JSON objects in the order of their file. New tokens get their ids in that order, which Python's dictionaries
//! preserve.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::error::one_line;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Flag(bool),
    /// A number; `None` unless it is a non-negative integer. No setting of a tokenizer needs other numbers.
    Number(Option<u64>),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// An object. A key given twice has its last value, at its first position.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object(pub(super) Vec<(String, Json)>);

impl Object {
    /// Parses the text of a file.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(Json::Object(object)) => Ok(object),
            Ok(_) => Err("not a JSON object".to_owned()),
            Err(e) => Err(format!("not a JSON object ({})", one_line(&e))),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Json> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(super) fn set(&mut self, key: &str, value: Json) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Json> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(at).1)
    }
}

impl Json {
    /// Returns whether Python treats the value as true.
    pub(super) fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Flag(flag) => *flag,
            Self::Number(number) => *number != Some(0),
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Object(object) => !object.0.is_empty(),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Flag(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(Some(value)))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Number(None))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number(None))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut object = Object::default();
        let mut positions = std::collections::HashMap::new();
        while let Some((key, value)) = map.next_entry::<String, Json>()? {
            let end = object.0.len();
            match *positions.entry(key.clone()).or_insert(end) {
                at if at == end => object.0.push((key, value)),
                at => object.0[at].1 = value,
            }
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_keep_their_order() {
        let text = r#"{"b": 1, "a": [null, true, -1, 0.5, "x"], "b": {"d": "", "c": false}}"#;
        let object = Object::parse(text).expect("an object");
        let keys: Vec<&str> = object.0.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["b", "a"]);
        let Some(Json::Object(inner)) = object.get("b") else { panic!("{object:?}") };
        assert_eq!(inner.0[0], ("d".to_owned(), Json::Text(String::new())));
        assert!(!inner.0[0].1.is_truthy() && object.get("a").is_some_and(Json::is_truthy));
        for text in ["[]", "3", "{", ""] {
            assert!(Object::parse(text).is_err_and(|e| e.starts_with("not a JSON object")), "{text}");
        }
    }
}
