//! Golden files: small models, and what another implementation computes on them in f64. See `data/README.md`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use resolvent_model::{Observable, Site, Source};
use safetensors::{Dtype, SafeTensors};

/// One folder of `data`.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Its name.
    pub name: &'static str,
    /// The prompt.
    pub tokens: Vec<u32>,
    arrays: HashMap<String, Vec<f64>>,
    metadata: HashMap<String, String>,
}

impl Golden {
    /// All of them.
    pub fn all() -> Vec<Self> {
        ["tiny-odd", "tiny-inner", "tiny-wide"].map(Self::load).into()
    }

    /// The model directory of `name`.
    pub fn directory(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
    }

    /// The golden file of `name`.
    ///
    /// # Panics
    /// If it is damaged.
    pub fn load(name: &'static str) -> Self {
        let path = Self::directory(name).join("golden.safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a header");
        let metadata = header.metadata().clone().expect("metadata");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let (mut arrays, mut tokens) = (HashMap::new(), Vec::new());
        for (array, view) in file.tensors() {
            match view.dtype() {
                Dtype::I64 => tokens = bytemuck::pod_collect_to_vec::<u8, i64>(view.data()),
                Dtype::F64 => {
                    arrays.insert(array, bytemuck::pod_collect_to_vec::<u8, f64>(view.data()));
                }
                other => panic!("{name}: {array} is {other:?}"),
            }
        }
        let tokens = tokens.into_iter().map(|id| u32::try_from(id).expect("an id")).collect();
        Self { name, tokens, arrays, metadata }
    }

    /// An array of the file.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn array(&self, name: &str) -> &[f64] {
        self.arrays.get(name).unwrap_or_else(|| panic!("{}: no array `{name}`", self.name))
    }

    fn number(&self, key: &str) -> usize {
        self.metadata[key].parse().expect("a number")
    }

    /// J.
    pub fn observable(&self) -> Observable {
        let [target, against] = ["target", "against"].map(|key| self.number(key) as u32);
        Observable::logit_diff(target, against, self.number("position"))
    }

    /// Level and token of s.
    pub fn place(&self) -> (usize, usize) {
        (self.number("source_layer"), self.number("source_token"))
    }

    /// s.
    pub fn source(&self) -> Source {
        let (level, token) = self.place();
        let vector = self.array("source").iter().map(|&x| x as f32).collect();
        Source { site: Site::ResidPre(level), token, vector }
    }
}
