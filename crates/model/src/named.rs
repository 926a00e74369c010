//! Models by name: embedded, generated from a seed, in a directory, or on a hub.

use std::io::ErrorKind;
use std::path::Path;

use resolvent_engine::Device;

use crate::error::{Error, Result, shown};
#[cfg(feature = "hub")]
use crate::hub::Hub;
use crate::model::{Model, Opening};
use crate::random::{RandomWeights, gpt2_small, tiny};
use crate::replaced::Replacement;

/// The default model of commands: the best embedded one.
#[cfg(feature = "atlas")]
pub const DEFAULT_MODEL: &str = "atlas-small";
/// The default model of commands.
#[cfg(not(feature = "atlas"))]
pub const DEFAULT_MODEL: &str = "random";

impl Model {
    /// Opens a model by name.
    ///
    /// A name denotes an embedded model, a directory, or a model with random weights: `random[:SEED]` is tiny, and
    /// `random-gpt2[:SEED]` has the shape of GPT-2 small. `random[:SEED]@NAME` and `permuted[:SEED]@NAME` denote the model
    /// NAME with a [`Replacement`] of its weights. With the feature `hub` it may also denote a model of the hub
    /// that the environment describes. Such a model is downloaded if the cache lacks it.
    ///
    /// # Errors
    /// No model has this name, or the model cannot be opened.
    pub fn named(device: &Device, name: &str) -> Result<Self> {
        #[cfg(feature = "hub")]
        return Self::named_with(device, name, &Hub::from_env());
        #[cfg(not(feature = "hub"))]
        {
            let (opening, name) = opening(device, name)?;
            Self::local(opening, name).unwrap_or_else(|| {
                let tried = format!("{}, and this program was built without downloads (feature `hub`)", not_local());
                Err(Error::NoModel { name: shown(name), tried, fix: "check the path".to_owned() })
            })
        }
    }

    /// Opens a model by name, as [`Model::named`] does, with a given hub.
    ///
    /// # Errors
    /// As [`Model::named`]; see [`Hub::fetch`].
    #[cfg(feature = "hub")]
    pub fn named_with(device: &Device, name: &str, hub: &Hub) -> Result<Self> {
        let (opening, name) = opening(device, name)?;
        if let Some(model) = Self::local(opening, name) {
            return model;
        }
        let snapshot = hub.fetch(name).map_err(|error| match error {
            Error::NoModel { tried, fix, .. } => {
                Error::NoModel { name: shown(name), tried: format!("{}, {tried}", not_local()), fix }
            }
            other => other,
        })?;
        Self::open_as(opening, &snapshot.dir, &snapshot.name)
    }

    /// Opens the model that `name` denotes without a hub, if there is one.
    fn local(opening: Opening<'_>, name: &str) -> Option<Result<Self>> {
        #[cfg(feature = "atlas")]
        if let Some(model) = crate::atlas::open(opening, name) {
            return Some(model);
        }
        let (kind, seed) = name.split_once(':').unwrap_or((name, "0"));
        match kind {
            "random" | "random-gpt2" if opening.replacement.is_none() => Some(random(opening.device, kind, seed)),
            _ => match std::fs::metadata(name) {
                Ok(_) => {
                    let dir = Path::new(name);
                    Some(Self::open_as(opening, dir, &Self::name_of(dir)))
                }
                Err(source) if source.kind() == ErrorKind::PermissionDenied => {
                    Some(Err(Error::Io { path: name.into(), source }))
                }
                // No such file exists, or no file can have this name.
                Err(_) => None,
            },
        }
    }
}

/// Returns how the model `name` is opened, and its name without a replacement of its weights.
fn opening<'a>(device: &'a Device, name: &'a str) -> Result<(Opening<'a>, &'a str)> {
    let (replacement, name) = match Replacement::split(name)? {
        Some((replacement, name)) => (Some(replacement), name),
        None => (None, name),
    };
    Ok((Opening { device, replacement }, name))
}

fn random(device: &Device, kind: &str, seed: &str) -> Result<Model> {
    let seed = seed
        .parse()
        .map_err(|_| Error::Place(format!("invalid seed `{seed}`: expected {kind}:SEED with a whole number")))?;
    // With GPT-2's small initialisation a tiny model is nearly linear; a larger one makes its nonlinearities visible.
    let (config, std) = if kind == "random" { (tiny(), 0.15) } else { (gpt2_small(), 0.02) };
    Model::random(device, config.clone(), RandomWeights::new(seed).with_std(std))
}

/// Describes the local models that a name did not match.
fn not_local() -> String {
    #[cfg(feature = "atlas")]
    let embedded: Vec<&str> = crate::atlas::embedded_models().collect();
    #[cfg(not(feature = "atlas"))]
    let embedded: [&str; 0] = [];
    let names = [&embedded[..], &["random", "random-gpt2"]].concat().join(", ");
    format!("no embedded one ({names}), no directory")
}
