//! One model twice: in the engine, and in the reference with the same weights.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use resolvent_model::{
    Activation, Architecture, Change, Checkpoint, Config, Edit, Mode, Model, RandomWeights, Site, Sizes, Source,
    StreamNorm, WeightSource, tiny,
};
use resolvent_reference::ops::{self, Frozen, GeluForm};
use resolvent_reference::{Dual, Gpt2, Norm, Scalar, Site as Stage, Trace};

use crate::linear::{AffineWeights, LinearWeights};
use crate::subject::Subject;
use crate::truth::{constants, wide};

/// A model that exists in the engine and in the reference.
#[derive(Debug)]
pub struct Twin {
    /// Sizes and switches.
    pub config: Config,
    origin: Origin,
    reference: Gpt2<f64>,
}

#[derive(Debug)]
enum Origin {
    Seed(RandomWeights),
    Linear(LinearWeights),
    Affine(AffineWeights),
    Directory(PathBuf),
}

impl Twin {
    /// Creates a model with seeded weights of standard deviation `std`.
    pub fn random(config: Config, seed: u64, std: f32) -> Self {
        let weights = RandomWeights::new(seed).with_std(std);
        let reference = reference(&config, &weights);
        Self { config, origin: Origin::Seed(weights), reference }
    }

    /// Creates a model for tests with many runs: two blocks, odd sizes, and its own MLP width.
    pub fn small() -> Self {
        Self::random(Config { n_layer: 2, n_embd: 18, n_head: 3, n_inner: Some(29), vocab_size: 23, ..tiny() }, 5, 0.3)
    }

    /// Creates a model with linear blocks.
    pub fn linear(seed: u64) -> Self {
        let (config, weights) = (LinearWeights::config(), LinearWeights::new(seed));
        let reference = reference(&config, &weights);
        Self { config, origin: Origin::Linear(weights), reference }
    }

    /// Creates a model whose biases are all at sites: [`Twin::constants`].
    pub fn affine(seed: u64) -> Self {
        let (config, weights) = (AffineWeights::config(), AffineWeights::new(seed));
        let reference = reference(&config, &weights);
        Self { config, origin: Origin::Affine(weights), reference }
    }

    /// Freezes the factors of `mode` in the reference.
    #[must_use]
    pub fn in_mode(mut self, mode: Mode) -> Self {
        self.reference.config.frozen = Frozen {
            norm: matches!(mode, Mode::FrozenNorm | Mode::Frozen | Mode::RelP),
            pattern: matches!(mode, Mode::FrozenAttention | Mode::Frozen | Mode::RelP),
            ratio: mode == Mode::RelP,
        };
        self
    }

    /// Returns the biases of a [`Twin::affine`] model as sources at `tokens` tokens.
    ///
    /// They are the biases of values (including ln_1's, through the weight), of the projection and of the MLP.
    pub fn constants(&self, tokens: usize) -> Vec<Source> {
        let (d, width) = (self.config.n_embd, self.config.d_head());
        let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let mut sources = Vec::new();
        for (l, block) in self.reference.weights.blocks.iter().enumerate() {
            let qkv = ops::matmul(&block.ln_1.bias, &block.c_attn.weight, &block.c_attn.bias);
            let values = narrow(&qkv[2 * d..]);
            for token in 0..tokens {
                let heads = values.chunks(width).enumerate();
                sources.extend(heads.map(|(h, v)| Source { site: Site::V(l, h), token, vector: v.to_vec() }));
                let (attn, mlp) = (narrow(&block.attn_proj.bias), narrow(&block.mlp_proj.bias));
                sources.push(Source { site: Site::AttnOut(l), token, vector: attn });
                sources.push(Source { site: Site::MlpOut(l), token, vector: mlp });
            }
        }
        sources
    }

    /// Returns the sizes.
    pub fn sizes(&self) -> Sizes {
        *Architecture::from(&self.config).sizes()
    }

    /// Opens a model directory.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn open(dir: &Path) -> Self {
        let checkpoint = Checkpoint::open(dir).unwrap_or_else(|e| panic!("{e}"));
        let config = Config::open(dir).unwrap_or_else(|e| panic!("{e}"));
        let reference = reference(&config, &checkpoint);
        Self { config, origin: Origin::Directory(dir.to_owned()), reference }
    }

    /// Creates the engine's model on a device.
    ///
    /// # Panics
    /// If the device returns an error.
    pub fn on(&self, on: &Subject) -> Model {
        let model = match &self.origin {
            Origin::Seed(weights) => Model::random(on.device(), self.config.clone(), *weights),
            Origin::Linear(weights) => Model::from_source(on.device(), self.config.clone(), weights, "linear"),
            Origin::Affine(weights) => Model::from_source(on.device(), self.config.clone(), weights, "affine"),
            Origin::Directory(dir) => Model::open(on.device(), dir),
        };
        model.unwrap_or_else(|e| panic!("{}: {e}", on.name()))
    }

    /// Runs the reference with `edits`, then adds the sources of each superposition times its amplitude.
    pub fn run<S: Scalar>(&self, tokens: &[u32], edits: &[Edit], superpositions: &[(&[Source], S)]) -> Trace<S> {
        let tokens: Vec<usize> = tokens.iter().map(|&id| id as usize).collect();
        self.reference.lift::<S>().forward(&tokens, &mut |stage, x| {
            let mut splice = |site: Site, token: usize, edit: ops::Edit<'_, S>| {
                if let Some(key) = site.key() {
                    // The hook gets the keys of one query at a time.
                    if stage == keys_of(site, token) {
                        ops::splice(x, token + 1, 0, key..key + 1, edit);
                    }
                    return;
                }
                let (here, columns) = self.place(site);
                if here == stage {
                    let width = self.width(stage);
                    ops::splice(x, width, token, columns, edit);
                }
            };
            for Edit { site, token, change } in edits {
                let s: Vec<S> = match change {
                    Change::Add(s) | Change::Put(s) | Change::Project(s) => constants(&wide(s)),
                    Change::Scale(_) => Vec::new(),
                    Change::Take(_) => panic!("the reference takes no rows of devices"),
                };
                let edit = match change {
                    Change::Add(_) => ops::Edit::Add(&s),
                    Change::Put(_) | Change::Take(_) => ops::Edit::Put(&s),
                    Change::Scale(amount) => ops::Edit::Scale(S::from_f64(f64::from(*amount))),
                    Change::Project(_) => ops::Edit::ProjectOut(&s),
                };
                splice(*site, *token, edit);
            }
            for &(sources, amplitude) in superpositions {
                for Source { site, token, vector } in sources {
                    let s: Vec<S> = constants(&wide(vector));
                    let s: Vec<S> = s.into_iter().map(|s| amplitude * s).collect();
                    splice(*site, *token, ops::Edit::Add(&s));
                }
            }
        })
    }

    /// Runs the reference in f64 with a hook.
    pub fn hooked(&self, tokens: &[usize], hook: &mut dyn FnMut(Stage, &mut [f64])) -> Trace<f64> {
        self.reference.forward(tokens, hook)
    }

    /// Runs the reference in f64.
    pub fn primal(&self, tokens: &[u32], edits: &[Edit]) -> Trace<f64> {
        self.run(tokens, edits, &[])
    }

    /// Runs the reference on dual numbers: tangents along `sources` together.
    pub fn tangent(&self, tokens: &[u32], edits: &[Edit], sources: &[Source]) -> Trace<Dual<f64>> {
        self.run(tokens, edits, &[(sources, Dual::new(0.0, 1.0))])
    }

    /// Runs the reference on duals of duals: both orders along `sources` together.
    pub fn jet(&self, tokens: &[u32], edits: &[Edit], sources: &[Source]) -> Trace<Dual<Dual<f64>>> {
        self.run(tokens, edits, &[(sources, Dual::new(Dual::new(0.0, 1.0), Dual::new(1.0, 0.0)))])
    }

    /// Runs the reference on duals of duals with one direction each: `tangent.tangent` is the second derivative along
    /// both.
    pub fn second_derivative(&self, tokens: &[u32], edits: &[Edit], [a, b]: [&[Source]; 2]) -> Trace<Dual<Dual<f64>>> {
        let zero = Dual::new(0.0, 0.0);
        let (first, second) = (Dual::new(Dual::new(0.0, 1.0), zero), Dual::new(zero, Dual::new(1.0, 0.0)));
        self.run(tokens, edits, &[(a, first), (b, second)])
    }

    /// Returns `[T, width]` of a site in a reference run.
    pub fn capture(&self, trace: &Trace<f64>, site: Site) -> Vec<f64> {
        self.capture_of(trace, site)
    }

    /// Returns the same as [`Twin::capture`], for a run on any scalar.
    pub fn capture_of<S: Scalar>(&self, trace: &Trace<S>, site: Site) -> Vec<S> {
        let (stage, columns) = self.place(site);
        let width = self.width(stage);
        let level = |l: usize| &trace.field[l * trace.tokens() * width..][..trace.tokens() * width];
        let rows = match stage {
            Stage::ResidPre(l) => level(l),
            Stage::ResidPost(l) => level(l + 1),
            Stage::Q(l) => &trace.blocks[l].q,
            Stage::K(l) => &trace.blocks[l].k,
            Stage::V(l) => &trace.blocks[l].v,
            Stage::Embed => &trace.embeddings[0],
            Stage::PosEmbed => &trace.embeddings[1],
            Stage::Z(l) => &trace.blocks[l].z,
            Stage::Result(l) => &trace.blocks[l].results,
            Stage::AttnOut(l) => &trace.blocks[l].attn_out,
            Stage::ResidMid(l) => &trace.blocks[l].resid_mid,
            Stage::MlpPre(l) => &trace.blocks[l].mlp_pre,
            Stage::MlpPost(l) => &trace.blocks[l].mlp_post,
            Stage::MlpOut(l) => &trace.blocks[l].mlp_out,
            Stage::Scores(..) | Stage::Pattern(..) | Stage::NormScale(_) | Stage::Normalized(_) => {
                panic!("a trace has no {stage:?}")
            }
        };
        rows.chunks(width).flat_map(|row| &row[columns.clone()]).copied().collect()
    }

    /// Returns the reference's name of a site, and the site's columns there.
    ///
    /// h\[l\] is always the end of the block below, so that edits under its two names are applied in the given order.
    fn place(&self, site: Site) -> (Stage, Range<usize>) {
        let d_head = self.config.d_head();
        let stage = match site {
            Site::ResidPre(0) => Stage::ResidPre(0),
            Site::ResidPre(l) => Stage::ResidPost(l - 1),
            Site::ResidMid(l) => Stage::ResidMid(l),
            Site::ResidPost(l) => Stage::ResidPost(l),
            Site::AttnOut(l) => Stage::AttnOut(l),
            Site::MlpOut(l) => Stage::MlpOut(l),
            Site::Q(l, _) => Stage::Q(l),
            Site::K(l, _) => Stage::K(l),
            Site::V(l, _) => Stage::V(l),
            Site::Embed => Stage::Embed,
            Site::PosEmbed => Stage::PosEmbed,
            Site::NormScale(norm) => Stage::NormScale(norm_of(norm)),
            Site::Normalized(norm) => Stage::Normalized(norm_of(norm)),
            Site::Z(l, _) => Stage::Z(l),
            Site::Result(l, _) => Stage::Result(l),
            Site::MlpPre(l) => Stage::MlpPre(l),
            Site::MlpPost(l) => Stage::MlpPost(l),
            Site::RotQ(..) | Site::RotK(..) | Site::MlpPreLinear(_) => panic!("a GPT-2 has no {site}"),
            Site::AttnScores(..) | Site::Pattern(..) => panic!("{site} belongs to a query"),
        };
        let d_head = if matches!(site, Site::Result(..)) { self.config.n_embd } else { d_head };
        let columns = site.head().map_or(0..self.width(stage), |h| h * d_head..(h + 1) * d_head);
        (stage, columns)
    }

    fn width(&self, stage: Stage) -> usize {
        match stage {
            Stage::MlpPre(_) | Stage::MlpPost(_) => self.config.n_inner(),
            Stage::NormScale(_) => 1,
            Stage::Result(_) => self.config.n_head * self.config.n_embd,
            _ => self.config.n_embd,
        }
    }

    /// Returns every site of the model.
    pub fn sites(&self) -> Vec<Site> {
        let heads = 0..self.config.n_head;
        let block = |l: usize| {
            let whole = [Site::ResidPre, Site::ResidMid, Site::ResidPost, Site::AttnOut, Site::MlpOut].map(|f| f(l));
            let split = [Site::Q, Site::K, Site::V, Site::Z, Site::Result];
            let split = heads.clone().flat_map(move |h| split.map(|f| f(l, h)));
            whole.into_iter().chain(split).chain([Site::MlpPre(l), Site::MlpPost(l)]).collect::<Vec<_>>()
        };
        [Site::Embed, Site::PosEmbed].into_iter().chain((0..self.config.n_layer).flat_map(block)).collect()
    }
}

/// Returns the reference's name of a norm of the stream.
pub fn norm_of(norm: StreamNorm) -> Norm {
    match norm {
        StreamNorm::Attention(l) => Norm::Attention(l),
        StreamNorm::Mlp(l) => Norm::Mlp(l),
        StreamNorm::Final => Norm::Final,
    }
}

/// Returns the reference's name of the keys of a query, at a site of attention scores or patterns.
pub fn keys_of(site: Site, token: usize) -> Stage {
    match site {
        Site::AttnScores(l, h, _) => Stage::Scores(l, h, token),
        Site::Pattern(l, h, _) => Stage::Pattern(l, h, token),
        _ => panic!("{site} has no keys"),
    }
}

/// Returns the tangents of an array of duals.
pub fn tangents(x: &[Dual<f64>]) -> Vec<f64> {
    x.iter().map(|x| x.tangent).collect()
}

/// Returns first and second order of an array of duals of duals.
pub fn orders(x: &[Dual<Dual<f64>>]) -> [Vec<f64>; 2] {
    [x.iter().map(|x| x.primal.tangent).collect(), x.iter().map(|x| x.tangent.tangent).collect()]
}

fn reference(config: &Config, source: &dyn WeightSource) -> Gpt2<f64> {
    let shapes: HashMap<String, Vec<usize>> = config.tensors().into_iter().collect();
    let sizes = resolvent_reference::Config {
        n_layer: config.n_layer,
        n_embd: config.n_embd,
        n_head: config.n_head,
        n_inner: config.n_inner(),
        vocab: config.vocab_size,
        n_positions: config.n_positions,
        eps: config.layer_norm_epsilon,
        activation: match config.activation_function {
            Activation::GeluNew => GeluForm::Tanh,
            Activation::Gelu => GeluForm::Erf,
            Activation::Silu => panic!("a GPT-2 has no SiLU"),
        },
        frozen: Frozen::default(),
        scale_attn_weights: config.scale_attn_weights,
        scale_attn_by_inverse_layer_idx: config.scale_attn_by_inverse_layer_idx,
    };
    Gpt2::new(sizes, |name| {
        let tied = name == "lm_head.weight" && config.tie_word_embeddings;
        let name = if tied { "wte.weight" } else { name };
        let shape = &shapes[name];
        let mut out = vec![0.0; shape.iter().product()];
        source.read(name, 0..shape[0], &mut out).unwrap_or_else(|e| panic!("{name}: {e}"));
        wide(&out)
    })
}
