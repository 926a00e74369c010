"""The families of make_families.py from their formulas, in numpy float64.

A check that shares no code with transformers.
"""

import math

import numpy as np

erf = np.vectorize(math.erf)
ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x / 2 * (1 + erf(x / math.sqrt(2))),
    "gelu_pytorch_tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


def rotary(config, width, windowed):
    """Returns the angles per position [rotary / 2] of a block, and the factor of cos and sin."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    base = config.get("rope_theta", config.get("rotary_emb_base", 10000.0))
    if config["model_type"] == "gemma3_text":
        if "full_attention" in rope:
            rope = rope["sliding_attention" if windowed else "full_attention"]
        elif windowed:
            rope, base = {}, config["rope_local_base_freq"]
    base = rope.get("rope_theta", base)
    n = int(width * rope.get("partial_rotary_factor", config.get("rotary_pct", 1.0)))
    angles = np.array([base ** -(2 * i / n) for i in range(n // 2)])
    kind, factor, scale = rope.get("rope_type", rope.get("type", "default")), rope.get("factor"), 1.0
    if kind == "linear":
        angles = angles / factor
    elif kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        turns = rope["original_max_position_embeddings"] * angles / (2 * math.pi)
        share = np.clip((turns - low) / (high - low), 0, 1)
        angles = share * angles + (1 - share) * angles / factor
    elif kind == "yarn":
        def index(turns):
            return n * math.log(rope["original_max_position_embeddings"] / (turns * 2 * math.pi)) / (2 * math.log(base))
        low = max(math.floor(index(rope.get("beta_fast", 32))), 0)
        high = min(math.ceil(index(rope.get("beta_slow", 1))), n - 1)
        share = 1 - np.clip((np.arange(n // 2) - low) / (high - low), 0, 1)
        angles = share * angles + (1 - share) * angles / factor
        scale = 0.1 * math.log(factor) + 1
    else:
        assert kind == "default", kind
    return angles, scale


def rotate(x, angles, scale):
    """Rotates the pairs (x[i], x[i + n]) of the first 2n columns. `x [T, heads, width]`."""
    n = len(angles)
    turn = np.arange(x.shape[0])[:, None, None] * angles
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    a, b = x[..., :n], x[..., n:2 * n]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[..., 2 * n:]], axis=-1)


def window(config, block):
    """Returns how many keys a query of this block sees, itself included; None: all."""
    size, kind = config.get("sliding_window"), config["model_type"]
    types = config.get("layer_types")
    if types is not None:
        return size if types[block] == "sliding_attention" else None
    if kind == "qwen2":
        return size if config.get("use_sliding_window") and block >= config["max_window_layers"] else None
    if kind == "gemma2":
        return size if block % 2 == 0 else None
    if kind == "gemma3_text":
        return size if (block + 1) % config["sliding_window_pattern"] else None
    return size


def run(config, weights, tokens):
    """Returns the field [L+1, T, d] and the logits [T, V]."""
    kind = config["model_type"]
    neox, gemma = kind == "gpt_neox", kind.startswith("gemma")
    stem = "gpt_neox" if neox else "model"
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    width = config.get("head_dim") or config["hidden_size"] // heads
    act = ACTIVATIONS[config.get("hidden_activation") or config["hidden_act"]]

    def linear(name, x):
        y = x @ weights[f"{name}.weight"].T
        return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y

    def norm(name, x):
        gain = weights[f"{name}.weight"]
        if neox:
            x = x - x.mean(-1, keepdims=True)
        eps = config.get("rms_norm_eps", config.get("layer_norm_eps"))
        y = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * (1 + gain if gemma else gain)
        return y + weights[f"{name}.bias"] if neox else y

    def cap(x, limit):
        return x if limit is None else limit * np.tanh(x / limit)

    def attention(block, name, x):
        if neox:
            qkv = linear(f"{name}.query_key_value", x).reshape(len(x), heads, 3, width)
            q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        else:
            q, k, v = (linear(f"{name}.{part}_proj", x) for part in "qkv")
            if kind == "olmo2":
                q, k = norm(f"{name}.q_norm", q), norm(f"{name}.k_norm", k)
            q = q.reshape(len(x), heads, width)
            k, v = (y.reshape(len(x), kv_heads, width) for y in (k, v))
            if kind in ("qwen3", "gemma3_text"):
                q, k = norm(f"{name}.q_norm", q), norm(f"{name}.k_norm", k)
        size = window(config, block)
        angles, scale = rotary(config, width, windowed=size is not None)
        q, k = rotate(q, angles, scale), rotate(k, angles, scale)
        z = np.zeros((len(x), heads, width))
        for head in range(heads):
            group = head * kv_heads // heads
            for t in range(len(x)):
                keys = slice(0 if size is None else max(0, t - size + 1), t + 1)
                scores = k[keys, group] @ q[t, head] / math.sqrt(config.get("query_pre_attn_scalar", width))
                scores = cap(scores, config.get("attn_logit_softcapping") if kind == "gemma2" else None)
                p = np.exp(scores - scores.max())
                z[t, head] = p @ v[keys, group] / p.sum()
        return linear(f"{name}.dense" if neox else f"{name}.o_proj", z.reshape(len(x), -1))

    def mlp(name, x):
        if neox:
            return linear(f"{name}.dense_4h_to_h", act(linear(f"{name}.dense_h_to_4h", x)))
        return linear(f"{name}.down_proj", act(linear(f"{name}.gate_proj", x)) * linear(f"{name}.up_proj", x))

    embedding = weights[f"{stem}.embed_in.weight" if neox else f"{stem}.embed_tokens.weight"]
    h = embedding[tokens] * (math.sqrt(config["hidden_size"]) if gemma else 1.0)
    field = [h]
    for block in range(config["num_hidden_layers"]):
        at = f"{stem}.layers.{block}"
        first, second = f"{at}.input_layernorm", f"{at}.post_attention_layernorm"
        if gemma:
            h = h + norm(second, attention(block, f"{at}.self_attn", norm(first, h)))
            y = mlp(f"{at}.mlp", norm(f"{at}.pre_feedforward_layernorm", h))
            h = h + norm(f"{at}.post_feedforward_layernorm", y)
        elif kind == "olmo2":
            h = h + norm(second, attention(block, f"{at}.self_attn", h))
            h = h + norm(f"{at}.post_feedforward_layernorm", mlp(f"{at}.mlp", h))
        elif neox:
            mid = h + attention(block, f"{at}.attention", norm(first, h))
            h = mid + mlp(f"{at}.mlp", norm(second, h if config["use_parallel_residual"] else mid))
        else:
            h = h + attention(block, f"{at}.self_attn", norm(first, h))
            h = h + mlp(f"{at}.mlp", norm(second, h))
        field.append(h)
    x = norm(f"{stem}.final_layer_norm" if neox else f"{stem}.norm", h)
    tied = config.get("tie_word_embeddings", gemma)
    head = embedding if tied else weights["embed_out.weight" if neox else "lm_head.weight"]
    logits = cap(x @ head.T, config.get("final_logit_softcapping"))
    return np.array(field), logits
