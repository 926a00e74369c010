//! A model directory of `tests/data` and its golden file.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use resolvent_reference::{Logit, Site, Source};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// Tolerance for two float64 evaluations of the same formulas in another order. The largest measured errors are 9.5e-15
/// for GPT-2 and 1.2e-13 for the families: `second` of qwen3, which is small beside the terms that cancel in it.
const TOLERANCE: f64 = 1e-12;

/// A model directory and its golden file.
pub(crate) struct Golden {
    /// `config.json`.
    pub(crate) config: Value,
    /// The tensors of type f32 in `model.safetensors`.
    pub(crate) weights: HashMap<String, Vec<f64>>,
    /// The prompt.
    pub(crate) tokens: Vec<usize>,
    /// Another prompt, or nothing.
    pub(crate) corrupted: Vec<usize>,
    /// All other arrays.
    pub(crate) arrays: HashMap<String, Vec<f64>>,
    metadata: HashMap<String, String>,
}

impl Golden {
    /// Loads the directory `name`.
    pub(crate) fn load(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name);
        let read = |file: &str| fs::read(folder.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"));
        let config: Value = serde_json::from_slice(&read("config.json")).unwrap();

        let bytes = read("model.safetensors");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut weights = HashMap::new();
        for (name, tensor) in file.tensors().into_iter().filter(|(_, tensor)| tensor.dtype() == Dtype::F32) {
            let words = tensor.data().chunks_exact(4);
            weights.insert(name, words.map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect());
        }

        let bytes = read("golden.safetensors");
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (mut arrays, mut prompts) = (HashMap::new(), HashMap::new());
        for (name, tensor) in file.tensors() {
            let words = tensor.data().chunks_exact(8).map(|b| b.try_into().unwrap());
            if tensor.dtype() == Dtype::I64 {
                let ids: Vec<usize> = words.map(|b| usize::try_from(i64::from_le_bytes(b)).unwrap()).collect();
                prompts.insert(name, ids);
            } else {
                assert_eq!(tensor.dtype(), Dtype::F64);
                arrays.insert(name, words.map(f64::from_le_bytes).collect());
            }
        }
        let tokens = prompts.remove("tokens").unwrap();
        Self { config, weights, tokens, corrupted: prompts.remove("corrupted").unwrap_or_default(), arrays, metadata }
    }

    fn number(&self, key: &str) -> usize {
        self.metadata[key].parse().unwrap()
    }

    /// Returns J.
    pub(crate) fn observable(&self) -> Logit {
        let (target, against) = (self.number("target"), Some(self.number("against")));
        Logit { target, against, position: self.number("position") }
    }

    /// Returns the source s.
    pub(crate) fn source(&self) -> Source<'_> {
        let site = Site::ResidPre(self.number("source_layer"));
        Source { site, token: self.number("source_token"), vector: &self.arrays["source"] }
    }

    /// Checks an array of the file, and returns its error.
    #[track_caller]
    pub(crate) fn agree(&self, what: &str, found: &[f64]) -> f64 {
        agree(what, found, &self.arrays[what])
    }
}

/// Checks the largest difference, relative to the largest value of the array, and returns it. NaN fails.
#[track_caller]
pub(crate) fn agree(what: &str, found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(size > 0.0, "{what}: a comparison with zeros proves nothing");
    let mut worst: f64 = 0.0;
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let error = (a - b).abs() / size;
        assert!(error <= TOLERANCE, "{what}[{i}]: {a:e} is not {b:e}");
        worst = worst.max(error);
    }
    println!("{what}: {worst:.1e}");
    worst
}
