//! What the families from Llama on share: the names of fields and tensors, and their defaults.

use super::rotary::Pairs;
use super::{
    Activation, Architecture, AttentionPlan, BlockLayout, Fields, Ignored, Layout, NormAt, NormKind, Part, Rotary,
    Sizes,
};
use crate::error::Result;

/// What a family says about its blocks, beside the shared fields.
pub(super) struct Decoder {
    pub(super) family: &'static str,
    pub(super) norm: NormKind,
    pub(super) norms: Norms,
    pub(super) biases: Biases,
    pub(super) activation: Activation,
    pub(super) unstated: Unstated,
    /// Base of the rotary embedding's wavelengths, if the file has none. `None`: the family reads its embeddings.
    pub(super) rope_theta: Option<f64>,
    /// Epsilon of the norms, if the file has none.
    pub(super) eps: f64,
    /// Whether the embeddings are tied, if the file does not say so.
    pub(super) tied: bool,
}

/// Sizes of files that do not state them: the defaults of the family's own library. The text model in a multimodal file
/// often states only the sizes that differ from these.
#[derive(Clone, Copy)]
pub(super) struct Unstated {
    pub(super) vocab: usize,
    pub(super) d: usize,
    pub(super) inner: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// `None`: as many as there are query heads.
    pub(super) kv_heads: Option<usize>,
    /// `None`: the width of the residual stream over the number of heads.
    pub(super) d_head: Option<usize>,
    pub(super) n_ctx: usize,
}

impl Unstated {
    /// The sizes of Llama 2 7B, from which several libraries took their defaults.
    pub(super) const LLAMA: Self = Self {
        vocab: 32_000,
        d: 4096,
        inner: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: None,
        d_head: None,
        n_ctx: 2048,
    };
}

/// The norms of a block by the names of their modules.
#[derive(Clone, Copy, Default)]
pub(super) struct Norms {
    pub(super) attn: Option<&'static str>,
    pub(super) attn_post: Option<&'static str>,
    pub(super) mlp: Option<&'static str>,
    pub(super) mlp_post: Option<&'static str>,
    pub(super) qk: Option<QkNorm>,
}

/// What a norm of queries and keys spans.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum QkNorm {
    /// Each head alone, with one gain for all heads.
    Head,
    /// All heads together.
    Whole,
}

/// Which projections have a bias.
#[derive(Clone, Copy, Default)]
pub(super) struct Biases {
    pub(super) qkv: bool,
    pub(super) out: bool,
    pub(super) mlp: bool,
}

/// Norms before attention and before the MLP.
pub(super) const BEFORE: Norms = Norms {
    attn: Some("input_layernorm"),
    attn_post: None,
    mlp: Some("post_attention_layernorm"),
    mlp_post: None,
    qk: None,
};

impl Decoder {
    /// Reads the shared fields. Every block attends to all tokens, with one rotary embedding.
    pub(super) fn read(self, fields: &Fields<'_>) -> Result<Architecture> {
        let sizes = sizes(fields, &self.unstated)?;
        let plan = AttentionPlan { scale: (sizes.d_head as f64).powf(-0.5), window: None, rotary: Some(0) };
        let eps = fields.positive("rms_norm_eps", fields.number("rms_norm_eps", self.eps)?)?;
        let tied = fields.flag("tie_word_embeddings", self.tied)?;
        let rotary = match self.rope_theta {
            None => Vec::new(),
            Some(theta) => {
                whole_heads(fields)?;
                one_scaling(fields)?.iter().try_for_each(whole_heads)?;
                let share = ("partial_rotary_factor", "partial_rotary_factor", 1.0);
                vec![rotary(fields, &sizes, [("rope_theta", "rope_theta", theta), share])?]
            }
        };
        Ok(Architecture {
            family: self.family,
            sizes,
            norm: self.norm,
            eps,
            attention: vec![plan; sizes.layers],
            rotary,
            score_cap: None,
            activation: self.activation,
            gated: true,
            parallel: false,
            embedding_scale: 1.0,
            logit_cap: None,
            layout: layout(&sizes, self.norms, self.biases, tied),
        })
    }
}

/// Reads the sizes.
fn sizes(fields: &Fields<'_>, unstated: &Unstated) -> Result<Sizes> {
    let d = fields.size_or("hidden_size", unstated.d)?;
    let heads = fields.size_or("num_attention_heads", unstated.heads)?;
    // A null leaves the choice to the other sizes; a field that is absent has the default of the library.
    let optional = |name: &str, default: Option<usize>| match fields.has(name) {
        true => fields.size_or_none(name),
        false => Ok(default),
    };
    let d_head = match optional("head_dim", unstated.d_head)? {
        Some(width) => width,
        None if heads > 0 && d.is_multiple_of(heads) => d / heads,
        None => {
            return Err(fields.error(format!(
                "`hidden_size` is {d}, which `num_attention_heads` = {heads} does not divide, and there is no `head_dim`"
            )));
        }
    };
    let sizes = Sizes {
        layers: fields.size_or("num_hidden_layers", unstated.layers)?,
        d,
        heads,
        kv_heads: optional("num_key_value_heads", unstated.kv_heads)?.unwrap_or(heads),
        d_head,
        inner: fields.size_or("intermediate_size", unstated.inner)?,
        vocab: fields.size_or("vocab_size", unstated.vocab)?,
        n_ctx: fields.size_or("max_position_embeddings", unstated.n_ctx)?,
    };
    sizes.check().map_err(|message| fields.error(message))?;
    Ok(sizes)
}

/// Kinds of layers, as `layer_types` names them.
pub(super) const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];

/// A number of the rotary embedding: its name in the object that describes scaling, its older name beside that object,
/// and its default.
pub(super) type Older = (&'static str, &'static str, f64);

/// Reads the rotary embedding: from `rope_parameters`, or from `rope_scaling` and the older names beside it. The
/// numbers are the base, and the share of the columns of a head that rotate.
pub(super) fn rotary(fields: &Fields<'_>, sizes: &Sizes, numbers: [Older; 2]) -> Result<Rotary> {
    let scaling = one_scaling(fields)?;
    if let Some(kind) = scaling.and_then(|s| KINDS.into_iter().find(|kind| s.has(kind))) {
        let message = format!("`rope_parameters` has `{kind}`; this family has one rotary embedding for all layers");
        return Err(fields.error(message));
    }
    let number = |(name, older, default): Older| match scaling.map(|s| s.number_or_none(name)).transpose()?.flatten() {
        Some(number) => Ok(number),
        None => fields.number(older, default),
    };
    let [base, share] = numbers;
    // Beside the scaling, this length has priority.
    let trained = fields.number_or_none("original_max_position_embeddings")?;
    rotary_of(fields, scaling.as_ref(), sizes, [number(base)?, number(share)?], trained)
}

/// Returns `rope_parameters`, or the older `rope_scaling`.
///
/// # Errors
/// The file has both. Hugging Face's library then ignores part of `rope_parameters`.
pub(super) fn one_scaling<'a>(fields: &Fields<'a>) -> Result<Option<Fields<'a>>> {
    match (fields.object("rope_parameters")?, fields.object("rope_scaling")?) {
        (Some(_), Some(_)) => Err(fields.error("it has both `rope_parameters` and `rope_scaling`; remove one of them")),
        (parameters, scaling) => Ok(parameters.or(scaling)),
    }
}

/// Returns a rotary embedding with a base, of a share of the columns of a head. `trained` is the length of the training
/// prompts, if the file states it beside the scaling.
pub(super) fn rotary_of(
    fields: &Fields<'_>,
    scaling: Option<&Fields<'_>>,
    sizes: &Sizes,
    [theta, share]: [f64; 2],
    trained: Option<f64>,
) -> Result<Rotary> {
    let pairs = Pairs { columns: (sizes.d_head as f64 * share) as usize, base: theta };
    if !(theta.is_finite() && theta > 1.0) {
        return Err(fields.error(format!("the base of the rotary embedding is {theta}; it must exceed 1")));
    }
    if pairs.columns == 0 || 2 * pairs.count() > sizes.d_head {
        let Pairs { columns, .. } = pairs;
        let message = format!("{columns} columns of a head of {} rotate; they must fit into it in pairs", sizes.d_head);
        return Err(fields.error(message));
    }
    Rotary::read(pairs, scaling, trained, sizes.n_ctx)
}

/// Checks that an object which describes a rotary embedding rotates whole heads, as in the families from Llama on.
pub(super) fn whole_heads(fields: &Fields<'_>) -> Result<()> {
    match fields.number("partial_rotary_factor", 1.0)? {
        1.0 => Ok(()),
        share => Err(fields.error(format!("`partial_rotary_factor` is {share}; this family rotates whole heads"))),
    }
}

/// Gives the blocks of a model their windows; see [`windows`].
pub(super) fn slide(model: &mut Architecture, fields: &Fields<'_>, slides: impl Fn(usize) -> bool) -> Result<()> {
    let windows = windows(fields, model.sizes.layers, slides)?;
    model.attention.iter_mut().zip(windows).for_each(|(plan, window)| plan.window = window);
    Ok(())
}

/// Returns `sliding_window`; 4096 if the file does not state it, as in all libraries of families with windows. A null
/// means that there is none.
pub(super) fn sliding_window(fields: &Fields<'_>) -> Result<Option<usize>> {
    if fields.has("sliding_window") { fields.size_or_none("sliding_window") } else { Ok(Some(4096)) }
}

/// Returns the window of every block: `sliding_window` where `layer_types` says so, or else where `slides` does.
fn windows(fields: &Fields<'_>, layers: usize, slides: impl Fn(usize) -> bool) -> Result<Vec<Option<usize>>> {
    let window = sliding_window(fields)?;
    let window = |slides: bool| match (slides, window) {
        (false, _) => Ok(None),
        (true, Some(window)) if window > 0 => Ok(Some(window)),
        (true, _) => Err(fields.error("`sliding_window` must be at least 1, because some layers slide")),
    };
    let Some(types) = fields.texts("layer_types")? else {
        return (0..layers).map(|l| window(slides(l))).collect();
    };
    if types.len() != layers {
        return Err(fields.error(format!("`layer_types` has {} entries for {layers} layers", types.len())));
    }
    let of = |kind: &str| match KINDS.iter().position(|known| *known == kind) {
        Some(index) => window(index == 1),
        None => Err(fields.error(format!(
            "`layer_types` has `{}`; supported are full_attention and sliding_attention",
            crate::error::shown(kind)
        ))),
    };
    types.into_iter().map(of).collect()
}

fn layout(sizes: &Sizes, norms: Norms, biases: Biases, tied: bool) -> Layout {
    let (d, inner) = (sizes.d, sizes.inner);
    let block = |l: usize| {
        let name = |part: &str| format!("model.layers.{l}.{part}");
        let norm = |part: Option<&str>| part.map(|part| NormAt { name: name(part), width: d });
        let linear = |part: &str, shape, bias| Part::linear(name(part), shape, bias);
        let qk = |kind: QkNorm| {
            ["q_norm", "k_norm"].map(|part| NormAt {
                name: name(&format!("self_attn.{part}")),
                width: match (kind, part) {
                    (QkNorm::Head, _) => sizes.d_head,
                    (QkNorm::Whole, "q_norm") => sizes.q_width(),
                    (QkNorm::Whole, _) => sizes.kv_width(),
                },
            })
        };
        BlockLayout {
            attn_norm: norm(norms.attn),
            qkv: vec![
                linear("self_attn.q_proj", [d, sizes.q_width()], biases.qkv),
                linear("self_attn.k_proj", [d, sizes.kv_width()], biases.qkv),
                linear("self_attn.v_proj", [d, sizes.kv_width()], biases.qkv),
            ],
            qk_norm: norms.qk.map(qk),
            out: linear("self_attn.o_proj", [sizes.q_width(), d], biases.out),
            attn_post_norm: norm(norms.attn_post),
            mlp_norm: norm(norms.mlp),
            up: vec![linear("mlp.gate_proj", [d, inner], biases.mlp), linear("mlp.up_proj", [d, inner], biases.mlp)],
            down: linear("mlp.down_proj", [inner, d], biases.mlp),
            mlp_post_norm: norm(norms.mlp_post),
        }
    };
    Layout {
        embedding: "model.embed_tokens.weight".to_owned(),
        positions: None,
        blocks: (0..sizes.layers).map(block).collect(),
        final_norm: NormAt { name: "model.norm".to_owned(), width: d },
        head: "lm_head.weight".to_owned(),
        tied,
        renamed: &[],
        base: "model.",
        ignored: Ignored(is_rotary_table),
    }
}

/// Returns whether a tensor is a table of rotary frequencies, which older files contain.
pub(super) fn is_rotary_table(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
}
