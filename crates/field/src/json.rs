//! Results as JSON: one object with `arrays`, in their order, and `metadata`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A result file.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct JsonFile {
    pub(crate) arrays: JsonArrays,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Arrays by their names, in the order of the file.
pub(crate) struct JsonArrays(pub(crate) Vec<(String, JsonArray)>);

/// The elements of an array, row-major, and its shape.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct JsonArray {
    pub(crate) data: Vec<Element>,
    pub(crate) shape: Vec<usize>,
}

/// A number. JSON has no infinity, which is `"inf"` or `"-inf"`, and no NaN, which is null.
pub(crate) struct Element(pub(crate) f32);

impl Serialize for JsonArrays {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, array) in &self.0 {
            map.serialize_entry(name, array)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for JsonArrays {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = JsonArrays;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("arrays by their names")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<JsonArrays, M::Error> {
                let mut arrays = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    arrays.push(entry);
                }
                Ok(JsonArrays(arrays))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Serialize for Element {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            x if x == f32::INFINITY => serializer.serialize_str("inf"),
            x if x == f32::NEG_INFINITY => serializer.serialize_str("-inf"),
            x if x.is_nan() => serializer.serialize_none(),
            x => serializer.serialize_f32(x),
        }
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, null for NaN, or \"inf\" or \"-inf\"")
            }

            fn visit_f64<E: Error>(self, x: f64) -> Result<Element, E> {
                Ok(Element(x as f32))
            }

            fn visit_i64<E: Error>(self, x: i64) -> Result<Element, E> {
                Ok(Element(x as f32))
            }

            fn visit_u64<E: Error>(self, x: u64) -> Result<Element, E> {
                Ok(Element(x as f32))
            }

            fn visit_unit<E: Error>(self) -> Result<Element, E> {
                Ok(Element(f32::NAN))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Element, E> {
                match text {
                    "inf" => Ok(Element(f32::INFINITY)),
                    "-inf" => Ok(Element(f32::NEG_INFINITY)),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}
