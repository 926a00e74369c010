//! One model twice: in the engine, and in the reference from the same numbers.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use resolvent_model::{
    Activation, Change, Checkpoint, Config, Edit, Mode, Model, RandomWeights, Site, Source, WeightSource, tiny,
};
use resolvent_reference::ops::{self, Frozen, GeluForm};
use resolvent_reference::{Dual, Gpt2, Scalar, Site as Chunk, Trace};

use crate::linear::{AffineWeights, LinearWeights};
use crate::subject::Subject;
use crate::truth::{constants, wide};

/// A model that both sides know.
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
    /// Seeded weights of standard deviation `std`.
    pub fn random(config: Config, seed: u64, std: f32) -> Self {
        let weights = RandomWeights::new(&config, seed).with_std(std);
        let reference = reference(&config, &weights);
        Self { config, origin: Origin::Seed(weights), reference }
    }

    /// Two blocks, odd sizes, an MLP of its own width: for what needs many runs.
    pub fn small() -> Self {
        Self::random(Config { n_layer: 2, n_embd: 18, n_head: 3, n_inner: Some(29), vocab_size: 23, ..tiny() }, 5, 0.3)
    }

    /// A model with linear blocks.
    pub fn linear(seed: u64) -> Self {
        let (config, weights) = (LinearWeights::config(), LinearWeights::new(seed));
        let reference = reference(&config, &weights);
        Self { config, origin: Origin::Linear(weights), reference }
    }

    /// A model whose biases all lie at sites: [`Twin::constants`].
    pub fn affine(seed: u64) -> Self {
        let (config, weights) = (AffineWeights::config(), AffineWeights::new(seed));
        let reference = reference(&config, &weights);
        Self { config, origin: Origin::Affine(weights), reference }
    }

    /// The same model, whose reference takes as constant what `mode` does.
    #[must_use]
    pub fn in_mode(mut self, mode: Mode) -> Self {
        self.reference.config.frozen = Frozen {
            norm: matches!(mode, Mode::FrozenNorm | Mode::Frozen | Mode::RelP),
            pattern: matches!(mode, Mode::FrozenAttention | Mode::Frozen | Mode::RelP),
            ratio: mode == Mode::RelP,
        };
        self
    }

    /// What the biases of an [`Twin::affine`] model put into the stream, as sources at `tokens` tokens: those of values (ln_1's
    /// reaches them through the weight), of the projection and of the MLP.
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

    /// A model directory.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn open(dir: &Path) -> Self {
        let checkpoint = Checkpoint::open(dir).unwrap_or_else(|e| panic!("{e}"));
        let config = checkpoint.config().clone();
        let reference = reference(&config, &checkpoint);
        Self { config, origin: Origin::Directory(dir.to_owned()), reference }
    }

    /// The engine's half.
    ///
    /// # Panics
    /// If the device refuses it.
    pub fn on(&self, on: &Subject) -> Model {
        let model = match &self.origin {
            Origin::Seed(weights) => Model::random(on.device(), self.config.clone(), *weights),
            Origin::Linear(weights) => Model::from_source(on.device(), self.config.clone(), weights, "linear"),
            Origin::Affine(weights) => Model::from_source(on.device(), self.config.clone(), weights, "affine"),
            Origin::Directory(dir) => Model::open(on.device(), dir),
        };
        model.unwrap_or_else(|e| panic!("{}: {e}", on.name()))
    }

    /// The reference's run under `edits`, and the sources of each superposition times its amplitude on top of what the edits
    /// left.
    pub fn run<S: Scalar>(&self, tokens: &[u32], edits: &[Edit], superpositions: &[(&[Source], S)]) -> Trace<S> {
        let tokens: Vec<usize> = tokens.iter().map(|&id| id as usize).collect();
        self.reference.lift::<S>().forward(&tokens, &mut |chunk, x| {
            let width = self.config.n_embd;
            let mut splice = |site: Site, token: usize, edit: ops::Edit<'_, S>| {
                let (here, columns) = self.place(site);
                if here == chunk {
                    ops::splice(x, width, token, columns, edit);
                }
            };
            for Edit { site, token, change } in edits {
                let s: Vec<S> = match change {
                    Change::Add(s) | Change::Put(s) | Change::Project(s) => constants(&wide(s)),
                    Change::Scale(_) => Vec::new(),
                };
                let edit = match change {
                    Change::Add(_) => ops::Edit::Add(&s),
                    Change::Put(_) => ops::Edit::Put(&s),
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

    /// The plain run.
    pub fn primal(&self, tokens: &[u32], edits: &[Edit]) -> Trace<f64> {
        self.run(tokens, edits, &[])
    }

    /// The run on dual numbers: tangents of everything along `sources` together.
    pub fn tangent(&self, tokens: &[u32], edits: &[Edit], sources: &[Source]) -> Trace<Dual<f64>> {
        self.run(tokens, edits, &[(sources, Dual::new(0.0, 1.0))])
    }

    /// The run on duals of duals: both orders of everything along `sources` together.
    pub fn jet(&self, tokens: &[u32], edits: &[Edit], sources: &[Source]) -> Trace<Dual<Dual<f64>>> {
        self.run(tokens, edits, &[(sources, Dual::new(Dual::new(0.0, 1.0), Dual::new(1.0, 0.0)))])
    }

    /// The run on duals of duals with a direction each: `tangent.tangent` of anything is its second derivative along both.
    pub fn second_derivative(&self, tokens: &[u32], edits: &[Edit], [a, b]: [&[Source]; 2]) -> Trace<Dual<Dual<f64>>> {
        let zero = Dual::new(0.0, 0.0);
        let (first, second) = (Dual::new(Dual::new(0.0, 1.0), zero), Dual::new(zero, Dual::new(1.0, 0.0)));
        self.run(tokens, edits, &[(a, first), (b, second)])
    }

    /// `[T, width]` of a site in a reference run.
    pub fn capture(&self, trace: &Trace<f64>, site: Site) -> Vec<f64> {
        self.capture_of(trace, site)
    }

    /// As [`Twin::capture`], of a run on any scalar.
    pub fn capture_of<S: Scalar>(&self, trace: &Trace<S>, site: Site) -> Vec<S> {
        let (chunk, columns) = self.place(site);
        let width = self.config.n_embd;
        let level = |l: usize| &trace.field[l * trace.tokens() * width..][..trace.tokens() * width];
        let rows = match chunk {
            Chunk::ResidPre(l) => level(l),
            Chunk::ResidPost(l) => level(l + 1),
            Chunk::Q(l) => &trace.blocks[l].q,
            Chunk::K(l) => &trace.blocks[l].k,
            Chunk::V(l) => &trace.blocks[l].v,
            Chunk::Z(l) => &trace.blocks[l].z,
            Chunk::AttnOut(l) => &trace.blocks[l].attn_out,
            Chunk::ResidMid(l) => &trace.blocks[l].resid_mid,
            Chunk::MlpOut(l) => &trace.blocks[l].mlp_out,
        };
        rows.chunks(width).flat_map(|row| &row[columns.clone()]).copied().collect()
    }

    /// The reference's name of a site, and the site's columns there. h\[l\] is always the end of the block below, so that
    /// edits under its two names act in the order in which they are given.
    fn place(&self, site: Site) -> (Chunk, Range<usize>) {
        let d_head = self.config.d_head();
        let chunk = match site {
            Site::ResidPre(0) => Chunk::ResidPre(0),
            Site::ResidPre(l) => Chunk::ResidPost(l - 1),
            Site::ResidMid(l) => Chunk::ResidMid(l),
            Site::ResidPost(l) => Chunk::ResidPost(l),
            Site::AttnOut(l) => Chunk::AttnOut(l),
            Site::MlpOut(l) => Chunk::MlpOut(l),
            Site::Q(l, _) => Chunk::Q(l),
            Site::K(l, _) => Chunk::K(l),
            Site::V(l, _) => Chunk::V(l),
            Site::Z(l, _) => Chunk::Z(l),
        };
        let columns = site.head().map_or(0..self.config.n_embd, |h| h * d_head..(h + 1) * d_head);
        (chunk, columns)
    }

    /// Every site of the model.
    pub fn sites(&self) -> Vec<Site> {
        let heads = 0..self.config.n_head;
        let block = |l: usize| {
            let whole = [Site::ResidPre, Site::ResidMid, Site::ResidPost, Site::AttnOut, Site::MlpOut].map(|f| f(l));
            let split = [Site::Q, Site::K, Site::V, Site::Z];
            let split = heads.clone().flat_map(move |h| split.map(|f| f(l, h)));
            whole.into_iter().chain(split).collect::<Vec<_>>()
        };
        (0..self.config.n_layer).flat_map(block).collect()
    }
}

/// Tangents of an array of duals.
pub fn tangents(x: &[Dual<f64>]) -> Vec<f64> {
    x.iter().map(|x| x.tangent).collect()
}

/// First and second order of an array of duals of duals.
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
