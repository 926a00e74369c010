"""Golden files for resolvent: three small random GPT-2 models, and the results of Hugging Face transformers on them.

    pip install -r requirements.txt
    python make_goldens.py [NAME ..]  # writes tiny-*/{config.json,model.safetensors,golden.safetensors} beside itself

Each model directory is written first (float32 weights) and then loaded back through `from_pretrained` in float64
with eager attention, so that a golden depends on the files only, and not on the objects that wrote them.
"""

import json
import sys
from pathlib import Path

import torch
import transformers

from common import golden, write_safetensors

HERE = Path(__file__).parent
COMMAND = "python tests/data/make_goldens.py"

COMMON = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "bos_token_id": 0, "eos_token_id": 0}

# `prefix`: prefix of each parameter name in the file. `mask`: whether the file has causal masks, as old checkpoints do.
MODELS = {
    "tiny-odd": {
        "seed": 11, "prefix": "transformer.", "mask": False, "tokens": 13, "source": (0, 3),
        "config": {"n_layer": 2, "n_embd": 30, "n_head": 3, "n_inner": None, "vocab_size": 53, "n_positions": 24,
                   "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True},
    },
    "tiny-inner": {
        "seed": 22, "prefix": "transformer.", "mask": False, "tokens": 17, "source": (1, 5),
        "config": {"n_layer": 3, "n_embd": 48, "n_head": 2, "n_inner": 100, "vocab_size": 67, "n_positions": 24,
                   "activation_function": "gelu", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": False,
                   "scale_attn_by_inverse_layer_idx": True},
    },
    "tiny-wide": {
        "seed": 33, "prefix": "", "mask": True, "tokens": 33, "source": (0, 10),
        "config": {"n_layer": 1, "n_embd": 132, "n_head": 2, "n_inner": 260, "vocab_size": 41, "n_positions": 40,
                   "n_ctx": 40, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-6},
    },
}


def write_model(folder, spec):
    """Writes a model with random float32 weights, so large that attention is not uniform and GELU is not linear."""
    config = {**COMMON, **spec["config"]}
    draw = torch.Generator().manual_seed(spec["seed"])
    d, vocab = config["n_embd"], config["vocab_size"]
    inner = config["n_inner"] or 4 * d

    def normal(*shape, mean=0.0, std):
        return mean + std * torch.randn(*shape, generator=draw, dtype=torch.float32)

    def linear(name, d_in, d_out, gain):
        return {f"{name}.weight": normal(d_in, d_out, std=gain / d_in**0.5), f"{name}.bias": normal(d_out, std=0.1)}

    def norm(name):
        return {f"{name}.weight": normal(d, mean=1.0, std=0.2), f"{name}.bias": normal(d, std=0.1)}

    weights = {"wte.weight": normal(vocab, d, std=0.4), "wpe.weight": normal(config["n_positions"], d, std=0.2)}
    for layer in range(config["n_layer"]):
        block = f"h.{layer}"
        weights |= norm(f"{block}.ln_1") | linear(f"{block}.attn.c_attn", d, 3 * d, gain=1.3)
        weights |= linear(f"{block}.attn.c_proj", d, d, gain=0.6) | norm(f"{block}.ln_2")
        weights |= linear(f"{block}.mlp.c_fc", d, inner, gain=1.3) | linear(f"{block}.mlp.c_proj", inner, d, gain=0.8)
        if spec["mask"]:
            n = config["n_positions"]
            weights[f"{block}.attn.bias"] = torch.ones(n, n).tril().view(1, 1, n, n)
    weights |= norm("ln_f")
    weights = {spec["prefix"] + name: tensor for name, tensor in weights.items()}
    if not config.get("tie_word_embeddings", True):
        weights["lm_head.weight"] = normal(vocab, d, std=0.4)

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_safetensors(folder / "model.safetensors", weights, {"format": "pt", "seed": str(spec["seed"])})


def load(folder):
    """Loads the model with transformers: float64, eager attention; no weight may be missing or unused."""
    model, info = transformers.GPT2LMHeadModel.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    assert all(key.endswith("attn.bias") for key in info["unexpected_keys"]), info
    return model.eval()


def main(names):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, spec in MODELS.items():
        if names and name not in names:
            continue
        folder = HERE / name
        write_model(folder, spec)
        model = load(folder)
        cuts = [*model.transformer.h, model.transformer.ln_f]
        arrays, metadata = golden(model, cuts, spec, COMMAND)
        write_safetensors(folder / "golden.safetensors", arrays, metadata)
        value, first, second = (arrays[key].item() for key in ("value", "first", "second"))
        print(f"{name}: J {value:+.6f}  dJ {first:+.6f}  d2J {second:+.6f}")


if __name__ == "__main__":
    main(sys.argv[1:])
