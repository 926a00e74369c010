//! Golden files: small models, and f64 results of another implementation on them. See `data/README.md`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use resolvent_model::{Observable, Site, Source};
use safetensors::{Dtype, SafeTensors};

/// A model directory below `data`, with its golden file.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Its path below `data`.
    pub name: &'static str,
    /// The prompt.
    pub tokens: Vec<u32>,
    /// Another prompt of the same length, the source of the array `patch`; empty in the files of [`Golden::all`].
    pub corrupted: Vec<u32>,
    arrays: HashMap<String, Vec<f64>>,
    metadata: HashMap<String, String>,
}

impl Golden {
    /// Loads the golden files of GPT-2.
    pub fn all() -> Vec<Self> {
        ["tiny-odd", "tiny-inner", "tiny-wide"].map(Self::load).into()
    }

    /// Loads the golden files of the other model families, one or more for each family.
    pub fn families() -> Vec<Self> {
        [
            "families/llama",
            "families/llama-plain",
            "families/llama-linear",
            "families/llama-yarn",
            "families/mistral",
            "families/qwen2",
            "families/qwen3",
            "families/gpt_neox",
            "families/gpt_neox-seq",
            "families/gemma2",
            "families/gemma3",
            "families/gemma3-wide",
            "families/olmo2",
            "families/gemma",
            "families/olmo3",
            "families/olmo",
            "families/starcoder2",
            "families/ministral",
            "families/smollm3",
            "families/granite",
            "families/phi3",
            "families/stablelm",
            "families/stablelm-seq",
            "families/gpt_neo",
            "families/cohere",
            "families/cohere2",
        ]
        .map(Self::load)
        .into()
    }

    /// Loads golden files in which every feature of a block occurs that an analysis can depend on. What all families
    /// have in common is tested with [`Golden::families`].
    pub fn forms() -> Vec<Self> {
        [
            "families/llama",
            "families/llama-yarn",
            "families/mistral",
            "families/qwen3",
            "families/gpt_neox",
            "families/gpt_neox-seq",
            "families/gemma2",
            "families/gemma3",
            "families/olmo2",
            "families/olmo",
            "families/smollm3",
            "families/gpt_neo",
            "families/cohere",
        ]
        .map(Self::load)
        .into()
    }

    /// Returns the model directory of `name`.
    pub fn directory(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
    }

    /// Loads the golden file of `name`.
    ///
    /// # Panics
    /// If the file is damaged.
    pub fn load(name: &'static str) -> Self {
        let path = Self::directory(name).join("golden.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        let metadata = header.metadata().clone().expect("metadata");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let (mut arrays, mut prompts) = (HashMap::new(), HashMap::new());
        for (array, view) in file.tensors() {
            match view.dtype() {
                Dtype::I64 => {
                    let ids = bytemuck::pod_collect_to_vec::<u8, i64>(view.data());
                    let ids: Vec<u32> = ids.into_iter().map(|id| u32::try_from(id).expect("an id")).collect();
                    prompts.insert(array, ids);
                }
                Dtype::F64 => {
                    arrays.insert(array, bytemuck::pod_collect_to_vec::<u8, f64>(view.data()));
                }
                other => panic!("{name}: {array} is {other:?}"),
            }
        }
        let tokens = prompts.remove("tokens").expect("a prompt");
        let corrupted = prompts.remove("corrupted").unwrap_or_default();
        Self { name, tokens, corrupted, arrays, metadata }
    }

    /// Returns an array of the file.
    ///
    /// # Panics
    /// If the file has no array of this name.
    pub fn array(&self, name: &str) -> &[f64] {
        self.arrays.get(name).unwrap_or_else(|| panic!("{}: no array `{name}`", self.name))
    }

    fn number(&self, key: &str) -> usize {
        self.metadata[key].parse().expect("a number")
    }

    /// Returns the observable J.
    pub fn observable(&self) -> Observable {
        let [target, against] = ["target", "against"].map(|key| self.number(key) as u32);
        Observable::logit_diff(target, against, self.number("position"))
    }

    /// Returns level and token of the source s.
    pub fn place(&self) -> (usize, usize) {
        (self.number("source_layer"), self.number("source_token"))
    }

    /// Returns the source s.
    pub fn source(&self) -> Source {
        let (level, token) = self.place();
        let vector = self.array("source").iter().map(|&x| x as f32).collect();
        Source { site: Site::ResidPre(level), token, vector }
    }
}
