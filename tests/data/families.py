"""The models of make_families.py, by folder name.

`form`: who wrote `config.json`. "published": the keys of published checkpoints, written as given here. "saved":
`save_pretrained` of transformers 5, which nests the rotary keys in `rope_parameters`. `acts`: changes of the
configuration that must change the logits, so that a golden cannot pass without the feature. `buffers`: whether the file
also has the buffers of old checkpoints.
"""

DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def spec(form, seed, tokens, source, acts, architecture, buffers=False, **config):
    config = {"architectures": [architecture], "bos_token_id": 1, "eos_token_id": 2, **config}
    if form == "published":
        config["torch_dtype"] = "float32"
    return {"form": form, "seed": seed, "tokens": tokens, "source": source, "acts": acts, "buffers": buffers,
            "config": config}


FAMILIES = {
    "llama": spec(
        "published", 101, 13, (0, 3),
        [{"rope_parameters": DEFAULT_ROPE}],
        "LlamaForCausalLM", model_type="llama", vocab_size=53, hidden_size=40, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, intermediate_size=54, hidden_act="silu", rms_norm_eps=1e-5,
        max_position_embeddings=512, rope_theta=10000.0, tie_word_embeddings=True, attention_bias=False,
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 64},
    ),
    "llama-plain": spec(
        "saved", 102, 11, (1, 2),
        [],
        "LlamaForCausalLM", model_type="llama", vocab_size=51, hidden_size=24, num_hidden_layers=3,
        num_attention_heads=3, num_key_value_heads=3, head_dim=10, intermediate_size=44, hidden_act="silu",
        rms_norm_eps=1e-6, max_position_embeddings=64, rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
    ),
    "llama-linear": spec(
        "published", 103, 12, (0, 4),
        [{"rope_parameters": DEFAULT_ROPE}],
        "LlamaForCausalLM", model_type="llama", vocab_size=47, hidden_size=30, num_hidden_layers=2,
        num_attention_heads=5, num_key_value_heads=1, intermediate_size=50, hidden_act="silu", rms_norm_eps=1e-5,
        max_position_embeddings=64, rope_theta=10000.0, rope_scaling={"type": "linear", "factor": 4.0},
        tie_word_embeddings=False,
    ),
    "llama-yarn": spec(
        "saved", 104, 14, (1, 6),
        [{"rope_parameters": DEFAULT_ROPE}],
        "LlamaForCausalLM", model_type="llama", vocab_size=50, hidden_size=36, num_hidden_layers=2,
        num_attention_heads=3, num_key_value_heads=1, intermediate_size=46, hidden_act="silu", rms_norm_eps=1e-6,
        max_position_embeddings=256, tie_word_embeddings=True,
        rope_parameters={"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "beta_fast": 16.0,
                         "beta_slow": 0.5, "original_max_position_embeddings": 64},
    ),
    "mistral": spec(
        "published", 105, 15, (0, 9),
        [{"sliding_window": None}, {"sliding_window": 6}],
        "MistralForCausalLM", model_type="mistral", vocab_size=52, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=10, intermediate_size=50, hidden_act="silu",
        rms_norm_eps=1e-5, max_position_embeddings=64, rope_theta=10000.0, sliding_window=5,
        tie_word_embeddings=False,
    ),
    "qwen2": spec(
        "published", 106, 12, (1, 7),
        [{"layer_types": ["full_attention"] * 3}, {"layer_types": ["sliding_attention"] * 3}],
        "Qwen2ForCausalLM", model_type="qwen2", vocab_size=54, hidden_size=28, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=1, intermediate_size=42, hidden_act="silu", rms_norm_eps=1e-6,
        max_position_embeddings=64, rope_theta=1000000.0, use_sliding_window=True, sliding_window=4,
        max_window_layers=1, tie_word_embeddings=True,
    ),
    "qwen3": spec(
        "saved", 107, 13, (0, 5),
        [],
        "Qwen3ForCausalLM", model_type="qwen3", vocab_size=49, hidden_size=30, num_hidden_layers=2,
        num_attention_heads=3, num_key_value_heads=1, head_dim=14, intermediate_size=46, hidden_act="silu",
        rms_norm_eps=1e-6, max_position_embeddings=64, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    ),
    "gpt_neox": spec(
        "published", 108, 14, (0, 3),
        [{"use_parallel_residual": False},
         {"rope_parameters": {**DEFAULT_ROPE, "partial_rotary_factor": 4 / 9}}],
        "GPTNeoXForCausalLM", buffers=True, model_type="gpt_neox", vocab_size=61, hidden_size=36, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=70, hidden_act="gelu", layer_norm_eps=1e-5,
        max_position_embeddings=64, rotary_pct=0.25, rotary_emb_base=10000, use_parallel_residual=True,
        tie_word_embeddings=False,
    ),
    "gpt_neox-seq": spec(
        "saved", 109, 11, (1, 4),
        [{"use_parallel_residual": True}],
        "GPTNeoXForCausalLM", model_type="gpt_neox", vocab_size=45, hidden_size=40, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=58, hidden_act="gelu", layer_norm_eps=1e-6,
        max_position_embeddings=64, use_parallel_residual=False, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.6},
    ),
    "gemma2": spec(
        "published", 110, 12, (0, 4),
        [{"final_logit_softcapping": None}, {"attn_logit_softcapping": None}, {"query_pre_attn_scalar": 10},
         {"layer_types": ["full_attention"] * 3}, {"layer_types": ["sliding_attention"] * 3}],
        "Gemma2ForCausalLM", model_type="gemma2", vocab_size=50, hidden_size=34, num_hidden_layers=3,
        num_attention_heads=2, num_key_value_heads=1, head_dim=10, intermediate_size=45,
        hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6,
        max_position_embeddings=64, rope_theta=10000.0, sliding_window=4, query_pre_attn_scalar=6,
        attn_logit_softcapping=2.0, final_logit_softcapping=3.0, pad_token_id=0,
    ),
    "gemma3": spec(
        "saved", 111, 13, (0, 5),
        [{"layer_types": ["full_attention"] * 3}, {"layer_types": ["sliding_attention"] * 3},
         {"query_pre_attn_scalar": 8}],
        "Gemma3ForCausalLM", model_type="gemma3_text", vocab_size=52, hidden_size=30, num_hidden_layers=3,
        num_attention_heads=3, num_key_value_heads=1, head_dim=8, intermediate_size=42,
        hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, max_position_embeddings=64, sliding_window=4,
        query_pre_attn_scalar=5, pad_token_id=0, tie_word_embeddings=True,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={"sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
                         "full_attention": {"rope_type": "default", "rope_theta": 1000000.0}},
    ),
    "gemma3-wide": spec(
        "published", 112, 10, (0, 6),
        [{"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                              "full_attention": {"rope_type": "default", "rope_theta": 1000000.0}}},
         {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 1000000.0},
                              "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}}}],
        "Gemma3ForCausalLM", model_type="gemma3_text", vocab_size=48, hidden_size=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=136, intermediate_size=40,
        hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6, max_position_embeddings=64, sliding_window=3,
        sliding_window_pattern=2, rope_theta=1000000.0, rope_local_base_freq=10000.0,
        rope_scaling={"rope_type": "linear", "factor": 8.0}, query_pre_attn_scalar=100, pad_token_id=0,
    ),
    "olmo2": spec(
        "saved", 113, 10, (1, 3),
        [],
        "Olmo2ForCausalLM", model_type="olmo2", vocab_size=46, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, intermediate_size=50, hidden_act="silu", rms_norm_eps=1e-6,
        max_position_embeddings=64, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
    ),
}
