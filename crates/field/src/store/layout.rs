//! The layout of a safetensors file: a header that names arrays and their places, then the numbers.

use serde_json::{Map, Value, json};

use super::Planned;

/// Facts by name.
pub(crate) type Metadata = std::collections::BTreeMap<String, String>;

pub(super) fn shape(array: &Planned) -> Vec<usize> {
    array.axes.iter().map(|axis| axis.1).collect()
}

/// A header of at least `length` bytes, its own length included. A function of what it is given: the same result is the
/// same bytes, which a library that keeps metadata in a hash table does not promise.
pub(crate) fn header(arrays: &[Planned], about: &Metadata, length: usize) -> Vec<u8> {
    let axes = arrays.iter().map(|array| {
        let names: Vec<&str> = array.axes.iter().map(|axis| axis.0).collect();
        (format!("axes.{}", array.name), names.join(","))
    });
    let about: Metadata = about.clone().into_iter().chain(axes).collect();
    let mut entries = Map::from_iter([("__metadata__".to_owned(), json!(about))]);
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
    header
}

pub(crate) fn little_endian(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}
