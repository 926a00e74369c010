//! The layout of a safetensors file: a header with the names and offsets of arrays, then their elements.

use serde_json::{Map, Value, json};

use super::Planned;
use crate::error::{Error, Result};

/// Metadata of a file: values by name.
pub(crate) type Metadata = std::collections::BTreeMap<String, String>;

/// Returns the shape of an array, outermost axis first.
pub(super) fn shape(array: &Planned) -> Vec<usize> {
    array.axes.iter().map(|axis| axis.1).collect()
}

/// Returns a header of at least `length` bytes, including the field of its own length.
///
/// The same arguments give the same bytes. Libraries that store metadata in a hash table do not guarantee this.
///
/// # Errors
/// Two arrays with the same name: the file would have the data of both but name only one, and no reader accepts that.
pub(crate) fn header(arrays: &[Planned], about: &Metadata, length: usize) -> Result<Vec<u8>> {
    distinct_names(arrays.iter().map(|array| array.name))?;
    let axes = arrays.iter().map(|array| {
        let names: Vec<&str> = array.axes.iter().map(|axis| axis.0).collect();
        (format!("axes.{}", array.name), names.join(","))
    });
    let about: Metadata = about.clone().into_iter().chain(axes).collect();
    let mut entries = Map::from_iter([(METADATA.to_owned(), json!(about))]);
    let mut at = 0;
    for array in arrays {
        let end = at + 4 * array.len() as u64;
        let entry = json!({ "dtype": "F32", "shape": shape(array), "data_offsets": [at, end] });
        entries.insert(array.name.to_owned(), entry);
        at = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    let padded = length.saturating_sub(8).max(text.len().next_multiple_of(8));
    text.resize(padded, b' ');
    let mut header = (padded as u64).to_le_bytes().to_vec();
    header.extend(text);
    Ok(header)
}

/// Key of the metadata in the header of a safetensors file.
const METADATA: &str = "__metadata__";

/// Checks that the names of arrays are distinct.
pub(crate) fn distinct_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = std::collections::BTreeSet::from([METADATA]);
    for name in names {
        if !seen.insert(name) {
            let reason = format!("two arrays of the result have the name `{name}`; give each a name of its own");
            return Err(Error::Input(reason));
        }
    }
    Ok(())
}

/// Returns the first difference between facts that identify work, in words; `None` if there is none.
///
/// A hash shows that something differs, but not what, so it is compared last.
pub(crate) fn difference(theirs: &Map<String, Value>, ours: &Map<String, Value>) -> Option<String> {
    let mut keys: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
    keys.sort_by_key(|key| (key.contains("hash"), key.as_str()));
    let key = keys.into_iter().find(|key| ours.get(*key) != theirs.get(*key))?;
    let shown = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "none".to_owned(),
    };
    Some(format!("`{key}` was {} and is now {}", shown(theirs.get(key)), shown(ours.get(key))))
}

/// Returns the bytes of some elements, as a file stores them.
pub(crate) fn little_endian(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_arrays_of_one_name_are_refused() {
        let planned = |names: &[&'static str]| -> Vec<Planned> {
            names.iter().map(|name| Planned::new(name, &[("value", 1)])).collect()
        };
        assert!(header(&planned(&["effect", "first_order"]), &Metadata::new(), 0).is_ok());
        let error = header(&planned(&["effect", "value", "effect"]), &Metadata::new(), 0).map(|_| ());
        let error = error.map_err(|e| e.to_string());
        assert!(
            error.as_ref().is_err_and(|e| e.contains("two arrays of the result have the name `effect`")),
            "{error:?}"
        );
        let twice = ["x", "x"]
            .into_iter()
            .fold(crate::Labelled::default(), |result, name| result.with(name, &[("value", 1)], vec![1.0]));
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["out.safetensors", "out.json"] {
            let path = folder.path().join(name);
            assert!(twice.write(&path).is_err() && !path.exists(), "{name}");
        }
    }
}
