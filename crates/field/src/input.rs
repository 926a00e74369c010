//! Arrays that a user provides in a safetensors file.

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use resolvent_engine::did_you_mean;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;

use crate::error::{Error, Result};

/// Returns the path that an argument is, if it is none of `names`. A word that is no file either is a mistyped name:
/// the error lists the names, and the one that was probably meant.
pub(crate) fn file_argument(what: &str, text: &str, names: &[&str]) -> Result<PathBuf> {
    if Path::new(text).exists() {
        return Ok(text.into());
    }
    let meant = did_you_mean(text.split(':').next().unwrap_or_default(), names.iter().copied());
    // A path that is missing is an error of the file system, when the file is read.
    if meant.is_empty() && text.contains(['/', '\\', '.']) {
        return Ok(text.into());
    }
    let names = names.join(", ");
    Err(Error::Input(format!("invalid {what} `{text}`: no such file, and none of {names}{meant}")))
}

/// A safetensors file of the user.
pub(crate) struct Input<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
}

impl<'a> Input<'a> {
    /// Reads `path`.
    pub(crate) fn open(path: &'a Path) -> Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(e) => Err(fail(path, format!("cannot be read: {e}"))),
        }
    }

    /// Returns the array `name` and its shape, if the file has it. `wanted` is the expected shape, with `None` for any
    /// length.
    pub(crate) fn array(&self, name: &str, wanted: &[Option<usize>]) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let path = self.path;
        let file =
            SafeTensors::deserialize(&self.bytes).map_err(|e| fail(path, format!("is not a safetensors file: {e}")))?;
        let Ok(view) = file.tensor(name) else { return Ok(None) };
        let (dtype, shape) = (view.dtype(), view.shape());
        let fits = shape.len() == wanted.len() && shape.iter().zip(wanted).all(|(n, w)| w.is_none_or(|w| w == *n));
        let Some(elements) = widened(dtype, view.data()).filter(|_| fits && !shape.contains(&0)) else {
            let wanted: Vec<String> =
                wanted.iter().map(|w| w.map_or_else(|| "any".to_owned(), |w| w.to_string())).collect();
            let wanted = wanted.join(", ");
            return Err(fail(path, format!("`{name}` is {dtype:?} {shape:?}, wanted F32, F16 or BF16 [{wanted}]")));
        };
        match elements.iter().all(|x| x.is_finite()) {
            true => Ok(Some((shape.to_vec(), elements))),
            false => Err(fail(path, format!("`{name}` has elements that are not finite"))),
        }
    }

    /// Returns an array as [`Input::array`] does; an error if the file does not have it.
    pub(crate) fn needed(&self, name: &str, wanted: &[Option<usize>]) -> Result<(Vec<usize>, Vec<f32>)> {
        self.array(name, wanted)?.ok_or_else(|| fail(self.path, format!("has no array `{name}`")))
    }
}

/// Returns stored elements as f32; `None` for other formats than F32, F16 and BF16.
fn widened(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F32 => Some(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        Dtype::F16 => Some(pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect()),
        Dtype::BF16 => Some(pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
        _ => None,
    }
}

fn fail(path: &Path, reason: String) -> Error {
    Error::File { path: path.to_owned(), reason }
}
