//! GPT-2, block by block:
//!
//! ```text
//! h[0] = embed(tokens)
//! block l:   qkv = ln_1(h[l]) W_qkv + b        z = attention(qkv)      attn_out = z W_o + b
//!            resid_mid = h[l] + attn_out
//!            mlp_out = gelu(ln_2(resid_mid) W_fc + b) W_proj + b
//!            h[l+1] = resid_mid + mlp_out
//! logits = unembed(ln_f(h[L]))
//! ```
//!
//! A hook receives the values of every site right after they are computed, and may change them. Edits, tangents (of
//! dual numbers) and finite differences all use hooks.

use crate::norm::norm;
use crate::ops::{self, Frozen, GeluForm, Heads, Keys};
use crate::site::Hook;
use crate::{Norm, Scalar, Site};

/// The sizes and switches of `config.json` that the formulas need.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Blocks, L.
    pub n_layer: usize,
    /// Width of the stream, d.
    pub n_embd: usize,
    /// Heads; d_head = d / n_head.
    pub n_head: usize,
    /// Width of the MLP; 4 d if the file says null.
    pub n_inner: usize,
    /// Tokens in the vocabulary, V.
    pub vocab: usize,
    /// Longest prompt.
    pub n_positions: usize,
    /// `layer_norm_epsilon`.
    pub eps: f64,
    /// `activation_function`.
    pub activation: GeluForm,
    /// Multiply scores by 1 / sqrt(d_head); GPT-2 does.
    pub scale_attn_weights: bool,
    /// Divide the scores of block l by l + 1; GPT-2 does not.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// Factors that derivatives treat as constant.
    pub frozen: Frozen,
}

impl Config {
    /// Returns the heads of block `layer` and the factor of their scores.
    pub fn heads(&self, layer: usize) -> Heads {
        let mut heads = Heads::new(self.n_head, self.n_embd);
        if !self.scale_attn_weights {
            heads.scale = 1.0;
        }
        if self.scale_attn_by_inverse_layer_idx {
            heads.scale /= (layer + 1) as f64;
        }
        heads
    }
}

/// A weight and a bias. A layer norm has gain `[d]` and bias `[d]`; a matmul has `[in, out]` and `[out]`.
#[derive(Clone, Debug)]
pub struct Affine<S> {
    /// Gain `[d]` or weight `[in, out]`.
    pub weight: Vec<S>,
    /// `[d]` or `[out]`.
    pub bias: Vec<S>,
}

/// The parameters of one block.
#[derive(Clone, Debug)]
pub struct BlockWeights<S> {
    /// `ln_1`: `[d]`, `[d]`.
    pub ln_1: Affine<S>,
    /// `attn.c_attn`: `[d, 3d]`, `[3d]`.
    pub c_attn: Affine<S>,
    /// `attn.c_proj`: `[d, d]`, `[d]`.
    pub attn_proj: Affine<S>,
    /// `ln_2`: `[d]`, `[d]`.
    pub ln_2: Affine<S>,
    /// `mlp.c_fc`: `[d, inner]`, `[inner]`.
    pub c_fc: Affine<S>,
    /// `mlp.c_proj`: `[inner, d]`, `[d]`.
    pub mlp_proj: Affine<S>,
}

/// The parameters of the model.
#[derive(Clone, Debug)]
pub struct Weights<S> {
    /// Token embedding `[V, d]`.
    pub wte: Vec<S>,
    /// Position embedding `[P, d]`.
    pub wpe: Vec<S>,
    /// One per block.
    pub blocks: Vec<BlockWeights<S>>,
    /// `ln_f`: `[d]`, `[d]`.
    pub ln_f: Affine<S>,
    /// Unembedding `[V, d]`; equal to `wte` if the head is tied.
    pub lm_head: Vec<S>,
}

impl<S: Scalar> Weights<S> {
    /// Calls `get` for every parameter with its Hugging Face name without `transformer.`, such as
    /// `h.0.attn.c_attn.weight`. If the head is tied, `get` must return `wte.weight` for `lm_head.weight`.
    pub fn new(config: &Config, mut get: impl FnMut(&str) -> Vec<f64>) -> Self {
        let mut tensor = |name: &str, shape: [usize; 2]| -> Vec<S> {
            let values = get(name);
            let [rows, columns] = shape;
            assert_eq!(values.len(), rows * columns, "{name}: {} values, not {shape:?}", values.len());
            values.into_iter().map(S::from_f64).collect()
        };
        let (d, inner) = (config.n_embd, config.n_inner);
        let wte = tensor("wte.weight", [config.vocab, d]);
        let wpe = tensor("wpe.weight", [config.n_positions, d]);
        let lm_head = tensor("lm_head.weight", [config.vocab, d]);
        let mut affine = |name: &str, shape: [usize; 2]| Affine {
            weight: tensor(&format!("{name}.weight"), shape),
            bias: tensor(&format!("{name}.bias"), [1, shape[1]]),
        };
        let blocks = (0..config.n_layer)
            .map(|l| BlockWeights {
                ln_1: affine(&format!("h.{l}.ln_1"), [1, d]),
                c_attn: affine(&format!("h.{l}.attn.c_attn"), [d, 3 * d]),
                attn_proj: affine(&format!("h.{l}.attn.c_proj"), [d, d]),
                ln_2: affine(&format!("h.{l}.ln_2"), [1, d]),
                c_fc: affine(&format!("h.{l}.mlp.c_fc"), [d, inner]),
                mlp_proj: affine(&format!("h.{l}.mlp.c_proj"), [inner, d]),
            })
            .collect();
        let ln_f = affine("ln_f", [1, d]);
        Self { wte, wpe, blocks, ln_f, lm_head }
    }
}

/// Results of a forward pass.
#[derive(Clone, Debug)]
pub struct Trace<S> {
    /// Rows of the tokens and of the positions, `[T, d]` each. A model without learned positions has the first only; a
    /// resumed pass has none.
    pub embeddings: [Vec<S>; 2],
    /// Residual stream `[L+1, T, d]`; `h[L]` is before the final norm.
    pub field: Vec<S>,
    /// One per block that was computed: all blocks, or the last ones after [`Gpt2::resume`].
    pub blocks: Vec<BlockTrace<S>>,
    /// `[T, V]`.
    pub logits: Vec<S>,
    pub(crate) tokens: usize,
    pub(crate) width: usize,
}

impl<S> Trace<S> {
    /// Returns the number of tokens, T.
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Returns one row of the field, `h[layer, token]`: `[d]`.
    pub fn h(&self, layer: usize, token: usize) -> &[S] {
        &self.field[(layer * self.tokens + token) * self.width..][..self.width]
    }

    /// Returns the logits of one position: `[V]`.
    pub fn logits_at(&self, position: usize) -> &[S] {
        let vocab = self.logits.len() / self.tokens;
        &self.logits[position * vocab..][..vocab]
    }
}

/// The sites inside one block, each `[T, d]`, but `[T, inner]` in the hidden layer; q, k, v and z of a
/// [`crate::FamilyModel`] have widths of their own.
#[derive(Clone, Debug)]
pub struct BlockTrace<S> {
    /// Queries, heads side by side.
    pub q: Vec<S>,
    /// Keys.
    pub k: Vec<S>,
    /// Values.
    pub v: Vec<S>,
    /// Mixed values, before the output projection.
    pub z: Vec<S>,
    /// What each head adds to the stream, heads side by side, without the bias and before a norm that follows.
    pub results: Vec<S>,
    /// What attention adds to the stream.
    pub attn_out: Vec<S>,
    /// The stream between attention and MLP.
    pub resid_mid: Vec<S>,
    /// Into the activation of the MLP.
    pub mlp_pre: Vec<S>,
    /// Out of the activation.
    pub mlp_post: Vec<S>,
    /// What the MLP adds to the stream.
    pub mlp_out: Vec<S>,
}

/// The model: sizes and parameters.
#[derive(Clone, Debug)]
pub struct Gpt2<S> {
    /// Sizes and switches.
    pub config: Config,
    /// Parameters.
    pub weights: Weights<S>,
}

impl<S: Scalar> Gpt2<S> {
    /// Reads the parameters through `get`; see [`Weights::new`].
    pub fn new(config: Config, get: impl FnMut(&str) -> Vec<f64>) -> Self {
        let weights = Weights::new(&config, get);
        Self { config, weights }
    }

    /// Returns the same model on other scalars, where its parameters are constants.
    pub fn lift<R: Scalar>(&self) -> Gpt2<R> {
        let values = |x: &[S]| x.iter().map(|x| R::from_f64(x.value())).collect::<Vec<R>>();
        let affine = |x: &Affine<S>| Affine { weight: values(&x.weight), bias: values(&x.bias) };
        let w = &self.weights;
        let blocks = w
            .blocks
            .iter()
            .map(|b| BlockWeights {
                ln_1: affine(&b.ln_1),
                c_attn: affine(&b.c_attn),
                attn_proj: affine(&b.attn_proj),
                ln_2: affine(&b.ln_2),
                c_fc: affine(&b.c_fc),
                mlp_proj: affine(&b.mlp_proj),
            })
            .collect();
        let weights = Weights {
            wte: values(&w.wte),
            wpe: values(&w.wpe),
            blocks,
            ln_f: affine(&w.ln_f),
            lm_head: values(&w.lm_head),
        };
        Gpt2 { config: self.config.clone(), weights }
    }

    /// Runs the model on `tokens [T]`.
    ///
    /// The hook receives `Embed`, `PosEmbed` and `ResidPre(0)`, and before what each norm gives its scales and
    /// normalized rows. For every block it receives Q, K, V, for every token and head
    /// Scores and Pattern, then Z, `Result`, `AttnOut`, `ResidMid`, `MlpPre`, `MlpPost`, `MlpOut`, `ResidPost`.
    /// If another block follows, the hook receives the same rows again as its `ResidPre`.
    pub fn forward(&self, tokens: &[usize], hook: &mut Hook<'_, S>) -> Trace<S> {
        assert!(!tokens.is_empty(), "forward: no tokens");
        let w = &self.weights;
        let d = self.config.n_embd;
        let positions: Vec<usize> = (0..tokens.len()).collect();
        let none = vec![S::from_f64(0.0); tokens.len() * d];
        let [mut words, mut places] =
            [(&w.wte, tokens), (&w.wpe, &positions[..])].map(|(table, ids)| ops::embed(table, &none, d, ids));
        hook(Site::Embed, &mut words);
        hook(Site::PosEmbed, &mut places);
        let mut h = ops::add(&words, &places);
        hook(Site::ResidPre(0), &mut h);
        Trace { embeddings: [words, places], ..self.resume(h, tokens.len(), hook) }
    }

    /// Resumes from a field that is known up to some level: `field [l+1, T, d]` is `h[0..=l]`. Computes blocks l..
    ///
    /// The first site that the hook receives is the scale of the norm before attention of block l.
    pub fn resume(&self, mut field: Vec<S>, tokens: usize, hook: &mut Hook<'_, S>) -> Trace<S> {
        let (layers, level) = (self.config.n_layer, tokens * self.config.n_embd);
        let known = field.len() / level;
        assert!(
            field.len() == known * level && (1..=layers + 1).contains(&known),
            "resume: {} values are not 1 to {} levels of {level}",
            field.len(),
            layers + 1
        );
        let mut blocks = Vec::new();
        for l in known - 1..layers {
            let (block, mut next) = self.block(l, &field[l * level..], hook);
            hook(Site::ResidPost(l), &mut next);
            if l + 1 < layers {
                hook(Site::ResidPre(l + 1), &mut next);
            }
            field.extend(next);
            blocks.push(block);
        }
        let w = &self.weights;
        let (eps, frozen) = (self.config.eps, self.config.frozen);
        let parts = [&w.ln_f.weight[..], &w.ln_f.bias];
        let normed = norm(&field[layers * level..], parts, ((true, eps), frozen), (Norm::Final, &mut *hook));
        let logits = ops::unembed(&normed, &w.lm_head, self.config.n_embd);
        Trace { embeddings: [const { Vec::new() }; 2], field, blocks, logits, tokens, width: self.config.n_embd }
    }

    /// Computes block `l`: `h[l] [T, d]` -> the values inside, and `h[l+1] [T, d]`.
    fn block(&self, l: usize, h: &[S], hook: &mut Hook<'_, S>) -> (BlockTrace<S>, Vec<S>) {
        let w = &self.weights.blocks[l];
        let (d, eps, frozen) = (self.config.n_embd, self.config.eps, self.config.frozen);
        let form = ((true, eps), frozen);
        let linear = |x: &[S], w: &Affine<S>| ops::matmul(x, &w.weight, &w.bias);

        let normed = norm(h, [&w.ln_1.weight, &w.ln_1.bias], form, (Norm::Attention(l), &mut *hook));
        let qkv = linear(&normed, &w.c_attn);
        let part = |i: usize| qkv.chunks_exact(d).skip(i).step_by(3).flatten().copied().collect::<Vec<S>>();
        let [mut q, mut k, mut v] = [part(0), part(1), part(2)];
        hook(Site::Q(l), &mut q);
        hook(Site::K(l), &mut k);
        hook(Site::V(l), &mut v);
        let rows = q.chunks_exact(d).zip(k.chunks_exact(d)).zip(v.chunks_exact(d));
        let qkv: Vec<S> = rows.flat_map(|((q, k), v)| [q, k, v].concat()).collect();

        let mut edit = |keys, [head, t]: [usize; 2], x: &mut [S]| match keys {
            Keys::Scores => hook(Site::Scores(l, head, t), x),
            Keys::Weights => hook(Site::Pattern(l, head, t), x),
        };
        let mut z = ops::edited_attention(&qkv, self.config.heads(l), frozen, &mut edit);
        hook(Site::Z(l), &mut z);
        let (heads, none) = (self.config.n_head, vec![S::from_f64(0.0); d]);
        let weights: Vec<&[S]> = w.attn_proj.weight.chunks_exact(d / heads * d).collect();
        let alone =
            |(h, w): (usize, &&[S])| ops::matmul(&ops::columns(&z, d, h * d / heads..(h + 1) * d / heads), w, &none);
        let alone: Vec<Vec<S>> = weights.iter().enumerate().map(alone).collect();
        let mut results = side_by_side(&alone, d);
        hook(Site::Result(l), &mut results);
        let mut attn_out = sum_of_heads(&results, d, heads, &w.attn_proj.bias);
        hook(Site::AttnOut(l), &mut attn_out);
        let mut resid_mid = ops::add(h, &attn_out);
        hook(Site::ResidMid(l), &mut resid_mid);

        let normed = norm(&resid_mid, [&w.ln_2.weight, &w.ln_2.bias], form, (Norm::Mlp(l), &mut *hook));
        let mut mlp_pre = linear(&normed, &w.c_fc);
        hook(Site::MlpPre(l), &mut mlp_pre);
        let mut mlp_post = ops::gelu(&mlp_pre, self.config.activation, frozen);
        hook(Site::MlpPost(l), &mut mlp_post);
        let mut mlp_out = linear(&mlp_post, &w.mlp_proj);
        hook(Site::MlpOut(l), &mut mlp_out);
        let next = ops::add(&resid_mid, &mlp_out);
        (BlockTrace { q, k, v, z, results, attn_out, resid_mid, mlp_pre, mlp_post, mlp_out }, next)
    }
}

/// Returns rows with those of each part side by side. Parts `[T, width]` -> `[T, parts width]`.
pub(crate) fn side_by_side<S: Scalar>(parts: &[Vec<S>], width: usize) -> Vec<S> {
    let rows = parts.first().map_or(0, |part| part.len() / width);
    (0..rows).flat_map(|r| parts.iter().flat_map(move |part| part[r * width..][..width].iter().copied())).collect()
}

/// Returns the sum over heads, and of the bias. `results [T, heads d]`, `bias [d]` -> `[T, d]`.
pub(crate) fn sum_of_heads<S: Scalar>(results: &[S], d: usize, heads: usize, bias: &[S]) -> Vec<S> {
    let part = |h: usize| ops::columns(results, heads * d, h * d..(h + 1) * d);
    let bias: Vec<S> = (0..results.len() / (heads * d)).flat_map(|_| bias.iter().copied()).collect();
    (0..heads).map(part).fold(bias, |sum, part| ops::add(&sum, &part))
}
