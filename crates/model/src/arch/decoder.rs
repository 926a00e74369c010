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
    /// Base of the rotary embedding's wavelengths, if the file has none.
    pub(super) rope_theta: f64,
    /// Epsilon of the norms, if the file has none.
    pub(super) eps: f64,
    /// Whether the embeddings are tied, if the file does not say so.
    pub(super) tied: bool,
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
        let sizes = sizes(fields)?;
        let plan = AttentionPlan { scale: (sizes.d_head as f64).powf(-0.5), window: None, rotary: Some(0) };
        let eps = fields.positive("rms_norm_eps", fields.number("rms_norm_eps", self.eps)?)?;
        let tied = fields.flag("tie_word_embeddings", self.tied)?;
        Ok(Architecture {
            family: self.family,
            sizes,
            norm: self.norm,
            eps,
            attention: vec![plan; sizes.layers],
            rotary: vec![rotary(
                fields,
                &sizes,
                [
                    ("rope_theta", "rope_theta", self.rope_theta),
                    ("partial_rotary_factor", "partial_rotary_factor", 1.0),
                ],
            )?],
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
fn sizes(fields: &Fields<'_>) -> Result<Sizes> {
    let (d, heads) = (fields.size(&["hidden_size"])?, fields.size(&["num_attention_heads"])?);
    let d_head = match fields.size_or_none("head_dim")? {
        Some(width) => width,
        None if heads > 0 && d.is_multiple_of(heads) => d / heads,
        None => {
            return Err(fields.error(format!(
                "`hidden_size` is {d}, which `num_attention_heads` = {heads} does not divide, and there is no `head_dim`"
            )));
        }
    };
    let sizes = Sizes {
        layers: fields.size(&["num_hidden_layers"])?,
        d,
        heads,
        kv_heads: fields.size_or_none("num_key_value_heads")?.unwrap_or(heads),
        d_head,
        inner: fields.size(&["intermediate_size"])?,
        vocab: fields.size(&["vocab_size"])?,
        n_ctx: fields.size(&["max_position_embeddings"])?,
    };
    sizes.check().map_err(|message| fields.error(message))?;
    Ok(sizes)
}

/// A number of the rotary embedding: its name in the object that describes scaling, its older name beside that object,
/// and its default.
pub(super) type Older = (&'static str, &'static str, f64);

/// Reads the rotary embedding: from `rope_parameters`, or from `rope_scaling` and the older names beside it. The
/// numbers are the base, and the share of the columns of a head that rotate.
pub(super) fn rotary(fields: &Fields<'_>, sizes: &Sizes, numbers: [Older; 2]) -> Result<Rotary> {
    let scaling = match fields.object("rope_parameters")? {
        Some(parameters) => Some(parameters),
        None => fields.object("rope_scaling")?,
    };
    let number = |(name, older, default): Older| match scaling.map(|s| s.number_or_none(name)).transpose()?.flatten() {
        Some(number) => Ok(number),
        None => fields.number(older, default),
    };
    let [base, share] = numbers;
    rotary_of(fields, scaling.as_ref(), sizes, [number(base)?, number(share)?])
}

/// Returns a rotary embedding with a base, of a share of the columns of a head.
pub(super) fn rotary_of(
    fields: &Fields<'_>,
    scaling: Option<&Fields<'_>>,
    sizes: &Sizes,
    [theta, share]: [f64; 2],
) -> Result<Rotary> {
    let columns = (sizes.d_head as f64 * share) as usize;
    if !(theta.is_finite() && theta > 1.0) {
        return Err(fields.error(format!("the base of the rotary embedding is {theta}; it must exceed 1")));
    }
    if columns == 0 || columns > sizes.d_head || !columns.is_multiple_of(2) {
        let message = format!("{columns} columns of a head of {} rotate; their number must be even", sizes.d_head);
        return Err(fields.error(message));
    }
    Rotary::read(Pairs { columns, base: theta }, scaling, sizes.n_ctx)
}

/// Gives the blocks of a model their windows; see [`windows`].
pub(super) fn slide(model: &mut Architecture, fields: &Fields<'_>, slides: impl Fn(usize) -> bool) -> Result<()> {
    let windows = windows(fields, model.sizes.layers, slides)?;
    model.attention.iter_mut().zip(windows).for_each(|(plan, window)| plan.window = window);
    Ok(())
}

/// Returns the window of every block: `sliding_window` where `layer_types` says so, or else where `slides` does.
fn windows(fields: &Fields<'_>, layers: usize, slides: impl Fn(usize) -> bool) -> Result<Vec<Option<usize>>> {
    let window = fields.size_or_none("sliding_window")?;
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
    let of = |kind: &str| match kind {
        "full_attention" => window(false),
        "sliding_attention" => window(true),
        _ => Err(fields.error(format!(
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
        prefix: "",
        ignored: Ignored(is_rotary_table),
    }
}

/// Returns whether a tensor is a table of rotary frequencies, which older files contain.
pub(super) fn is_rotary_table(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
}
