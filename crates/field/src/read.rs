//! Reads result files back, for resumed studies and for pages that are made from files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::json::{JsonArray, JsonFile};
use crate::labelled::{Array, Labelled, NOISE};

impl Labelled {
    /// Reads a result that [`Labelled::write`] wrote, as safetensors or JSON. Arrays come back in their order, checks
    /// in the order of their names.
    ///
    /// # Errors
    /// A file that cannot be read, or that is not a result file.
    pub fn read(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::File { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
        let found = match path.extension().is_some_and(|ending| ending == "json") {
            true => from_json(&bytes),
            false => from_safetensors(&bytes),
        };
        let fix = "give a .safetensors or .json file of a result, or another name";
        found.map_err(|what| fail(format!("is not a result file of this program: {what}; {fix}")))
    }

    /// Returns a result with the metadata of a file: provenance and checks.
    pub(crate) fn about(strings: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut result = Self::default();
        for (key, value) in strings {
            match key.split_once('.') {
                Some(("axes", _)) => {}
                Some(("certificate", name)) => {
                    let (value, bound) = value.split_once(" <= ").ok_or(key)?;
                    let (bound, noise) = bound.split_once(NOISE).unwrap_or((bound, "0"));
                    let number = |text: &str| text.parse().map_err(|_| key.clone());
                    let name = interned(name);
                    let certificate = Certificate::new(name, number(value)?, number(bound)?);
                    result.certificates.push(certificate.with_noise(number(noise)?));
                }
                _ => drop(result.metadata.insert(key.clone(), value.clone())),
            }
        }
        result.certificates.sort_by_key(|c| c.name);
        Ok(result)
    }
}

/// Returns the names of an array's axes, which must fit its shape.
fn axes_of(
    name: &str,
    shape: &[usize],
    strings: &BTreeMap<String, String>,
) -> Result<Vec<(&'static str, usize)>, String> {
    let axes = strings.get(&format!("axes.{name}")).ok_or_else(|| format!("`{name}` has no axes"))?;
    let axes: Vec<&str> = axes.split(',').collect();
    match axes.len() == shape.len() {
        true => Ok(axes.iter().zip(shape).map(|(axis, n)| (interned(axis), *n)).collect()),
        false => Err(format!("`{name}` is {shape:?}, which does not fit its axes {}", axes.join(", "))),
    }
}

pub(crate) fn from_safetensors(bytes: &[u8]) -> Result<Labelled, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let strings = header.metadata().clone().unwrap_or_default().into_iter().collect();
    let mut result = Labelled::about(&strings)?;
    // The order of the elements is that of the arrays.
    for name in header.offset_keys() {
        let view = file.tensor(&name).map_err(|e| e.to_string())?;
        let axes = axes_of(&name, view.shape(), &strings)?;
        if view.dtype() != Dtype::F32 {
            return Err(format!("`{name}` is {:?}", view.dtype()));
        }
        let data = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        result.arrays.push(Array { name: interned(&name), axes, data });
    }
    Ok(result)
}

fn from_json(bytes: &[u8]) -> Result<Labelled, String> {
    let file: JsonFile = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let mut result = Labelled::about(&file.metadata)?;
    for (name, JsonArray { data, shape }) in file.arrays.0 {
        let axes = axes_of(&name, &shape, &file.metadata)?;
        let elements = shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n));
        if elements != Some(data.len()) {
            return Err(format!("`{name}` is {shape:?} and has {} elements", data.len()));
        }
        let data = data.into_iter().map(|x| x.0).collect();
        result.arrays.push(Array { name: interned(&name), axes, data });
    }
    Ok(result)
}

/// Returns a name that lives as long as the program. Files have few names, and each is stored once.
pub fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(name);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        // Neither the order of the arrays nor a digit of a check is lost.
        let written = Labelled::default()
            .with("b", &[("value", 3)], vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY])
            .with("a", &[("level", 2), ("token", 1)], vec![1.0 / 3.0, -2.5])
            .note("analysis", "test")
            .certify(Certificate::new("adjoint", 1e-6 / 3.0, 1e-5))
            .expect("holds")
            .certify(Certificate::new("slope", 2.5e-3, 5e-2).with_noise(1e-4 / 7.0))
            .expect("holds");
        for name in ["x.safetensors", "x.json"] {
            let path = folder.path().join(name);
            written.write(&path).expect("writes");
            let read = Labelled::read(&path).expect("reads");
            let names: Vec<&str> = read.arrays.iter().map(|a| a.name).collect();
            assert_eq!(names, ["b", "a"], "{name}");
            assert_eq!(read.array("a"), written.array("a"), "{name}");
            let gaps = &read.array("b").expect("b").data;
            assert!(gaps[0].is_nan() && gaps[1..] == [f32::INFINITY, f32::NEG_INFINITY], "{name}: {gaps:?}");
            assert_eq!((read.metadata, read.certificates), (written.metadata.clone(), written.certificates.clone()));
        }
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.safetensors");
        let error = |path: &Path| Labelled::read(path).expect_err("refused").to_string();
        assert!(error(&path).contains("cannot be read"));
        std::fs::write(&path, b"not this").expect("writes");
        assert!(error(&path).contains("not a result file of this program"));
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![1], &[0; 4]).expect("a view");
        let bytes = safetensors::serialize([("x", view)], None).expect("a file");
        std::fs::write(&path, bytes).expect("writes");
        // It may be the only copy of somebody's weights.
        assert!(error(&path).contains("`x` has no axes") && !error(&path).contains("remove"));
        let path = folder.path().join("x.json");
        for (text, part) in [
            ("[1]", "not a result file"),
            (r#"{"arrays": {"a": {"shape": [2], "data": [1]}}, "metadata": {"axes.a": "level"}}"#, "has 1 elements"),
            (r#"{"arrays": {"a": {"shape": [1], "data": ["x"]}}, "metadata": {"axes.a": "level"}}"#, "a number"),
            (r#"{"arrays": {"a": {"shape": [1], "data": [1]}}, "metadata": {}}"#, "has no axes"),
            (
                r#"{"arrays": {"a": {"shape": [1], "data": [1]}}, "metadata": {"axes.a": "x,y"}}"#,
                "does not fit its axes",
            ),
        ] {
            std::fs::write(&path, text).expect("writes");
            assert!(error(&path).contains(part), "{}", error(&path));
        }
    }
}
