//! Reads result files back, for resumed studies and for pages that are made from files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::labelled::{Array, Labelled, NOISE};

impl Labelled {
    /// Reads a result that [`Labelled::write`] wrote as safetensors. Arrays come back in the order of their names.
    ///
    /// # Errors
    /// A file that cannot be read, or that is not a result file.
    pub fn read(path: &Path) -> Result<Self> {
        let fail = |reason: String| Error::File { path: path.to_owned(), reason };
        let bytes = std::fs::read(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
        let damaged = |what: &str| fail(format!("is not a result file of this program: {what}; remove it"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&e.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&e.to_string()))?;
        let mut result = Self::default();
        for (key, value) in header.metadata().iter().flatten() {
            match key.split_once('.') {
                Some(("axes", _)) => {}
                Some(("certificate", name)) => {
                    let (value, bound) = value.split_once(" <= ").ok_or_else(|| damaged(key))?;
                    let (bound, noise) = bound.split_once(NOISE).unwrap_or((bound, "0"));
                    let number = |text: &str| text.parse().map_err(|_| damaged(key));
                    let name = interned(name);
                    let certificate = Certificate::new(name, number(value)?, number(bound)?);
                    result.certificates.push(certificate.with_noise(number(noise)?));
                }
                _ => drop(result.metadata.insert(key.clone(), value.clone())),
            }
        }
        result.certificates.sort_by_key(|c| c.name);
        let metadata = header.metadata().clone().unwrap_or_default();
        for (name, view) in file.tensors() {
            let axes =
                metadata.get(&format!("axes.{name}")).ok_or_else(|| damaged(&format!("`{name}` has no axes")))?;
            let axes: Vec<&str> = axes.split(',').collect();
            if view.dtype() != Dtype::F32 || axes.len() != view.shape().len() {
                return Err(damaged(&format!(
                    "`{name}` is {:?} {:?}, which does not fit its axes",
                    view.dtype(),
                    view.shape()
                )));
            }
            let axes = axes.iter().zip(view.shape()).map(|(axis, n)| (interned(axis), *n)).collect();
            let data = bytemuck::pod_collect_to_vec(view.data());
            result.arrays.push(Array { name: interned(&name), axes, data });
        }
        result.arrays.sort_by_key(|a| a.name);
        Ok(result)
    }
}

/// Returns a name that lives as long as the program. Files have few names, and each is stored once.
pub(crate) fn interned(name: &str) -> &'static str {
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
        let path = folder.path().join("x.safetensors");
        let written = Labelled::default()
            .with("a", &[("level", 2), ("token", 1)], vec![1.0, -2.5])
            .with("b", &[("value", 1)], vec![f32::NAN])
            .note("analysis", "test")
            .certify(Certificate::new("adjoint", 2.5e-7, 1e-5))
            .expect("holds")
            .certify(Certificate::new("slope", 2.5e-3, 5e-2).with_noise(1.5e-4))
            .expect("holds");
        written.write(&path).expect("writes");
        let read = Labelled::read(&path).expect("reads");
        assert_eq!(read.array("a"), written.array("a"));
        assert!(read.array("b").expect("b").data[0].is_nan());
        assert_eq!((read.metadata, read.certificates), (written.metadata, written.certificates));
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
        assert!(error(&path).contains("`x` has no axes"));
    }
}
