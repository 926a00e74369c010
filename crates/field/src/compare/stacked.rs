//! The prompts of a result file of many prompts, which is read piece by piece.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata};

use crate::error::{Error, Result};
use crate::labelled::{Array, Labelled};
use crate::prompts::{EachPrompt, OnePrompt, Visit};
use crate::read::interned;
use crate::store::Planned;

/// A result file with a first axis `prompt`.
pub(super) struct Stacked {
    path: PathBuf,
    /// Arrays of the prompts, without the axis `prompt`, and where each begins.
    arrays: Vec<(Planned, u64)>,
    /// The metadata, and no arrays.
    about: Labelled,
    names: Vec<String>,
    tokens: Vec<String>,
    lengths: Vec<usize>,
}

impl Stacked {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let fail = |reason: &str| {
            let fix = "give a .safetensors file that --prompts and --out have written, or a folder of --out-dir";
            Error::File { path: path.to_owned(), reason: format!("{reason}; {fix}") }
        };
        let mut file = File::open(path).map_err(|e| fail(&format!("cannot be read: {e}")))?;
        let other = |_| fail("is not a result file");
        let mut header = vec![0; 8];
        file.read_exact(&mut header).map_err(other)?;
        let length = u64::from_le_bytes(header[..].try_into().unwrap_or_default());
        let size = file.metadata().map_err(other)?.len();
        if length > size {
            return Err(fail("is not a result file"));
        }
        header.resize(8 + length as usize, 0);
        file.read_exact(&mut header[8..]).map_err(other)?;
        let start = header.len();
        let header: Metadata = serde_json::from_slice(&header[8..]).map_err(|_| fail("is not a result file"))?;
        let strings: BTreeMap<String, String> = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let about = Labelled::about(&strings).map_err(|what| fail(&format!("is not a result file: {what}")))?;
        let list = |key: &str| serde_json::from_str::<Vec<String>>(strings.get(key)?).ok();
        let names = list("prompt_names").ok_or_else(|| fail("has no prompts"))?;
        let tokens = list("prompt_tokens").unwrap_or_else(|| vec![String::new(); names.len()]);
        let mut found = Self { path: path.to_owned(), arrays: Vec::new(), about, names, tokens, lengths: Vec::new() };
        for name in header.offset_keys() {
            let Some(info) = header.info(&name) else { continue };
            let axes: Vec<&str> = strings.get(&format!("axes.{name}")).map_or("", String::as_str).split(',').collect();
            let whole = info.dtype == Dtype::F32 && axes.len() == info.shape.len();
            let at = (start + info.data_offsets.0) as u64;
            if !whole || (start + info.data_offsets.1) as u64 > size {
                return Err(fail("is not a whole result file"));
            }
            if axes[0] == "prompt" && info.shape[0] == found.names.len() {
                let axes = axes.iter().zip(&info.shape).skip(1).map(|(axis, n)| (interned(axis), *n)).collect();
                found.arrays.push((Planned { name: interned(&name), axes }, at));
            }
        }
        let lengths = found.arrays.iter().position(|(array, _)| array.name == "lengths");
        let (_, at) = found.arrays.remove(lengths.ok_or_else(|| fail("has no prompts"))?);
        let lengths = found.numbers(&mut file, at, found.names.len())?;
        found.lengths = lengths.into_iter().map(|n| n as usize).collect();
        match found.tokens.len() == found.names.len() {
            true => Ok(found),
            false => Err(fail("has other numbers of prompts in its metadata")),
        }
    }

    fn numbers(&self, file: &mut File, at: u64, count: usize) -> Result<Vec<f32>> {
        let mut bytes = vec![0; 4 * count];
        let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes));
        read.map_err(|e| Error::File { path: self.path.clone(), reason: format!("cannot be read: {e}") })?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

impl EachPrompt for Stacked {
    fn each(&self, wanted: &dyn Fn(&str) -> bool, visit: Visit<'_>) -> Result<()> {
        let failed = |e| Error::File { path: self.path.clone(), reason: format!("cannot be read: {e}") };
        let mut file = File::open(&self.path).map_err(failed)?;
        let most = self.lengths.iter().copied().max().unwrap_or(0);
        let roles = BTreeMap::new();
        for (n, name) in self.names.iter().enumerate() {
            let mut result = self.about.metadata_alone();
            for (Planned { name, axes }, at) in self.arrays.iter().filter(|(array, _)| wanted(array.name)) {
                let count: usize = axes.iter().map(|axis| axis.1).product();
                let data = self.numbers(&mut file, at + (4 * n * count) as u64, count)?;
                result.arrays.push(unpadded(Array { name, axes: axes.clone(), data }, most, self.lengths[n]));
            }
            let (tokens, length) = (&self.tokens[n], self.lengths[n]);
            visit(n, &OnePrompt { name, tokens, roles: &roles, length, result: &result })?;
        }
        Ok(())
    }
}

/// Returns an array without the padding after the prompt's own tokens.
fn unpadded(array: Array, most: usize, length: usize) -> Array {
    let Some(token) = array.axes.iter().position(|axis| *axis == ("token", most)) else { return array };
    let inner: usize = array.axes[token + 1..].iter().map(|axis| axis.1).product();
    let mut axes = array.axes;
    axes[token].1 = length;
    let data = array.data.chunks((most * inner).max(1)).flat_map(|rows| rows[..length * inner].to_vec()).collect();
    Array { name: array.name, axes, data }
}
