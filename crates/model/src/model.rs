//! A model on a device.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use resolvent_engine::{Device, Shape, Tensor};
use resolvent_ops::embed::Vocabulary;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::program::Program;
use crate::prompt::parse_token;
use crate::random::RandomWeights;
use crate::run::Run;
use crate::site::Site;
use crate::tokenizer::{Tokenizer, id_argument};
use crate::weights::{WeightSource, Weights};

/// A GPT-2 with its weights on a device. Cloning shares them.
#[derive(Clone)]
pub struct Model(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) device: Device,
    pub(crate) config: Config,
    pub(crate) weights: Weights,
    pub(crate) program: Program,
    /// Or why there is none although there are files of one.
    tokenizer: Option<Result<Tokenizer, String>>,
    name: String,
    hash: String,
    /// What [`Model::input_rounding`] returns; set once, when the model has been assembled.
    input_rounding: OnceLock<f64>,
}

/// Tokens of the prompt by which [`Model::input_rounding`] is found.
const ROUNDING_TOKENS: usize = 16;

/// What to prepare a run for.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Edits, in the order in which they act.
    pub edits: Vec<Edit>,
    /// Sites that will be captured, edited or used as sources later. The outputs of attention and MLP are fused away
    /// unless they are named here or in an edit; all other sites are always there.
    pub sites: Vec<Site>,
}

impl Model {
    /// Opens a model directory: `config.json`, weights, and a tokenizer if there is one. A tokenizer that cannot be used is
    /// no error here, since token ids need none: [`Model::text_tokenizer`] says what is wrong with it.
    ///
    /// # Errors
    /// Every way in which such a directory can be wrong, in one line; see [`crate::Error`].
    pub fn open(device: &Device, dir: &Path) -> Result<Self> {
        let name = dir.file_name().map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into_owned());
        Self::open_as(device, dir, &name)
    }

    /// As [`Model::open`], with a name of its own.
    pub(crate) fn open_as(device: &Device, dir: &Path, name: &str) -> Result<Self> {
        let checkpoint = Checkpoint::open(dir)?;
        let tokenizer = Tokenizer::open(dir).map_err(|error| error.to_string()).transpose();
        Self::from_checkpoint(device, &checkpoint, name, tokenizer)
    }

    pub(crate) fn from_checkpoint(
        device: &Device,
        checkpoint: &Checkpoint,
        name: &str,
        tokenizer: Option<Result<Tokenizer, String>>,
    ) -> Result<Self> {
        let parts = (name.to_owned(), checkpoint.hash().to_owned(), tokenizer);
        Self::assemble(device, checkpoint.config().clone(), checkpoint, parts)
    }

    /// A model of the given shape with seeded random weights, and no tokenizer.
    ///
    /// # Errors
    /// The configuration is invalid, or the device has no room.
    pub fn random(device: &Device, config: Config, weights: RandomWeights) -> Result<Self> {
        config.validate()?;
        let name = format!("random:{} ({} layers, d {})", weights.seed(), config.n_layer, config.n_embd);
        // A generator determines its weights, so its parameters and the shape are hashed instead of them.
        let hash = blake3::hash(format!("{weights:?} {config:?}").as_bytes()).to_hex().to_string();
        let parts = (name, hash, None);
        Self::assemble(device, config, &weights, parts)
    }

    /// A model with weights from any source.
    ///
    /// # Errors
    /// The configuration is invalid, a tensor cannot be read, or the device has no room.
    pub fn from_source(device: &Device, config: Config, source: &dyn WeightSource, name: &str) -> Result<Self> {
        config.validate()?;
        Self::assemble(device, config, source, (name.to_owned(), name.to_owned(), None))
    }

    fn assemble(
        device: &Device,
        config: Config,
        source: &dyn WeightSource,
        (name, hash, tokenizer): (String, String, Option<Result<Tokenizer, String>>),
    ) -> Result<Self> {
        let weights = Weights::upload(device, &config, source)?;
        let rounds_inputs = device.f16_inputs() && weights.rounding.is_some();
        // Other numbers are another model's.
        let hash = if weights.rounding.is_some_and(|e| e > 0.0) { format!("{hash}-f16") } else { hash };
        let hash = if rounds_inputs { format!("{hash}-f16-inputs") } else { hash };
        let of = |config: Config, weights: Weights, tokenizer| {
            let program = Program::new(&config, &weights, &BTreeSet::new());
            let (device, name, hash) = (device.clone(), name.clone(), hash.clone());
            let input_rounding = OnceLock::new();
            Self(Arc::new(Inner { device, config, weights, program, tokenizer, name, hash, input_rounding }))
        };
        let twin = rounds_inputs.then(|| of(config.clone(), weights.with_full_inputs(), None));
        let model = of(config, weights, tokenizer);
        if let Some(twin) = twin {
            let token = |i: usize| (i * 7919 % model.config().vocab_size) as u32;
            let tokens: Vec<u32> = (1..=ROUNDING_TOKENS.min(model.config().n_positions)).map(token).collect();
            let [rounded, full] = [&model, &twin].map(|m| m.run(&tokens, &[])?.field());
            let _first = model.0.input_rounding.set(far(&rounded?, &full?));
        }
        Ok(model)
    }

    /// Sizes and switches.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The tokenizer, where the directory has one that can be used.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.0.tokenizer.as_ref()?.as_ref().ok()
    }

    /// Returns the tokenizer for a text that has to be read; none where the directory has none.
    ///
    /// # Errors
    /// [`Error::Encoding`]: the directory has files of a tokenizer, and they cannot be used.
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
        parse_token(tokenizer, self.config().vocab_size, arg)
    }

    /// What it came from: the embedded model's name, a directory, a repository with its commit, or a seed.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Hash of configuration and weights, for provenance.
    pub fn hash(&self) -> &str {
        &self.0.hash
    }

    /// Relative error, in L2 norm over all of them, of the weights that were rounded to
    /// [16 bits](resolvent_engine::Options::f16_weights); 0 where the checkpoint had no more, `None` where none was rounded.
    pub fn weight_rounding(&self) -> Option<f64> {
        self.0.weights.rounding
    }

    /// What rounding the inputs of forward products to [16 bits](resolvent_engine::Options::f16_inputs) does to the field of a
    /// prompt of 16 arbitrary tokens, all levels together: relative error in L2 norm. `None` where no inputs are rounded.
    pub fn input_rounding(&self) -> Option<f64> {
        self.0.input_rounding.get().copied()
    }

    /// The embedding `[d]` of a token.
    ///
    /// # Errors
    /// A token outside of the vocabulary, or a device error.
    pub fn embedding(&self, id: u32) -> Result<Vec<f32>> {
        row(&self.0.device, &self.0.weights.embed.wte, id)
    }

    /// The unembedding `[d]` of a token: the direction along which the final norm's output raises its logit.
    ///
    /// # Errors
    /// A token outside of the vocabulary, or a device error.
    pub fn unembedding(&self, id: u32) -> Result<Vec<f32>> {
        row(&self.0.device, &self.0.weights.unembed.w, id)
    }

    /// Runs `tokens` under `edits`: the field, and what linearising needs.
    ///
    /// # Errors
    /// An empty or too long prompt, a token outside of the vocabulary, an edit that does not fit, or a device error.
    pub fn run(&self, tokens: &[u32], edits: &[Edit]) -> Result<Run> {
        Run::new(self, tokens, &RunOptions { edits: edits.to_vec(), ..RunOptions::default() })
    }

    /// As [`Model::run`], prepared for the sites that `options` name.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_with(&self, tokens: &[u32], options: &RunOptions) -> Result<Run> {
        Run::new(self, tokens, options)
    }

    /// A run of each prompt, in one batch as far as memory allows, all of them under the same options. Their sweeps
    /// share batches too: [`crate::values_of`].
    ///
    /// # Errors
    /// As [`Model::run`], for any of the prompts.
    pub fn run_all<P: AsRef<[u32]>>(&self, prompts: &[P], options: &RunOptions) -> Result<Vec<Run>> {
        Run::batch(self, prompts, options)
    }
}

/// Relative distance of `a` from `b`, in L2 norm.
fn far(a: &[f32], b: &[f32]) -> f64 {
    let off: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    let size: f64 = b.iter().map(|&b| f64::from(b).powi(2)).sum();
    (off / size).sqrt()
}

fn row(device: &Device, table: &Vocabulary, id: u32) -> Result<Vec<f32>> {
    let (id, d) = (id as usize, table.d);
    if id >= table.tokens {
        return Err(Error::Place(format!("token #{id}: the vocabulary ends at #{}", table.tokens - 1)));
    }
    let (first, part) =
        table.parts.iter().rev().find(|(first, _)| *first <= id).ok_or_else(|| Error::Place("no vocabulary".into()))?;
    let view = Tensor::view(part.buffer().clone(), (id - first) * d, Shape::new(&[("d", d)]))?;
    Ok(device.read(&view)?)
}
