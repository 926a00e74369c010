//! The names of a family's modules, and where their weights lie.

use super::{BlockLayout, Ignored, Layout, NormAt, Part, Sizes, Taken};

/// The modules of a model, by their names.
#[derive(Clone, Copy)]
pub(super) struct Modules {
    /// Start of all names but the head's.
    pub(super) base: &'static str,
    pub(super) embedding: &'static str,
    /// Learned positions.
    pub(super) positions: Option<&'static str>,
    /// The list of blocks.
    pub(super) blocks: &'static str,
    pub(super) qkv: Qkv,
    pub(super) out: &'static str,
    pub(super) mlp: Mlp,
    pub(super) down: &'static str,
    /// The final norm.
    pub(super) last: &'static str,
}

/// The projections to queries, keys and values.
#[derive(Clone, Copy)]
pub(super) enum Qkv {
    /// One matrix each.
    Apart([&'static str; 3]),
    /// One matrix: queries of all heads, then keys, then values.
    Fused(&'static str),
}

/// The projections into the hidden layer of the MLP.
#[derive(Clone, Copy)]
pub(super) enum Mlp {
    /// The gate, and what it multiplies.
    Gated([&'static str; 2]),
    /// The same in one matrix.
    Fused(&'static str),
    /// Without a gate.
    Plain(&'static str),
}

impl Mlp {
    pub(super) fn is_gated(self) -> bool {
        !matches!(self, Self::Plain(_))
    }
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

impl Modules {
    /// The modules of Llama, whose names most families have.
    pub(super) const LLAMA: Self = Self {
        base: "model.",
        embedding: "embed_tokens",
        positions: None,
        blocks: "layers",
        qkv: Qkv::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        out: "self_attn.o_proj",
        mlp: Mlp::Gated(["mlp.gate_proj", "mlp.up_proj"]),
        down: "mlp.down_proj",
        last: "norm",
    };

    pub(super) fn layout(&self, sizes: &Sizes, norms: Norms, biases: Biases, tied: bool) -> Layout {
        let d = sizes.d;
        Layout {
            embedding: format!("{}{}.weight", self.base, self.embedding),
            positions: self.positions.map(|positions| format!("{}{positions}.weight", self.base)),
            blocks: (0..sizes.layers).map(|l| self.block(l, sizes, norms, biases)).collect(),
            final_norm: NormAt { name: format!("{}{}", self.base, self.last), width: d },
            head: "lm_head.weight".to_owned(),
            tied,
            factors: Vec::new(),
            renamed: &[],
            base: self.base,
            ignored: Ignored(is_rotary_table),
        }
    }

    fn block(&self, l: usize, sizes: &Sizes, norms: Norms, biases: Biases) -> BlockLayout {
        let (d, inner, q_width, kv_width) = (sizes.d, sizes.inner, sizes.q_width(), sizes.kv_width());
        let name = |part: &str| format!("{}{}.{l}.{part}", self.base, self.blocks);
        let norm = |part: Option<&str>| part.map(|part| NormAt { name: name(part), width: d });
        let linear = |part: &str, shape, bias| Part::linear(name(part), shape, bias);
        // The outputs of one matrix, of which each part takes its own.
        let fused = |part: &str, widths: &[usize], bias| -> Vec<Part> {
            let (period, mut end) = (widths.iter().sum(), 0);
            let taken = widths.iter().map(|&run| {
                end += run;
                Taken { first: end - run, run, period }
            });
            taken.map(|taken| Part { taken, ..linear(part, [d, period], bias) }).collect()
        };
        let widths = [q_width, kv_width, kv_width];
        let qk = |kind: QkNorm| {
            ["q_norm", "k_norm"].map(|part| NormAt {
                name: name(&format!("self_attn.{part}")),
                width: match (kind, part) {
                    (QkNorm::Head, _) => sizes.d_head,
                    (QkNorm::Whole, "q_norm") => q_width,
                    (QkNorm::Whole, _) => kv_width,
                },
            })
        };
        BlockLayout {
            attn_norm: norm(norms.attn),
            qkv: match self.qkv {
                Qkv::Apart(parts) => {
                    parts.into_iter().zip(widths).map(|(part, width)| linear(part, [d, width], biases.qkv)).collect()
                }
                Qkv::Fused(part) => fused(part, &widths, biases.qkv),
            },
            qk_norm: norms.qk.map(qk),
            out: linear(self.out, [q_width, d], biases.out),
            attn_post_norm: norm(norms.attn_post),
            mlp_norm: norm(norms.mlp),
            up: match self.mlp {
                Mlp::Gated(parts) => parts.map(|part| linear(part, [d, inner], biases.mlp)).into(),
                Mlp::Fused(part) => fused(part, &[inner, inner], biases.mlp),
                Mlp::Plain(part) => vec![linear(part, [d, inner], biases.mlp)],
            },
            down: linear(self.down, [inner, d], biases.mlp),
            mlp_post_norm: norm(norms.mlp_post),
        }
    }
}

/// Returns whether a tensor is a table of rotary frequencies, which older files contain.
pub(super) fn is_rotary_table(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
}
