//! A model on a device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use resolvent_engine::Device;
use resolvent_ops::embed::Vocabulary;

use crate::arch::{Architecture, Sizes};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::gguf::Gguf;
use crate::memory_files;
use crate::program::Program;
use crate::prompt::parse_token;
use crate::random::RandomWeights;
use crate::replaced::{Replaced, Replacement};
use crate::room;
use crate::source::WeightSource;
use crate::tokenizer::{Tokenizer, id_argument};
use crate::weights::Weights;

/// A model with its weights on a device. Clones share the weights.
#[derive(Clone)]
pub struct Model(pub(crate) Arc<Inner>);

/// Where the weights of a model come from, so that it can be opened again.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// A directory or a GGUF file.
    Path(PathBuf),
    /// The embedded family.
    #[cfg(feature = "atlas")]
    Embedded(&'static str),
    /// A source in this program.
    Source,
}

/// The description of a model besides its architecture and weights.
struct Parts {
    name: String,
    hash: String,
    tokenizer: Option<Result<Tokenizer, String>>,
    origin: Origin,
}

/// How a model is opened: on which device, and with which weights.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) device: &'a Device,
    pub(crate) replacement: Option<Replacement>,
}

impl<'a> Opening<'a> {
    /// Opens a model with its own weights.
    pub(crate) fn own(device: &'a Device) -> Self {
        Self { device, replacement: None }
    }
}

pub(crate) struct Inner {
    pub(crate) device: Device,
    pub(crate) architecture: Architecture,
    pub(crate) weights: Weights,
    pub(crate) program: Program,
    /// The tokenizer, or the reason why its files cannot be used. `None` if there are no such files.
    tokenizer: Option<Result<Tokenizer, String>>,
    name: String,
    hash: String,
    pub(crate) origin: Origin,
    /// The value of [`Model::input_rounding`], set once at the end of `Model::assemble`.
    input_rounding: OnceLock<f64>,
}

/// Length in tokens of the prompt on which [`Model::input_rounding`] is measured.
const ROUNDING_TOKENS: usize = 16;

impl Model {
    /// Opens a model: a directory with `config.json`, weights, and a tokenizer if there is one, or a GGUF file.
    ///
    /// An unusable tokenizer is not an error here, because token ids need none. [`Model::text_tokenizer`] returns its
    /// error.
    ///
    /// # Errors
    /// The directory is not a usable model, or the device has no room; [`crate::Error`] lists the cases.
    pub fn open(device: &Device, dir: &Path) -> Result<Self> {
        Self::open_as(Opening::own(device), dir, &Self::name_of(dir))
    }

    /// Returns the name of a model from its directory or file.
    pub(crate) fn name_of(dir: &Path) -> String {
        dir.file_name().map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    /// Opens a model whose files are in memory: those of a model directory, or GGUF files, each by its name. The
    /// results name the model `name`.
    ///
    /// The files are dropped once the device has the weights. This is how a model is opened where there are no files,
    /// as in a browser.
    ///
    /// # Errors
    /// Those of [`Model::open`].
    pub fn open_files(device: &Device, name: &str, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self> {
        let dir = Path::new(name);
        let files = files.into_iter().map(|(name, bytes)| (dir.join(name), bytes));
        memory_files::with(files, || Self::open_as(Opening::own(device), dir, name))
    }

    /// Like [`Model::open`], with a given name, and with other weights if `opening` says so.
    pub(crate) fn open_as(opening: Opening<'_>, dir: &Path, name: &str) -> Result<Self> {
        if let Some(file) = Gguf::at(dir)? {
            let gguf = Gguf::open(&file)?;
            // Before the hash, which reads the whole file.
            let architecture = gguf.architecture()?;
            let tokenizer = gguf.tokenizer().map_err(|error| error.to_string()).transpose();
            let (name, hash, origin) =
                (name.to_owned(), gguf.hash().to_hex().to_string(), Origin::Path(dir.to_owned()));
            let parts = Parts { name, hash, tokenizer, origin };
            return Self::assemble(opening, architecture, &gguf, parts);
        }
        let checkpoint = Checkpoint::open(dir)?;
        let tokenizer = Tokenizer::open(dir).map_err(|error| error.to_string()).transpose();
        Self::from_checkpoint(opening, &checkpoint, (name, Origin::Path(dir.to_owned())), tokenizer)
    }

    pub(crate) fn from_checkpoint(
        opening: Opening<'_>,
        checkpoint: &Checkpoint,
        (name, origin): (&str, Origin),
        tokenizer: Option<Result<Tokenizer, String>>,
    ) -> Result<Self> {
        let parts = Parts { name: name.to_owned(), hash: checkpoint.hash().to_owned(), tokenizer, origin };
        Self::assemble(opening, checkpoint.architecture().clone(), checkpoint, parts)
    }

    /// Returns a model of the given architecture with seeded random weights and no tokenizer.
    ///
    /// # Errors
    /// The architecture is invalid, or the device has no room.
    pub fn random(device: &Device, architecture: impl Into<Architecture>, weights: RandomWeights) -> Result<Self> {
        let architecture = architecture.into();
        architecture.check()?;
        let Sizes { layers, d, .. } = architecture.sizes;
        let name = format!("random:{} ({layers} layers, d {d})", weights.seed());
        // The generator's parameters and the shape determine the weights, and are hashed instead of them.
        let hash = blake3::hash(format!("{weights:?} {architecture:?}").as_bytes()).to_hex().to_string();
        let parts = Parts { name, hash, tokenizer: None, origin: Origin::Source };
        Self::assemble(Opening::own(device), architecture, &weights, parts)
    }

    /// Returns a model with weights from any source, and no tokenizer.
    ///
    /// # Errors
    /// The architecture is invalid, a tensor cannot be read, or the device has no room.
    pub fn from_source(
        device: &Device,
        architecture: impl Into<Architecture>,
        source: &dyn WeightSource,
        name: &str,
    ) -> Result<Self> {
        let architecture = architecture.into();
        architecture.check()?;
        let parts = Parts { name: name.to_owned(), hash: name.to_owned(), tokenizer: None, origin: Origin::Source };
        Self::assemble(Opening::own(device), architecture, source, parts)
    }

    fn assemble(
        Opening { device, replacement }: Opening<'_>,
        architecture: Architecture,
        source: &dyn WeightSource,
        Parts { name, hash, tokenizer, origin }: Parts,
    ) -> Result<Self> {
        room::check(device, &architecture)?;
        let (weights, name, hash) = match replacement {
            None => (Weights::upload(device, &architecture, source)?, name, hash),
            Some(replacement) => {
                let replaced = Replaced::new(replacement, source, &architecture);
                let weights = Weights::upload(device, &architecture, &replaced)?;
                (weights, format!("{replacement}@{name}"), format!("{hash}-{replacement}"))
            }
        };
        let rounds_inputs = weights.round_inputs();
        // A model that rounds weights or inputs has other results, so it needs another hash.
        let hash = if weights.rounding.is_some_and(|e| e > 0.0) { format!("{hash}-f16") } else { hash };
        let hash = if rounds_inputs { format!("{hash}-f16-inputs") } else { hash };
        let build = |architecture: Architecture, weights: Weights, tokenizer| {
            let program = Program::new(&architecture, &weights, &BTreeSet::new(), &BTreeMap::new());
            let (device, name, hash, origin) = (device.clone(), name.clone(), hash.clone(), origin.clone());
            let input_rounding = OnceLock::new();
            let described =
                Inner { device, architecture, weights, program, tokenizer, name, hash, origin, input_rounding };
            Self(Arc::new(described))
        };
        let reference = rounds_inputs.then(|| build(architecture.clone(), weights.with_full_inputs(), None));
        let model = build(architecture, weights, tokenizer);
        if let Some(reference) = reference {
            let token = |i: usize| (i * 7919 % model.sizes().vocab) as u32;
            let tokens: Vec<u32> = (1..=ROUNDING_TOKENS.min(model.sizes().n_ctx)).map(token).collect();
            let [rounded, full] = [&model, &reference].map(|m| m.run(&tokens, &[])?.field());
            let _was_unset = model.0.input_rounding.set(relative_distance(&rounded?, &full?));
        }
        Ok(model)
    }

    /// Returns whether the logits have a soft-cap, so that they are no linear function of the final norm's output.
    pub fn caps_logits(&self) -> bool {
        self.0.architecture.logit_cap.is_some()
    }

    /// Returns whether the unembedding is the token embedding.
    pub fn ties_unembedding(&self) -> bool {
        self.0.architecture.layout.tied
    }

    /// Returns what the model computes.
    pub fn architecture(&self) -> &Architecture {
        &self.0.architecture
    }

    /// Returns the sizes.
    pub fn sizes(&self) -> &Sizes {
        self.0.architecture.sizes()
    }

    /// Returns the device that has the weights.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Returns the tokenizer, if the directory has a usable one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.0.tokenizer.as_ref()?.as_ref().ok()
    }

    /// Returns the tokenizer, for callers that have text to encode. `None` if the directory has no tokenizer.
    ///
    /// # Errors
    /// [`Error::Encoding`]: the directory has tokenizer files that cannot be used.
    pub fn text_tokenizer(&self) -> Result<Option<&Tokenizer>> {
        match &self.0.tokenizer {
            None => Ok(None),
            Some(Ok(tokenizer)) => Ok(Some(tokenizer)),
            Some(Err(message)) => Err(Error::Encoding { message: message.clone() }),
        }
    }

    /// Returns the id of an argument that must be one token: text, or an id written `#1234`; see [`parse_token`].
    ///
    /// # Errors
    /// As [`parse_token`], or [`Model::text_tokenizer`] for a text.
    pub fn token(&self, arg: &str) -> Result<u32> {
        let tokenizer = match id_argument(arg) {
            Some(_) => self.tokenizer(),
            None => self.text_tokenizer()?,
        };
        parse_token(tokenizer, self.sizes().vocab, arg)
    }

    /// Returns the name of the model's origin: an embedded model, a directory, a repository with its commit, or a seed.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the hash of configuration and weights, for provenance.
    pub fn hash(&self) -> &str {
        &self.0.hash
    }

    /// Returns the relative error, in L2 norm, of all weights that were rounded to
    /// [16 bits](resolvent_engine::Options::f16_weights).
    ///
    /// It is 0 if f16 represents all of them exactly, and `None` if no weights were rounded.
    pub fn weight_rounding(&self) -> Option<f64> {
        self.0.weights.rounding
    }

    /// Returns the relative error of the field that comes from rounding the inputs of forward products to
    /// [16 bits](resolvent_engine::Options::f16_inputs).
    ///
    /// It is measured in L2 norm over all levels, for a prompt of 16 arbitrary tokens. `None` if no inputs are rounded.
    pub fn input_rounding(&self) -> Option<f64> {
        self.0.input_rounding.get().copied()
    }

    /// Returns the embedding `[d]` of a token.
    ///
    /// # Errors
    /// A token outside of the vocabulary, or a device error.
    pub fn embedding(&self, id: u32) -> Result<Vec<f32>> {
        row(&self.0.device, &self.0.weights.embed.wte, id)
    }

    /// Returns the unembedding `[d]` of a token: the direction along which the final norm's output raises its logit.
    ///
    /// # Errors
    /// A token outside of the vocabulary, or a device error.
    pub fn unembedding(&self, id: u32) -> Result<Vec<f32>> {
        row(&self.0.device, &self.0.weights.unembed.w, id)
    }
}

/// Returns the relative distance of `a` from `b`, in L2 norm.
fn relative_distance(a: &[f32], b: &[f32]) -> f64 {
    let squared_distance: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    let squared_norm: f64 = b.iter().map(|&b| f64::from(b).powi(2)).sum();
    (squared_distance / squared_norm).sqrt()
}

fn row(device: &Device, table: &Vocabulary, id: u32) -> Result<Vec<f32>> {
    let id = id as usize;
    if id >= table.tokens {
        return Err(Error::Place(format!("token #{id}: the vocabulary ends at #{}", table.tokens - 1)));
    }
    let (first, part) =
        table.parts.iter().rev().find(|(first, _)| *first <= id).ok_or_else(|| Error::Place("no vocabulary".into()))?;
    Ok(part.read_row(device, id - first)?)
}
