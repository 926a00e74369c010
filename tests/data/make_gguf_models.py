"""The small models of `make_gguf.py`, one of each architecture.

Each has metadata, and weights in llama.cpp's names and order.
"""

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

D, HEADS, KV, INNER, VOCAB, BLOCKS = 32, 4, 2, 64, 11, 2


def weights(name, shape):
    """Returns the weights of a Hugging Face tensor.

    They are multiples of 1/8 from -1 to 7/8, drawn by a hash of name and index.
    """
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = (seed ^ byte) * 0x01000193 & 0xFFFFFFFF
    x = (np.arange(np.prod(shape), dtype=np.uint64) * 0x9E3779B1 + seed) & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x85EBCA6B & 0xFFFFFFFF
    x ^= x >> 13
    return (((x & 15).astype(np.float32) - 8) / 8).reshape(shape)


def stored(array, kind):
    """Stores multiples of 1/8 without loss."""
    rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array[None]
    levels = (rows * 8).astype(np.int64)
    if kind == "F32":
        return array, Type.F32
    if kind == "F16":
        return array.astype(np.float16), Type.F16
    if kind == "BF16":
        data = (array.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        return data, Type.BF16
    levels = levels.reshape(len(rows), -1, 32)
    eighth = np.broadcast_to(np.array([0.125], "<f2").view(np.uint8), (*levels.shape[:2], 2))
    low, high = (levels[..., :16] + 8).astype(np.uint8), (levels[..., 16:] + 8).astype(np.uint8)
    if kind == "Q8_0":
        parts = [eighth, levels.astype(np.int8).view(np.uint8)]
    elif kind == "Q4_0":
        parts = [eighth, low | high << 4]
    else:
        least = np.broadcast_to(np.array([-1.0], "<f2").view(np.uint8), eighth.shape)
        parts = [eighth, least, low | high << 4]
    data = np.ascontiguousarray(np.concatenate(parts, axis=-1)).reshape(len(rows), -1)
    assert (dequantize(data, Type[kind]) == rows).all()
    return data, Type[kind]


def pairs(array, heads):
    """Orders the rows of each head in pairs that rotate together, as LlamaModel.permute."""
    width = len(array) // heads
    order = [head * width + p + s * width // 2 for head in range(heads) for p in range(width // 2) for s in range(2)]
    return array[order]


def apart(array):
    """Orders rows as all queries, all keys, all values."""
    width = len(array) // HEADS // 3
    order = [(head * 3 + which) * width + i for which in range(3) for head in range(HEADS) for i in range(width)]
    return array[order]


def model(arch, block, whole, fields, prefix="model.layers", name=None):
    """Builds a model. `block` and `whole`: GGUF name, Hugging Face name, shape, format, conversion."""
    tensors = {}
    for ours, theirs, shape, kind, *convert in whole:
        tensors[ours] = (theirs, shape, kind, *convert)
    for i in range(BLOCKS):
        for ours, theirs, shape, kind, *convert in block:
            tensors[f"blk.{i}.{ours}"] = (f"{prefix}.{i}.{theirs}", shape, kind, *convert)
    made = {}
    for ours, (theirs, shape, kind, *convert) in tensors.items():
        array = weights(theirs, shape)
        for change in convert:
            array = np.ascontiguousarray(change(array))
        made[ours] = stored(array, kind)
    named = [(kind, f"{arch}.{key}" if not key.startswith("tokenizer.") else key, value) for kind, key, value in fields]
    return named, made


def relative(head=D // HEADS, kinds=("Q4_0", "Q8_0", "F16"), q=(), k=(), norm=()):
    """Returns the projections of a relative of Llama."""
    a, b, c = kinds
    return [
        ("attn_q.weight", "self_attn.q_proj.weight", (HEADS * head, D), a, *q),
        ("attn_k.weight", "self_attn.k_proj.weight", (KV * head, D), b, *k),
        ("attn_v.weight", "self_attn.v_proj.weight", (KV * head, D), c),
        ("attn_output.weight", "self_attn.o_proj.weight", (D, HEADS * head), a),
        ("ffn_gate.weight", "mlp.gate_proj.weight", (INNER, D), b),
        ("ffn_up.weight", "mlp.up_proj.weight", (INNER, D), a),
        ("ffn_down.weight", "mlp.down_proj.weight", (D, INNER), b),
    ]


def vector(ours, theirs, n=D, *convert):
    return (ours, theirs, (n,), "F32", *convert)


def globals_of(*convert, output=None, kind="Q8_0"):
    tensors = [
        ("token_embd.weight", "model.embed_tokens.weight", (VOCAB, D), kind),
        vector("output_norm.weight", "model.norm.weight", D, *convert),
    ]
    return tensors + ([("output.weight", "lm_head.weight", (VOCAB, D), output)] if output else [])


def sizes(inner=INNER, epsilon="attention.layer_norm_rms_epsilon", kv=KV):
    fields = [
        ("uint32", "block_count", BLOCKS), ("uint32", "context_length", 64), ("uint32", "embedding_length", D),
        ("uint32", "feed_forward_length", inner), ("uint32", "attention.head_count", HEADS), ("float32", epsilon, 1e-5),
    ]
    return fields + ([("uint32", "attention.head_count_kv", kv)] if kv else [])


def plus_one(array):
    return array + 1


def llama3_divisors(width, base, factor):
    wave = 2 * np.pi * base ** (np.arange(0, width, 2) / width)
    smooth = np.clip((8192 / wave - 1) / 3, 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


NORMS_BEFORE = [
    vector("attn_norm.weight", "input_layernorm.weight"), vector("ffn_norm.weight", "post_attention_layernorm.weight"),
]
NORMS_AFTER = [
    vector("post_attention_norm.weight", "post_attention_layernorm.weight"),
    vector("post_ffw_norm.weight", "post_feedforward_layernorm.weight"),
]
FIRST_GEMMA_NORMS = [
    vector("attn_norm.weight", "input_layernorm.weight", D, plus_one),
    vector("ffn_norm.weight", "post_attention_layernorm.weight", D, plus_one),
]
GEMMA_NORMS = [
    vector("attn_norm.weight", "input_layernorm.weight", D, plus_one),
    vector("ffn_norm.weight", "pre_feedforward_layernorm.weight", D, plus_one),
    vector("post_attention_norm.weight", "post_attention_layernorm.weight", D, plus_one),
    vector("post_ffw_norm.weight", "post_feedforward_layernorm.weight", D, plus_one),
]


def head_norms(q, k, *convert):
    return [
        vector("attn_q_norm.weight", "self_attn.q_norm.weight", q, *convert),
        vector("attn_k_norm.weight", "self_attn.k_norm.weight", k, *convert),
    ]


def llama():
    permuted = relative(kinds=("Q4_0", "Q4_1", "BF16"), q=[lambda a: pairs(a, HEADS)], k=[lambda a: pairs(a, KV)])
    fields = sizes() + [
        ("uint32", "vocab_size", VOCAB),
        ("float32", "rope.freq_base", 500000.0),
        ("uint32", "rope.dimension_count", D // HEADS),
        ("string", "tokenizer.ggml.model", "none"),
        ("uint32", "tokenizer.ggml.bos_token_id", 1),
        ("uint32", "tokenizer.ggml.eos_token_id", 99),
    ]
    fields, tensors = model("llama", permuted + NORMS_BEFORE, globals_of(output="F16"), fields)
    tensors["rope_freqs.weight"] = (llama3_divisors(D // HEADS, 5e5, 32.0), None)
    return fields, tensors


def qwen2():
    biases = [
        vector("attn_q.bias", "self_attn.q_proj.bias"), vector("attn_k.bias", "self_attn.k_proj.bias", KV * D // HEADS),
        vector("attn_v.bias", "self_attn.v_proj.bias", KV * D // HEADS),
    ]
    fields = sizes() + [
        ("float32", "rope.freq_base", 1e6),
        ("string", "rope.scaling.type", "yarn"),
        ("float32", "rope.scaling.factor", 4.0),
    ]
    fields += [("uint32", "rope.scaling.original_context_length", 16)]
    return model("qwen2", relative() + NORMS_BEFORE + biases, globals_of(), fields)


def qwen3():
    fields = sizes() + [
        ("float32", "rope.freq_base", 1e6),
        ("uint32", "attention.key_length", 16),
        ("uint32", "attention.value_length", 16),
    ]
    return model("qwen3", relative(head=16) + NORMS_BEFORE + head_norms(16, 16), globals_of(output="Q4_0"), fields)


def gemma(arch, blocks, *fields):
    heads = [("uint32", "attention.key_length", 16), ("uint32", "attention.value_length", 16)]
    return model(arch, relative(head=16) + blocks, globals_of(plus_one, kind="Q4_1"), sizes() + heads + list(fields))


def olmo2():
    norms = head_norms(D, KV * D // HEADS)
    return model(
        "olmo2",
        relative() + NORMS_AFTER + norms,
        globals_of(output="Q8_0"),
        sizes() + [("float32", "rope.freq_base", 500000.0)],
    )


def both(ours, theirs, shape, kind, *convert):
    """A matrix with its bias; only the matrix is transposed."""
    rows = shape[1] if transpose in convert else shape[0]
    bias = [change for change in convert if change is not transpose]
    return [
        (f"{ours}.weight", f"{theirs}.weight", shape, kind, *convert),
        vector(f"{ours}.bias", f"{theirs}.bias", rows, *bias),
    ]


def transpose(array):
    return array.T


def norm(ours, theirs):
    return [vector(f"{ours}.{end}", f"{theirs}.{end}") for end in ("weight", "bias")]


def gptneox():
    block = [
        *norm("attn_norm", "input_layernorm"),
        *norm("ffn_norm", "post_attention_layernorm"),
        *both("attn_qkv", "attention.query_key_value", (3 * D, D), "Q8_0", apart),
        *both("attn_output", "attention.dense", (D, D), "Q4_0"),
        *both("ffn_up", "mlp.dense_h_to_4h", (INNER, D), "F16"),
        *both("ffn_down", "mlp.dense_4h_to_h", (D, INNER), "Q4_1"),
    ]
    whole = [
        ("token_embd.weight", "gpt_neox.embed_in.weight", (VOCAB, D), "F16"),
        *norm("output_norm", "gpt_neox.final_layer_norm"),
        ("output.weight", "embed_out.weight", (VOCAB, D), "Q8_0"),
    ]
    fields = sizes(epsilon="attention.layer_norm_epsilon", kv=None)
    fields += [("bool", "use_parallel_residual", True), ("uint32", "rope.dimension_count", 2)]
    return model("gptneox", block, whole, fields, "gpt_neox.layers")


def starcoder2():
    block = [
        *norm("attn_norm", "input_layernorm"),
        *norm("ffn_norm", "post_attention_layernorm"),
        *both("attn_q", "self_attn.q_proj", (D, D), "Q8_0"),
        *both("attn_k", "self_attn.k_proj", (KV * D // HEADS, D), "Q4_0"),
        *both("attn_v", "self_attn.v_proj", (KV * D // HEADS, D), "F16"),
        *both("attn_output", "self_attn.o_proj", (D, D), "Q4_1"),
        *both("ffn_up", "mlp.c_fc", (INNER, D), "F16"),
        *both("ffn_down", "mlp.c_proj", (D, INNER), "Q4_0"),
    ]
    whole = [
        ("token_embd.weight", "model.embed_tokens.weight", (VOCAB, D), "F16"), *norm("output_norm", "model.norm"),
    ]
    fields = sizes(epsilon="attention.layer_norm_epsilon") + [("float32", "rope.freq_base", 1e5)]
    return model("starcoder2", block, whole, fields)


LAYER_EPSILON = "attention.layer_norm_epsilon"


def phi3():
    width = (HEADS + 2 * KV) * D // HEADS
    block = [
        *NORMS_BEFORE,
        ("attn_qkv.weight", "self_attn.qkv_proj.weight", (width, D), "Q8_0"),
        ("attn_output.weight", "self_attn.o_proj.weight", (D, D), "Q4_0"),
        ("ffn_up.weight", "mlp.gate_up_proj.weight", (2 * INNER, D), "F16"),
        ("ffn_down.weight", "mlp.down_proj.weight", (D, INNER), "Q4_1"),
    ]
    fields = sizes() + [
        ("uint32", "rope.scaling.original_context_length", 64),
        ("uint32", "rope.dimension_count", 6),
        ("float32", "rope.freq_base", 1e4),
        ("uint32", "attention.sliding_window", 9),
    ]
    return model("phi3", block, globals_of(output="Q8_0"), fields)


def in_pairs():
    return relative(q=[lambda a: pairs(a, HEADS)], k=[lambda a: pairs(a, KV)])


def granite():
    biases = [
        vector("attn_q.bias", "self_attn.q_proj.bias", D, lambda a: pairs(a, HEADS)),
        vector("attn_k.bias", "self_attn.k_proj.bias", KV * D // HEADS, lambda a: pairs(a, KV)),
        vector("attn_v.bias", "self_attn.v_proj.bias", KV * D // HEADS),
        vector("attn_output.bias", "self_attn.o_proj.bias"),
    ]
    fields = sizes() + [
        ("uint32", "vocab_size", VOCAB), ("uint32", "rope.dimension_count", D // HEADS),
        ("float32", "attention.scale", 0.25), ("float32", "embedding_scale", 12.0), ("float32", "residual_scale", 0.5),
        ("float32", "logit_scale", 8.0),
    ]
    return model("granite", in_pairs() + NORMS_BEFORE + biases, globals_of(), fields)


def smollm3():
    fields = sizes() + [("float32", "rope.freq_base", 5e6), ("uint32", "rope.dimension_count", D // HEADS)]
    return model("smollm3", in_pairs() + NORMS_BEFORE, globals_of(), fields)


def stablelm():
    block = relative() + norm("attn_norm", "input_layernorm") + norm("ffn_norm", "post_attention_layernorm")
    whole = globals_of(output="F16") + [vector("output_norm.bias", "model.norm.bias")]
    # The converter writes this where the configuration does not say otherwise.
    fields = sizes(epsilon=LAYER_EPSILON) + [
        ("bool", "use_parallel_residual", True), ("uint32", "rope.dimension_count", 2),
    ]
    return model("stablelm", block, whole, fields)


def cohere(arch, *fields):
    norm = [vector("attn_norm.weight", "input_layernorm.weight")]
    scaled = [("float32", "logit_scale", 0.0625), ("string", "rope.scaling.type", "none")]
    return model(arch, relative() + norm, globals_of(), sizes(epsilon=LAYER_EPSILON) + scaled + list(fields))


def olmo():
    whole = [tensor for tensor in globals_of(output="F16") if tensor[0] != "output_norm.weight"]
    return model("olmo", in_pairs(), whole, sizes(epsilon=LAYER_EPSILON))


def gpt2():
    inner = 96  # The metadata say 4 D, as the converter writes for every model.
    block = [
        *norm("attn_norm", "ln_1"),
        *norm("ffn_norm", "ln_2"),
        *both("attn_qkv", "attn.c_attn", (D, 3 * D), "Q8_0", transpose),
        *both("attn_output", "attn.c_proj", (D, D), "Q4_0", transpose),
        *both("ffn_up", "mlp.c_fc", (D, inner), "F16", transpose),
        *both("ffn_down", "mlp.c_proj", (inner, D), "Q4_1", transpose),
    ]
    whole = [
        ("token_embd.weight", "wte.weight", (VOCAB, D), "F16"), ("position_embd.weight", "wpe.weight", (64, D), "F32"),
        *norm("output_norm", "ln_f"), ("output.weight", "wte.weight", (VOCAB, D), "F16"),
    ]
    return model("gpt2", block, whole, sizes(4 * D, "attention.layer_norm_epsilon", None), "h")


MODELS = {
    "llama": llama(),
    "qwen2": qwen2(),
    "qwen3": qwen3(),
    "olmo2": olmo2(),
    "gptneox": gptneox(),
    "gpt2": gpt2(),
    "starcoder2": starcoder2(),
    "phi3": phi3(),
    "granite": granite(),
    "smollm3": smollm3(),
    "stablelm": stablelm(),
    "command-r": cohere("command-r", ("float32", "rope.freq_base", 8e6)),
    "cohere2": cohere(
        "cohere2",
        ("float32", "rope.freq_base", 5e4),
        ("uint32", "attention.sliding_window", 7),
        ("uint32", "vocab_size", VOCAB),
        ("uint32", "rope.dimension_count", D // HEADS),
    ),
    "olmo": olmo(),
    "gemma": gemma("gemma", FIRST_GEMMA_NORMS),
    "gemma2": gemma(
        "gemma2",
        GEMMA_NORMS,
        ("float32", "attn_logit_softcapping", 50.0),
        ("float32", "final_logit_softcapping", 30.0),
        ("uint32", "attention.sliding_window", 12),
    ),
    "gemma3": gemma(
        "gemma3",
        GEMMA_NORMS + head_norms(16, 16, plus_one),
        ("uint32", "attention.sliding_window", 8),
        ("float32", "rope.freq_base", 1e6),
        ("string", "rope.scaling.type", "linear"),
        ("float32", "rope.scaling.factor", 8.0),
    ),
}
