//! Model directories that are copies of a golden one, complete or damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use resolvent_tests::Golden;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use tempfile::TempDir;

use super::utf8;

/// A tensor of a weight file.
#[derive(Clone)]
pub(super) struct Tensor {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl Tensor {
    pub(super) fn zeros(shape: &[usize]) -> Self {
        let bytes = vec![0; 4 * shape.iter().product::<usize>()];
        Self { dtype: Dtype::F32, shape: shape.to_vec(), bytes }
    }
}

/// A copy of `tiny-odd` that tests may change. It is removed when the value is dropped.
pub(super) struct Directory(TempDir);

impl Directory {
    pub(super) fn copy() -> Self {
        let copy = Self(tempfile::tempdir().expect("a temporary folder"));
        for name in ["config.json", "model.safetensors"] {
            fs::copy(Golden::directory("tiny-odd").join(name), copy.file(name)).expect("a copy");
        }
        copy
    }

    /// Returns the path as an argument.
    pub(super) fn argument(&self) -> String {
        utf8(self.0.path())
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Sets one entry of `config.json`.
    pub(super) fn set(self, key: &str, value: Value) -> Self {
        let path = self.file("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("json");
        config[key] = value;
        fs::write(path, config.to_string()).expect("writable");
        self
    }

    /// Changes the tensors of the weight file.
    pub(super) fn tensors(self, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> Self {
        let bytes = fs::read(self.file("model.safetensors")).expect("a file");
        let file = SafeTensors::deserialize(&bytes).expect("a weight file");
        let tensor = |view: TensorView<'_>| Tensor {
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        };
        let mut tensors = file.tensors().into_iter().map(|(name, view)| (name, tensor(view))).collect();
        change(&mut tensors);
        let views =
            tensors.iter().map(|(n, t)| (n, TensorView::new(t.dtype, t.shape.clone(), &t.bytes).expect("fits")));
        let bytes = safetensors::serialize(views, None).expect("a weight file");
        self.write("model.safetensors", &bytes)
    }

    /// Changes the bytes of the weight file.
    pub(super) fn bytes(self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = fs::read(self.file("model.safetensors")).expect("a file");
        change(&mut bytes);
        self.write("model.safetensors", &bytes)
    }

    pub(super) fn write(self, name: &str, bytes: &[u8]) -> Self {
        fs::write(self.file(name), bytes).expect("writable");
        self
    }

    pub(super) fn without(self, name: &str) -> Self {
        fs::remove_file(self.file(name)).expect("was there");
        self
    }

    /// Adds a tokenizer of GPT-2's kind over lower-case letters.
    ///
    /// Its ids are 0 for `a` to 25 for `z`, then 26 to 30 for a space, ` a`, ` b`, `ab` and ` ab`.
    pub(super) fn with_tokenizer(self) -> Self {
        let letters = ('a'..='z').map(String::from);
        let more = ["Ġ", "Ġa", "Ġb", "ab", "Ġab"].map(str::to_owned);
        let vocab: BTreeMap<String, usize> = letters.chain(more).zip(0..).collect();
        let vocab = serde_json::to_vec(&vocab).expect("json");
        self.write("vocab.json", &vocab).write("merges.txt", "#version: 0.2\nĠ a\nĠa b\na b\nĠ b\n".as_bytes())
    }
}
