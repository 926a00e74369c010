//! Models by name: directories, and models made on the fly.

use std::path::Path;

use resolvent_engine::Device;

use crate::error::{Error, Result};
use crate::model::Model;
use crate::random::{RandomWeights, gpt2_small, tiny};

/// The model that commands use unless they are told otherwise: the best one that is embedded.
#[cfg(feature = "atlas")]
pub const DEFAULT_MODEL: &str = "atlas-small";
/// The model that commands use unless they are told otherwise.
#[cfg(not(feature = "atlas"))]
pub const DEFAULT_MODEL: &str = "random";

impl Model {
    /// Opens a model by name: an embedded one; a directory; `random[:SEED]`, tiny; or `random-gpt2[:SEED]`, of GPT-2
    /// small's shape.
    ///
    /// # Errors
    /// No such name or directory, or whatever is wrong with it.
    pub fn named(device: &Device, name: &str) -> Result<Self> {
        #[cfg(feature = "atlas")]
        if let Some(model) = crate::atlas::open(device, name) {
            return model;
        }
        let (kind, seed) = name.split_once(':').unwrap_or((name, "0"));
        let config = match kind {
            "random" => tiny(),
            "random-gpt2" => gpt2_small(),
            _ => return Self::open(device, Path::new(name)),
        };
        let seed = seed.parse().map_err(|_| {
            Error::Place(format!("`{seed}` is no seed; write {kind}:SEED with a whole number"))
        })?;
        // GPT-2's small initialisation leaves a tiny model nearly linear; a larger one gives it something to show.
        let std = if kind == "random" { 0.15 } else { 0.02 };
        Self::random(device, config.clone(), RandomWeights::new(&config, seed).with_std(std))
    }
}
