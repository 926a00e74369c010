//! The names of tensors: in a GGUF file, and in a Hugging Face model.

use super::arch::Arch;

/// Names outside the blocks: in the file, and in a Hugging Face model.
type Names = [(&'static str, &'static str)];

const LLAMA: &Names = &[("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];
const NEOX: &Names =
    &[("token_embd", "gpt_neox.embed_in"), ("output_norm", "gpt_neox.final_layer_norm"), ("output", "embed_out")];
const GPT2: &Names = &[("token_embd", "wte"), ("position_embd", "wpe"), ("output_norm", "ln_f"), ("output", "lm_head")];

/// Parts of a block that all relatives of Llama have.
const PROJECTIONS: &Names = &[
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const NORMS_BEFORE: &Names = &[("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")];
const STARCODER_MLP: &Names = &[("ffn_up", "mlp.c_fc"), ("ffn_down", "mlp.c_proj")];
const PHI_PARTS: &Names = &[("attn_qkv", "self_attn.qkv_proj"), ("ffn_up", "mlp.gate_up_proj")];
const ONE_NORM: &Names = &[("attn_norm", "input_layernorm")];
const NORMS_AFTER: &Names =
    &[("post_attention_norm", "post_attention_layernorm"), ("post_ffw_norm", "post_feedforward_layernorm")];
const GEMMA_NORMS_BEFORE: &Names = &[("attn_norm", "input_layernorm"), ("ffn_norm", "pre_feedforward_layernorm")];
const HEAD_NORMS: &Names = &[("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm")];
const NEOX_BLOCK: &Names = &[
    ("attn_norm", "input_layernorm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("attn_qkv", "attention.query_key_value"),
    ("attn_output", "attention.dense"),
    ("ffn_up", "mlp.dense_h_to_4h"),
    ("ffn_down", "mlp.dense_4h_to_h"),
];
const GPT2_BLOCK: &Names = &[
    ("attn_norm", "ln_1"),
    ("ffn_norm", "ln_2"),
    ("attn_qkv", "attn.c_attn"),
    ("attn_output", "attn.c_proj"),
    ("ffn_up", "mlp.c_fc"),
    ("ffn_down", "mlp.c_proj"),
];

impl Arch {
    /// Returns the start of the names of blocks, the names outside of them and the names of their parts.
    fn names(self) -> (&'static str, &'static Names, &'static [&'static Names]) {
        match self {
            Self::Gpt2 => ("h", GPT2, &[GPT2_BLOCK]),
            Self::GptNeox => ("gpt_neox.layers", NEOX, &[NEOX_BLOCK]),
            Self::Llama | Self::Qwen2 | Self::Gemma | Self::Granite | Self::Smollm3 | Self::Stablelm => {
                ("model.layers", LLAMA, &[PROJECTIONS, NORMS_BEFORE])
            }
            Self::CommandR | Self::Cohere2 => ("model.layers", LLAMA, &[PROJECTIONS, ONE_NORM]),
            Self::Olmo => ("model.layers", LLAMA, &[PROJECTIONS]),
            // The first list with a name decides.
            Self::Phi3 => ("model.layers", LLAMA, &[PHI_PARTS, PROJECTIONS, NORMS_BEFORE]),
            Self::Starcoder2 => ("model.layers", LLAMA, &[STARCODER_MLP, PROJECTIONS, NORMS_BEFORE]),
            Self::Qwen3 => ("model.layers", LLAMA, &[PROJECTIONS, NORMS_BEFORE, HEAD_NORMS]),
            Self::Gemma2 => ("model.layers", LLAMA, &[PROJECTIONS, GEMMA_NORMS_BEFORE, NORMS_AFTER]),
            Self::Gemma3 => ("model.layers", LLAMA, &[PROJECTIONS, GEMMA_NORMS_BEFORE, NORMS_AFTER, HEAD_NORMS]),
            Self::Olmo2 => ("model.layers", LLAMA, &[PROJECTIONS, NORMS_AFTER, HEAD_NORMS]),
        }
    }

    /// Returns the name in a Hugging Face model of a tensor of the file; `None` if the architecture has no such tensor.
    /// `blocks` is the number of blocks.
    pub(super) fn hugging_face(self, name: &str, blocks: usize) -> Option<String> {
        let (start, whole, parts) = self.names();
        let (path, end) = name.rsplit_once('.').filter(|(_, end)| ["weight", "bias"].contains(end))?;
        let find = |names: &Names, part: &str| names.iter().find(|(ours, _)| *ours == part).map(|(_, theirs)| *theirs);
        let Some(block) = path.strip_prefix("blk.") else {
            return find(whole, path).map(|theirs| format!("{theirs}.{end}"));
        };
        let (number, part) = block.split_once('.')?;
        // One spelling of each number, so that no two names become the same.
        let index = number.parse().ok().filter(|index: &usize| *index < blocks && index.to_string() == number)?;
        let theirs = parts.iter().find_map(|names| find(names, part))?;
        Some(format!("{start}.{index}.{theirs}.{end}"))
    }
}

/// Returns the part of a block that a tensor of the file belongs to, such as `attn_q`.
pub(super) fn part(name: &str) -> Option<&str> {
    name.strip_prefix("blk.")?.split('.').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_hugging_face() {
        let cases = [
            (Arch::Llama, "token_embd.weight", Some("model.embed_tokens.weight")),
            (Arch::Llama, "blk.11.attn_q.weight", Some("model.layers.11.self_attn.q_proj.weight")),
            (Arch::Llama, "blk.0.attn_output.weight", Some("model.layers.0.self_attn.o_proj.weight")),
            (Arch::Llama, "blk.0.ffn_norm.weight", Some("model.layers.0.post_attention_layernorm.weight")),
            (Arch::Gemma2, "blk.0.ffn_norm.weight", Some("model.layers.0.pre_feedforward_layernorm.weight")),
            (Arch::Gemma, "blk.0.ffn_norm.weight", Some("model.layers.0.post_attention_layernorm.weight")),
            (Arch::Starcoder2, "blk.0.ffn_up.bias", Some("model.layers.0.mlp.c_fc.bias")),
            (Arch::Phi3, "blk.0.attn_qkv.weight", Some("model.layers.0.self_attn.qkv_proj.weight")),
            (Arch::Phi3, "blk.0.ffn_up.weight", Some("model.layers.0.mlp.gate_up_proj.weight")),
            (Arch::Cohere2, "blk.0.attn_norm.weight", Some("model.layers.0.input_layernorm.weight")),
            (Arch::CommandR, "blk.0.ffn_norm.weight", None),
            (Arch::Olmo, "blk.0.attn_norm.weight", None),
            (Arch::Starcoder2, "blk.0.attn_norm.bias", Some("model.layers.0.input_layernorm.bias")),
            (Arch::Olmo2, "blk.0.post_ffw_norm.weight", Some("model.layers.0.post_feedforward_layernorm.weight")),
            (Arch::Qwen3, "blk.0.attn_k_norm.weight", Some("model.layers.0.self_attn.k_norm.weight")),
            (Arch::Qwen2, "blk.0.attn_q.bias", Some("model.layers.0.self_attn.q_proj.bias")),
            (Arch::GptNeox, "blk.3.attn_qkv.bias", Some("gpt_neox.layers.3.attention.query_key_value.bias")),
            (Arch::GptNeox, "output.weight", Some("embed_out.weight")),
            (Arch::Gpt2, "blk.0.attn_qkv.weight", Some("h.0.attn.c_attn.weight")),
            (Arch::Gpt2, "position_embd.weight", Some("wpe.weight")),
            (Arch::Llama, "position_embd.weight", None),
            (Arch::Llama, "blk.0.attn_q_norm.weight", None),
            (Arch::Llama, "blk.12.attn_q.weight", None),
            (Arch::Llama, "blk.00.attn_q.weight", None),
            (Arch::Llama, "blk.0.attn_q.scale", None),
            (Arch::Llama, "blk.0.attn_qkv.weight", None),
            (Arch::Llama, "blk.weight", None),
            (Arch::Llama, "weight", None),
        ];
        for (arch, name, expected) in cases {
            assert_eq!(arch.hugging_face(name, 12).as_deref(), expected, "{} {name}", arch.name());
        }
        assert_eq!(part("blk.3.attn_qkv.bias"), Some("attn_qkv"));
        assert_eq!(part("token_embd.weight"), None);
    }

    #[test]
    fn other_architectures_are_refused_by_name() {
        assert_eq!(Arch::of("gptneox"), Ok(Arch::GptNeox));
        let error = Arch::of("mamba").expect_err("is not read");
        assert!(error.contains("`mamba`") && error.contains("gpt2, llama, qwen2"), "{error}");
    }
}
