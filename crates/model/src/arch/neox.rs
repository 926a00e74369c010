//! GPT-NeoX, of which Pythia is one: layer norms, partial rotary embeddings, attention and MLP in parallel.

use super::decoder::rotary;
use super::modules::is_rotary_table;
use super::{
    Activation, Architecture, AttentionPlan, BlockLayout, Family, Fields, Ignored, Layout, NormAt, NormKind, Part,
    Sizes, Stored, Taken,
};
use crate::error::Result;

pub(super) const FAMILY: Family = Family { model_types: &["gpt_neox"], classes: &["GPTNeoXForCausalLM"], read };

fn read(fields: &Fields<'_>) -> Result<Architecture> {
    let (d, heads) = (fields.size_or("hidden_size", 6144)?, fields.size_or("num_attention_heads", 64)?);
    if heads == 0 || !d.is_multiple_of(heads) {
        let message = format!("`hidden_size` is {d}, which `num_attention_heads` = {heads} does not divide");
        return Err(fields.error(message));
    }
    let sizes = Sizes {
        layers: fields.size_or("num_hidden_layers", 44)?,
        d,
        heads,
        kv_heads: heads,
        d_head: d / heads,
        inner: fields.size_or("intermediate_size", 24_576)?,
        vocab: fields.size_or("vocab_size", 50_432)?,
        n_ctx: fields.size_or("max_position_embeddings", 2048)?,
    };
    sizes.check().map_err(|message| fields.error(message))?;
    let activation = fields.activation("hidden_act", Activation::Gelu, false)?;
    let rotary = rotary(
        fields,
        &sizes,
        [("rope_theta", "rotary_emb_base", 10_000.0), ("partial_rotary_factor", "rotary_pct", 0.25)],
    )?;
    let plan = AttentionPlan { scale: (sizes.d_head as f64).powf(-0.5), window: None, rotary: Some(0) };
    Ok(Architecture {
        family: "gpt_neox",
        sizes,
        norm: NormKind::Layer(Stored::GainAndBias),
        eps: fields.positive("layer_norm_eps", fields.number("layer_norm_eps", 1e-5)?)?,
        attention: vec![plan; sizes.layers],
        rotary: vec![rotary],
        score_cap: None,
        activation,
        gated: false,
        parallel: fields.flag("use_parallel_residual", true)?,
        embedding_scale: 1.0,
        logit_cap: None,
        layout: layout(&sizes, fields.flag("attention_bias", true)?, fields.flag("tie_word_embeddings", false)?),
    })
}

fn layout(sizes: &Sizes, attention_bias: bool, tied: bool) -> Layout {
    let Sizes { d, d_head, inner, .. } = *sizes;
    let block = |l: usize| {
        let name = |part: &str| format!("gpt_neox.layers.{l}.{part}");
        let norm = |part: &str| Some(NormAt { name: name(part), width: d });
        // Query, key and value of one head follow one another.
        let part = |i: usize| Part {
            taken: Taken { first: i * d_head, run: d_head, period: 3 * d_head },
            ..Part::linear(name("attention.query_key_value"), [d, 3 * d], attention_bias)
        };
        BlockLayout {
            attn_norm: norm("input_layernorm"),
            qkv: vec![part(0), part(1), part(2)],
            qk_norm: None,
            out: Part::linear(name("attention.dense"), [d, d], attention_bias),
            attn_post_norm: None,
            mlp_norm: norm("post_attention_layernorm"),
            up: vec![Part::linear(name("mlp.dense_h_to_4h"), [d, inner], true)],
            down: Part::linear(name("mlp.dense_4h_to_h"), [inner, d], true),
            mlp_post_norm: None,
        }
    };
    Layout {
        embedding: "gpt_neox.embed_in.weight".to_owned(),
        positions: None,
        blocks: (0..sizes.layers).map(block).collect(),
        final_norm: NormAt { name: "gpt_neox.final_layer_norm".to_owned(), width: d },
        head: "embed_out.weight".to_owned(),
        tied,
        factors: Vec::new(),
        renamed: &[],
        base: "gpt_neox.",
        ignored: Ignored(|name| {
            is_rotary_table(name) || name.ends_with(".attention.bias") || name.ends_with(".attention.masked_bias")
        }),
    }
}
