//! The families but GPT-2, as one model with features:
//!
//! ```text
//! h[0] = scale * embedding[tokens] + positions, where they are learned
//! block l:   q, k, v = linear(before(h[l]))      q, k = rotate(norm(q)), rotate(norm(k))
//!            attn_out = after(linear(attention(q, k, v)))
//!            resid_mid = h[l] + attn_out
//!            x = before(resid_mid), or before(h[l]) in a parallel block
//!            mlp_out = after(W_down (act(W_gate x) * W_up x)), or after(W_down act(W_up x))
//!            h[l+1] = resid_mid + mlp_out
//! logits = cap(scale * unembed(norm(h[L])))
//! ```
//!
//! Every norm in a block may be absent. The parts are written here from their formulas, apart from [`crate::ops`].

use std::collections::HashMap;

use serde_json::Value;

pub mod features;
pub mod parts;
pub mod rotary;

use features::{Features, Projection};

use crate::gpt2::{BlockTrace, Trace, side_by_side, sum_of_heads};
use crate::norm::norm;
use crate::ops::{Keys, columns};
use crate::site::Hook;
use crate::{Norm, Scalar, Site};

/// A model: its features and its tensors by their names in `model.safetensors`.
///
/// The sites of a run are those of [`crate::Gpt2`], with these widths and places: q is `[T, heads * head_width]`, k and
/// v are `[T, kv_heads * head_width]`, as they leave the projection: before the norm of queries and keys and before the
/// rotation. `attn_out` and `mlp_out` are after the norms behind attention and MLP. In a parallel block, the MLP does
/// not read `resid_mid`.
#[derive(Clone, Debug)]
pub struct FamilyModel {
    /// Features.
    pub features: Features,
    /// Tensors `[..]`; a linear map is `[out, in]`.
    pub weights: HashMap<String, Vec<f64>>,
}

impl FamilyModel {
    /// Makes a model of a parsed `config.json` and the tensors of `model.safetensors`.
    pub fn new(config: &Value, weights: HashMap<String, Vec<f64>>) -> Self {
        Self { features: Features::new(config), weights }
    }

    /// Runs the model on `tokens [T]`; the hook receives the sites in the order of [`crate::Gpt2::forward`].
    pub fn forward<S: Scalar>(&self, tokens: &[usize], hook: &mut Hook<'_, S>) -> Trace<S> {
        assert!(!tokens.is_empty(), "forward: no tokens");
        let (d, scale) = (self.features.width, self.features.embedding_scale);
        let embedding = self.tensor(&self.embedding());
        let vocab = embedding.len() / d;
        let mut h = Vec::with_capacity(tokens.len() * d);
        for &token in tokens {
            assert!(token < vocab, "embed: token {token} is outside the vocabulary of {vocab}");
            h.extend(embedding[token * d..][..d].iter().map(|&x| S::from_f64(scale * x)));
        }
        hook(Site::Embed, &mut h);
        let (words, mut places) = (h.clone(), Vec::new());
        if let Some(positions) = self.positions() {
            places.extend(positions[..tokens.len() * d].iter().map(|&x| S::from_f64(x)));
            hook(Site::PosEmbed, &mut places);
            h.iter_mut().zip(&places).for_each(|(h, &place)| *h += place);
        }
        hook(Site::ResidPre(0), &mut h);
        Trace { embeddings: [words, places], ..self.resume(h, tokens.len(), hook) }
    }

    /// Resumes from a field `[l+1, T, d]` that is known up to level l; see [`crate::Gpt2::resume`].
    pub fn resume<S: Scalar>(&self, mut field: Vec<S>, tokens: usize, hook: &mut Hook<'_, S>) -> Trace<S> {
        let (layers, d) = (self.features.layers, self.features.width);
        let level = tokens * d;
        let known = field.len() / level;
        assert!(
            field.len() == known * level && (1..=layers + 1).contains(&known),
            "resume: {} values are not 1 to {} levels of {level}",
            field.len(),
            layers + 1
        );
        let mut blocks = Vec::new();
        for l in known - 1..layers {
            let (block, mut next) = self.block(l, &field[l * level..], tokens, hook);
            hook(Site::ResidPost(l), &mut next);
            if l + 1 < layers {
                hook(Site::ResidPre(l + 1), &mut next);
            }
            field.extend(next);
            blocks.push(block);
        }
        let names = self.features.names;
        let last = format!("{}.{}", names.stem, names.last);
        let x = self.stream_norm(&last, &field[layers * level..], (Norm::Final, &mut *hook));
        let head = if self.features.tied { self.embedding() } else { names.head.to_owned() };
        let logits = parts::linear(&x, tokens, self.tensor(&head), None);
        let scale = S::from_f64(self.features.logit_scale);
        let logits = logits.into_iter().map(|x| parts::cap(x * scale, self.features.logit_cap)).collect();
        Trace { embeddings: [const { Vec::new() }; 2], field, blocks, logits, tokens, width: d }
    }

    /// Computes block `l`: `h[l] [T, d]` -> the values inside, and `h[l+1] [T, d]`.
    fn block<S: Scalar>(&self, l: usize, h: &[S], tokens: usize, hook: &mut Hook<'_, S>) -> (BlockTrace<S>, Vec<S>) {
        let features = &self.features;
        let names = features.names;
        let at = format!("{}.{}.{l}", names.stem, names.blocks);
        let norm = |name: &str, x: &[S]| {
            if name.is_empty() { x.to_vec() } else { self.norm(&format!("{at}.{name}"), x) }
        };
        let add = |a: &[S], b: &[S]| a.iter().zip(b).map(|(&a, &b)| a + b).collect::<Vec<S>>();
        let [before_attention, after_attention, before_mlp, after_mlp] = names.norms;

        let attention = format!("{at}.{}", names.attention);
        let before = |name: &str, x: &[S], of: Norm, hook: &mut Hook<'_, S>| match name.is_empty() {
            true => x.to_vec(),
            false => self.stream_norm(&format!("{at}.{name}"), x, (of, hook)),
        };
        let normed = before(before_attention, h, Norm::Attention(l), hook);
        let [mut q, mut k, mut v] = self.project(&attention, &normed, tokens);
        hook(Site::Q(l), &mut q);
        hook(Site::K(l), &mut k);
        hook(Site::V(l), &mut v);
        let turned = |x: &[S], part: &str| {
            let name = format!("{attention}.{part}_norm");
            let x = if features.query_key_norm { self.norm(&name, x) } else { x.to_vec() };
            match &features.rotary[l] {
                Some(rotary) => parts::rotate(&x, tokens, features.head_width, rotary),
                None => x,
            }
        };
        let form = parts::Attention {
            heads: features.heads,
            kv_heads: features.kv_heads,
            width: features.head_width,
            scale: features.score_scale,
            cap: features.score_cap,
            window: features.windows[l],
        };
        let mut edit = |keys, [head, t]: [usize; 2], x: &mut [S]| match keys {
            Keys::Scores => hook(Site::Scores(l, head, t), x),
            Keys::Weights => hook(Site::Pattern(l, head, t), x),
        };
        let mut z = parts::attention([&turned(&q, "q"), &turned(&k, "k"), &v], form, features.frozen, &mut edit);
        hook(Site::Z(l), &mut z);
        let out = format!("{attention}.{}", names.out);
        let mut results = self.results(&out, &z, tokens);
        hook(Site::Result(l), &mut results);
        let bias: Vec<S> = match self.bias(&out) {
            Some(bias) => bias.iter().map(|&x| S::from_f64(features.branch_scale * x)).collect(),
            None => vec![S::from_f64(0.0); features.width],
        };
        let mut attn_out = norm(after_attention, &sum_of_heads(&results, features.width, features.heads, &bias));
        hook(Site::AttnOut(l), &mut attn_out);
        let mut resid_mid = add(h, &attn_out);
        hook(Site::ResidMid(l), &mut resid_mid);

        let read = if features.parallel { h } else { &resid_mid };
        // A parallel block may have one norm for both branches, which is that of attention.
        let shared = features.parallel && before_mlp == before_attention;
        let normed = if shared { normed } else { before(before_mlp, read, Norm::Mlp(l), hook) };
        let [mut mlp_pre, up] = self.hidden(&format!("{at}.mlp"), &normed, tokens);
        hook(Site::MlpPre(l), &mut mlp_pre);
        let mut mlp_post = self.neurons(&mlp_pre, &up);
        hook(Site::MlpPost(l), &mut mlp_post);
        let down = self.scaled(self.linear(&format!("{at}.mlp.{}", names.down), &mlp_post, tokens));
        let mut mlp_out = norm(after_mlp, &down);
        hook(Site::MlpOut(l), &mut mlp_out);
        let next = add(&resid_mid, &mlp_out);
        (BlockTrace { q, k, v, z, results, attn_out, resid_mid, mlp_pre, mlp_post, mlp_out }, next)
    }

    /// Returns what each head adds to the stream, heads side by side: the product of its columns of z `[T, ..]` with
    /// those of the output projection `[d, ..]`.
    fn results<S: Scalar>(&self, out: &str, z: &[S], tokens: usize) -> Vec<S> {
        let (weight, n) = (self.tensor(&format!("{out}.weight")), self.features.head_width);
        let width = self.features.heads * n;
        let alone = |h: usize| {
            let own = h * n..(h + 1) * n;
            self.scaled(parts::linear(&columns(z, width, own.clone()), tokens, &columns(weight, width, own), None))
        };
        side_by_side(&(0..self.features.heads).map(alone).collect::<Vec<_>>(), self.features.width)
    }

    /// Returns what a branch adds to the stream.
    fn scaled<S: Scalar>(&self, x: Vec<S>) -> Vec<S> {
        x.into_iter().map(|x| x * S::from_f64(self.features.branch_scale)).collect()
    }

    /// Returns q, k and v of all tokens.
    fn project<S: Scalar>(&self, attention: &str, x: &[S], tokens: usize) -> [Vec<S>; 3] {
        let features = &self.features;
        let linear = |name: &str| self.linear(&format!("{attention}.{name}"), x, tokens);
        match features.projection {
            Projection::Apart => ["q_proj", "k_proj", "v_proj"].map(linear),
            Projection::Neighbours => {
                // The first of each two columns come first, so that each turns with the one half a head behind it.
                let order = |x: Vec<S>| -> Vec<S> {
                    let heads = x.chunks_exact(features.head_width);
                    let parts =
                        |head: &[S]| [0, 1].map(|at| head.iter().skip(at).step_by(2).copied().collect::<Vec<S>>());
                    heads.flat_map(|head| parts(head).concat()).collect()
                };
                [order(linear("q_proj")), order(linear("k_proj")), linear("v_proj")]
            }
            Projection::ByHead => {
                let all = linear("query_key_value");
                let parts = all.chunks_exact(features.head_width);
                [0, 1, 2].map(|part| parts.clone().skip(part).step_by(3).flatten().copied().collect())
            }
            Projection::ByKind => {
                let all = linear("qkv_proj");
                let [q, kv] = [features.heads, features.kv_heads].map(|heads| heads * features.head_width);
                [0..q, q..q + kv, q + kv..q + 2 * kv].map(|own| columns(&all, q + 2 * kv, own))
            }
        }
    }

    /// Returns what enters the activation of the MLP, and what the activation multiplies; the latter is empty without a
    /// gate.
    fn hidden<S: Scalar>(&self, mlp: &str, x: &[S], tokens: usize) -> [Vec<S>; 2] {
        let linear = |name: &str| self.linear(&format!("{mlp}.{name}"), x, tokens);
        match (self.features.names.up, self.features.gated) {
            ([up, ""], false) => [linear(up), Vec::new()],
            ([both, ""], true) => {
                let both = linear(both);
                let width = both.len() / tokens;
                [0..width / 2, width / 2..width].map(|own| columns(&both, width, own))
            }
            (parts, _) => parts.map(linear),
        }
    }

    /// Returns the neurons. With the ratio frozen, each factor of a gate has half of the derivatives, and the other
    /// factor is a constant.
    fn neurons<S: Scalar>(&self, pre: &[S], up: &[S]) -> Vec<S> {
        let frozen = self.features.frozen;
        let act = |x: S| parts::activation(x, self.features.activation, frozen);
        if !self.features.gated {
            return pre.iter().map(|&x| act(x)).collect();
        }
        let product = |(&gate, &up): (&S, &S)| match frozen.ratio {
            true => S::from_f64(0.5) * (act(gate) * up.freeze(true) + act(gate).freeze(true) * up),
            false => act(gate) * up,
        };
        pre.iter().zip(up).map(product).collect()
    }

    fn linear<S: Scalar>(&self, name: &str, x: &[S], tokens: usize) -> Vec<S> {
        parts::linear(x, tokens, self.tensor(&format!("{name}.weight")), self.bias(name))
    }

    fn norm<S: Scalar>(&self, name: &str, x: &[S]) -> Vec<S> {
        let ones = vec![1.0; self.features.width];
        let gain = self.weights.get(&format!("{name}.weight")).unwrap_or(&ones);
        parts::norm(x, gain, self.bias(name), self.features.norm, self.features.frozen)
    }

    /// Computes a norm of the stream, with its hooks.
    fn stream_norm<S: Scalar>(&self, name: &str, x: &[S], (at, hook): (Norm, &mut Hook<'_, S>)) -> Vec<S> {
        let (form, frozen) = (self.features.norm, self.features.frozen);
        let stored = self.weights.get(&format!("{name}.weight"));
        let gain = stored.map_or_else(|| vec![1.0; self.features.width], Vec::clone).into_iter();
        let gain: Vec<S> = gain.map(|x| S::from_f64(if form.plus_one { 1.0 + x } else { x })).collect();
        let bias = self.bias(name).map_or_else(|| vec![0.0; gain.len()], <[f64]>::to_vec);
        let bias: Vec<S> = bias.into_iter().map(S::from_f64).collect();
        norm(x, [&gain, &bias], ((form.centred, form.eps), frozen), (at, hook))
    }

    /// Returns whether positions have embeddings of their own.
    pub fn has_positions(&self) -> bool {
        self.positions().is_some()
    }

    fn positions(&self) -> Option<&Vec<f64>> {
        self.weights.get(&format!("{}.wpe.weight", self.features.names.stem))
    }

    fn embedding(&self) -> String {
        format!("{}.{}.weight", self.features.names.stem, self.features.names.embedding)
    }

    fn tensor(&self, name: &str) -> &[f64] {
        self.weights.get(name).unwrap_or_else(|| panic!("no tensor `{name}`"))
    }

    /// Returns the bias of `name`; files have one where the family or the configuration asks for it.
    fn bias(&self, name: &str) -> Option<&[f64]> {
        self.weights.get(&format!("{name}.bias")).map(Vec::as_slice)
    }
}
