//! The rules that readers of safetensors, such as the Python package, require of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

/// The entries of a JSON object in order, including repeated keys.
struct Entries(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        from.deserialize_map(Visitor)
    }
}

/// The longest header that the Python package reads.
const HEADER: u64 = 100_000_000;

/// Checks the rules of the format one by one, then opens the file with the safetensors library, and returns its arrays.
#[track_caller]
pub(super) fn readable(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let what = path.display();
    let (length, rest) = bytes.split_first_chunk().unwrap_or_else(|| panic!("{what}: no header"));
    let length = u64::from_le_bytes(*length);
    assert!(length <= HEADER && length as usize <= rest.len(), "{what}: a header of {length} bytes");
    let (header, data) = rest.split_at(length as usize);
    assert!(header.starts_with(b"{") && length.is_multiple_of(8), "{what}: the data are not aligned");
    let Entries(entries) = serde_json::from_slice(header).unwrap_or_else(|e| panic!("{what}: {e}"));
    let names: BTreeSet<&String> = entries.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), entries.len(), "{what}: a name is repeated");
    let mut ranges = Vec::new();
    for (name, entry) in &entries {
        if name == "__metadata__" {
            let all = entry.as_object().unwrap_or_else(|| panic!("{what}: metadata {entry}"));
            assert!(all.values().all(Value::is_string), "{what}: metadata that is no text");
            continue;
        }
        let numbers = |key: &str| -> Vec<u64> {
            let list = entry[key].as_array().unwrap_or_else(|| panic!("{what}: {name} has no {key}"));
            list.iter().map(|n| n.as_u64().unwrap_or_else(|| panic!("{what}: {name}: {key}"))).collect()
        };
        let (shape, offsets) = (numbers("shape"), numbers("data_offsets"));
        assert_eq!((entry["dtype"].as_str(), offsets.len()), (Some("F32"), 2), "{what}: {name}");
        assert_eq!(offsets[1] - offsets[0], 4 * shape.iter().product::<u64>(), "{what}: {name}");
        ranges.push((offsets[0], offsets[1]));
    }
    ranges.sort_unstable();
    let end = ranges.iter().fold(0, |end, &(from, to)| {
        assert_eq!(from, end, "{what}: a gap or an overlap");
        to
    });
    assert_eq!(end, data.len() as u64, "{what}: bytes that are no array's");
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
    file.tensors().into_iter().map(|(name, view)| (name, bytemuck::pod_collect_to_vec(view.data()))).collect()
}
