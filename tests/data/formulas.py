"""The families of make_families.py from their formulas, in numpy float64.

A check that shares no code with transformers.
"""

import math

import numpy as np

erf = np.vectorize(math.erf)
EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon")
ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x / 2 * (1 + erf(x / math.sqrt(2))),
    "gelu_pytorch_tanh": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}

ACTIVATIONS["gelu_new"] = ACTIVATIONS["gelu_pytorch_tanh"]


def rotary(config, width, windowed):
    """Returns the angles per position [rotary / 2] of a block, and the factor of cos and sin."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    base = config.get("rope_theta", config.get("rotary_emb_base", 10000.0))
    if config["model_type"] in ("gemma3_text", "olmo3"):
        if "full_attention" in rope:
            rope = rope["sliding_attention" if windowed else "full_attention"]
        elif windowed:
            rope, base = {}, config.get("rope_local_base_freq", base)
    base = rope.get("rope_theta", base)
    share = config.get("partial_rotary_factor", config.get("rotary_pct", 1.0))
    n = int(width * rope.get("partial_rotary_factor", share))
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
        scale = rope.get("attention_factor", 0.1 * math.log(factor) + 1)
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
    if kind == "olmo3":
        return size if (block + 1) % 4 else None
    if kind == "gpt_neo":
        kinds = [name for names, times in config["attention_types"] for name in names * times]
        return config["window_size"] if kinds[block] == "local" else None
    return size


def run(config, weights, tokens):
    """Returns the field [L+1, T, d] and the logits [T, V]."""
    kind = config["model_type"]
    neox, gemma, neo = kind == "gpt_neox", kind.startswith("gemma"), kind == "gpt_neo"
    centred = neox or kind in ("gpt_neo", "olmo", "stablelm", "starcoder2", "cohere", "cohere2")
    stem = {"gpt_neox": "gpt_neox", "gpt_neo": "transformer"}.get(kind, "model")
    heads = config["num_heads" if neo else "num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    width = config.get("head_dim") or config["hidden_size"] // heads
    act = config.get("hidden_activation") or config.get("hidden_act") or config["activation_function"]
    act = ACTIVATIONS["gelu_new" if kind == "gemma" else act]
    plain = {"gpt_neox": ("dense_h_to_4h", "dense_4h_to_h"), "gpt_neo": ("c_fc", "c_proj"),
             "starcoder2": ("c_fc", "c_proj")}
    scale = {"granite": config.get("attention_multiplier"), "gpt_neo": 1.0}.get(
        kind, config.get("query_pre_attn_scalar", width) ** -0.5)
    branch = config.get("residual_multiplier", 1.0)
    eps = next((config[key] for key in EPSILONS if key in config), 1e-5)

    def linear(name, x):
        y = x @ weights[f"{name}.weight"].T
        return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y

    def norm(name, x):
        gain = weights.get(f"{name}.weight", 1.0)
        if centred:
            x = x - x.mean(-1, keepdims=True)
        y = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * (1 + gain if gemma else gain)
        return y + weights.get(f"{name}.bias", 0.0)

    def cap(x, limit):
        return x if limit is None else limit * np.tanh(x / limit)

    def attention(block, name, x):
        if neox:
            qkv = linear(f"{name}.query_key_value", x).reshape(len(x), heads, 3, width)
            q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        else:
            if kind == "phi3":
                q, k, v = np.split(linear(f"{name}.qkv_proj", x), [heads * width, (heads + kv_heads) * width], axis=-1)
            else:
                q, k, v = (linear(f"{name}.{part}_proj", x) for part in "qkv")
            if kind in ("olmo2", "olmo3"):
                q, k = norm(f"{name}.q_norm", q), norm(f"{name}.k_norm", k)
            q = q.reshape(len(x), heads, width)
            k, v = (y.reshape(len(x), kv_heads, width) for y in (k, v))
            if kind in ("qwen3", "gemma3_text"):
                q, k = norm(f"{name}.q_norm", q), norm(f"{name}.k_norm", k)
        size = window(config, block)
        rotates = config.get("no_rope_layers", {block: not neo and (kind != "cohere2" or size is not None)})
        if rotates[block]:
            turn = rotary(config, width, windowed=size is not None)
            if kind.startswith("cohere"):
                # Neighbouring columns turn together: the even ones come first, and then the odd ones.
                q, k = (np.concatenate([x[..., ::2], x[..., 1::2]], axis=-1) for x in (q, k))
            q, k = rotate(q, *turn), rotate(k, *turn)
        z = np.zeros((len(x), heads, width))
        for head in range(heads):
            group = head * kv_heads // heads
            for t in range(len(x)):
                keys = slice(0 if size is None else max(0, t - size + 1), t + 1)
                scores = k[keys, group] @ q[t, head] * scale
                scores = cap(scores, config.get("attn_logit_softcapping") if kind == "gemma2" else None)
                p = np.exp(scores - scores.max())
                z[t, head] = p @ v[keys, group] / p.sum()
        out = {"gpt_neox": "dense", "gpt_neo": "out_proj"}.get(kind, "o_proj")
        return linear(f"{name}.{out}", z.reshape(len(x), -1)) * branch

    def mlp(name, x):
        if kind in plain:
            up, down = plain[kind]
            return linear(f"{name}.{down}", act(linear(f"{name}.{up}", x)))
        if kind == "phi3":
            gate, up = np.split(linear(f"{name}.gate_up_proj", x), 2, axis=-1)
        else:
            gate, up = linear(f"{name}.gate_proj", x), linear(f"{name}.up_proj", x)
        return linear(f"{name}.down_proj", act(gate) * up) * branch

    embedding = weights[f"{stem}." + {"gpt_neox": "embed_in", "gpt_neo": "wte"}.get(kind, "embed_tokens") + ".weight"]
    h = embedding[tokens] * (math.sqrt(config["hidden_size"]) if gemma else config.get("embedding_multiplier", 1.0))
    if neo:
        h = h + weights["transformer.wpe.weight"][:len(tokens)]
    field = [h]
    for block in range(config["num_layers" if neo else "num_hidden_layers"]):
        at = f"{stem}.h.{block}" if neo else f"{stem}.layers.{block}"
        first, second = f"{at}.input_layernorm", f"{at}.post_attention_layernorm"
        if gemma and kind != "gemma":
            h = h + norm(second, attention(block, f"{at}.self_attn", norm(first, h)))
            y = mlp(f"{at}.mlp", norm(f"{at}.pre_feedforward_layernorm", h))
            h = h + norm(f"{at}.post_feedforward_layernorm", y)
        elif kind in ("olmo2", "olmo3"):
            h = h + norm(second, attention(block, f"{at}.self_attn", h))
            h = h + norm(f"{at}.post_feedforward_layernorm", mlp(f"{at}.mlp", h))
        elif neox:
            mid = h + attention(block, f"{at}.attention", norm(first, h))
            h = mid + mlp(f"{at}.mlp", norm(second, h if config["use_parallel_residual"] else mid))
        elif neo:
            h = h + attention(block, f"{at}.attn.attention", norm(f"{at}.ln_1", h))
            h = h + mlp(f"{at}.mlp", norm(f"{at}.ln_2", h))
        elif kind.startswith("cohere") or kind == "stablelm" and config["use_parallel_residual"]:
            h = h + attention(block, f"{at}.self_attn", norm(first, h)) + mlp(f"{at}.mlp", norm(first, h))
        else:
            h = h + attention(block, f"{at}.self_attn", norm(first, h))
            h = h + mlp(f"{at}.mlp", norm(second, h))
        field.append(h)
    x = norm(f"{stem}." + {"gpt_neox": "final_layer_norm", "gpt_neo": "ln_f"}.get(kind, "norm"), h)
    tied = config.get("tie_word_embeddings", gemma or kind in ("cohere", "cohere2", "gpt_neo", "smollm3", "starcoder2"))
    head = embedding if tied else weights["embed_out.weight" if neox else "lm_head.weight"]
    scale = config.get("logit_scale", 1 / config.get("logits_scaling", 1.0))
    logits = cap(x @ head.T * scale, config.get("final_logit_softcapping"))
    return np.array(field), logits
