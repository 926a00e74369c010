//! The layout of a safetensors file: a header with the names and offsets of arrays, then their elements.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::Planned;
use super::spool::Spool;
use crate::error::{Error, Result};

/// Metadata of a file: values by name.
pub(crate) type Metadata = BTreeMap<String, String>;

/// Returns the shape of an array, outermost axis first.
pub(super) fn shape(array: &Planned) -> Vec<usize> {
    array.axes.iter().map(|axis| axis.1).collect()
}

/// An entry of the metadata of a file that is written piece by piece.
#[derive(Clone, Copy)]
pub(crate) enum Text<'a> {
    Whole(&'a str),
    /// A JSON list, whose elements are the lines of a spool, and the text before it.
    List(&'a str, &'a Spool<'a>),
}

/// Returns a header of at least `length` bytes, including the field of its own length.
///
/// The same arguments give the same bytes. Libraries that store metadata in a hash table do not guarantee this.
///
/// # Errors
/// Two arrays with the same name: the file would have the data of both but name only one, and no reader accepts that.
pub(crate) fn header(arrays: &[Planned], about: &Metadata, length: usize) -> Result<Vec<u8>> {
    distinct_names(arrays.iter().map(|array| array.name))?;
    let about = about.iter().map(|(key, text)| (key.clone(), Text::Whole(text))).collect();
    let mut bytes = Vec::new();
    // Memory takes all bytes.
    let _infallible = write_header(&mut bytes, arrays, &about, length);
    Ok(bytes)
}

/// Writes a header as [`header`] returns it, of arrays with distinct names. Returns its length.
pub(crate) fn write_header(
    into: &mut dyn Write,
    arrays: &[Planned],
    about: &BTreeMap<String, Text<'_>>,
    length: usize,
) -> io::Result<u64> {
    let mut counted = Counted(0);
    write_text(&mut counted, arrays, about)?;
    let padded = (length.saturating_sub(8) as u64).max(counted.0.next_multiple_of(8));
    into.write_all(&padded.to_le_bytes())?;
    write_text(into, arrays, about)?;
    into.write_all(&vec![b' '; (padded - counted.0) as usize])?;
    Ok(8 + padded)
}

/// Writes the JSON object of a header: metadata and arrays in the order of their names.
fn write_text(into: &mut dyn Write, arrays: &[Planned], about: &BTreeMap<String, Text<'_>>) -> io::Result<()> {
    let names =
        arrays.iter().map(|a| (format!("axes.{}", a.name), a.axes.iter().map(|axis| axis.0).collect::<Vec<_>>()));
    let axes: BTreeMap<String, String> = names.map(|(key, names)| (key, names.join(","))).collect();
    let mut about = about.clone();
    about.extend(axes.iter().map(|(key, names)| (key.clone(), Text::Whole(names))));
    let mut entries = BTreeMap::from([(METADATA, None)]);
    let mut at = 0;
    for array in arrays {
        let end = at + 4 * array.len() as u64;
        entries.insert(array.name, Some(json!({ "dtype": "F32", "shape": shape(array), "data_offsets": [at, end] })));
        at = end;
    }
    let mut before = '{';
    for (name, entry) in entries {
        write!(into, "{before}{}:", Value::from(name))?;
        before = ',';
        match entry {
            Some(entry) => write!(into, "{entry}")?,
            None => write_metadata(into, &about)?,
        }
    }
    into.write_all(b"}")
}

fn write_metadata(into: &mut dyn Write, about: &BTreeMap<String, Text<'_>>) -> io::Result<()> {
    into.write_all(b"{")?;
    for (n, (key, text)) in about.iter().enumerate() {
        write!(into, "{}{}:\"", if n == 0 { "" } else { "," }, Value::from(key.as_str()))?;
        match text {
            Text::Whole(text) => write_escaped(into, text)?,
            Text::List(before, list) => {
                write_escaped(into, before)?;
                let mut before = "[";
                list.each(&mut |element| {
                    write_escaped(into, before)?;
                    before = ",";
                    write_escaped(into, element)
                })?;
                write_escaped(into, if before == "[" { "[]" } else { "]" })?;
            }
        }
        into.write_all(b"\"")?;
    }
    into.write_all(b"}")
}

/// Writes a text as it is inside a JSON string.
fn write_escaped(into: &mut dyn Write, text: &str) -> io::Result<()> {
    let quoted = Value::from(text).to_string();
    into.write_all(&quoted.as_bytes()[1..quoted.len() - 1])
}

/// Counts what is written.
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
    use super::super::spool::Room;
    use super::*;

    #[test]
    fn lists_have_the_bytes_of_their_text() {
        let texts = ["plain", "a \"quote\", a \\ and a\nline", "é\u{1}\u{2028}"];
        for count in 0..=texts.len() {
            let mut list = Spool::new(Room::MEMORY);
            texts[..count].iter().for_each(|text| list.push(&json!(text).to_string()).expect("memory"));
            let text = format!("before \"it\": {}", json!(texts[..count]));
            let arrays = [Planned::new("x", &[("level", 2), ("token", 3)]), Planned::new("X", &[("value", 1)])];
            let whole = Metadata::from([("b".to_owned(), text), ("c".to_owned(), "é".to_owned())]);
            let about = [("c", Text::Whole("é")), ("b", Text::List("before \"it\": ", &list))];
            let about = about.into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
            for length in [0, 1000] {
                let mut bytes = Vec::new();
                let written = write_header(&mut bytes, &arrays, &about, length).expect("memory");
                let wanted = header(&arrays, &whole, length).expect("distinct names");
                assert_eq!((&bytes, written), (&wanted, bytes.len() as u64), "{count}");
                let axes = "\"axes.X\":\"value\",\"axes.x\":\"level,token\"";
                assert!(String::from_utf8_lossy(&bytes).contains(axes) && bytes.len().is_multiple_of(8));
            }
        }
    }

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
