"""Golden files for resolvent: three small random GPT-2 models, and the results of Hugging Face transformers on them.

    pip install -r requirements.txt
    python make_goldens.py            # writes tiny-*/{config.json,model.safetensors,golden.safetensors} beside itself

Each model directory is written first (float32 weights) and then loaded back through `from_pretrained` in float64
with eager attention, so that a golden depends on the files only, and not on the objects that wrote them.
"""

import json
import struct
from pathlib import Path

import numpy
import safetensors
import torch
import transformers
from torch.func import jvp

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


def write_safetensors(path, tensors, metadata):
    """Writes named CPU tensors, byte for byte reproducibly: the library's own writer reorders the metadata."""
    names = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}
    header, end = {"__metadata__": metadata}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.detach().contiguous().numpy().tobytes())


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


def forward(model, tokens, place=None, delta=None):
    """Returns the field h[0..=L] as a list of [1, T, d], the last before ln_f, and the logits [T, V].

    `delta` [d] is added to h at `place`.
    """
    transformer, field = model.transformer, []

    def at(layer):
        def hook(_, args):
            h = args[0]
            if place is not None and place[0] == layer:
                here = torch.zeros(h.shape[1], 1, dtype=h.dtype)
                here[place[1]] = 1.0
                h = h + here * delta
            field.append(h)
            return (h, *args[1:])
        return hook

    modules = [*transformer.h, transformer.ln_f]
    handles = [module.register_forward_pre_hook(at(layer)) for layer, module in enumerate(modules)]
    try:
        logits = model(tokens[None], use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return field, logits


def golden(model, spec):
    """Returns all golden arrays of one model, and metadata with the places of source and observable."""
    draw = torch.Generator().manual_seed(spec["seed"] + 1)
    config = model.config
    tokens = torch.randint(config.vocab_size, (spec["tokens"],), generator=draw)
    source = torch.randn(config.n_embd, generator=draw, dtype=torch.float64)
    target, against = torch.randperm(config.vocab_size, generator=draw)[:2].tolist()
    place = spec["source"]

    def observable(logits):
        return logits[-1, target] - logits[-1, against]

    field, logits = forward(model, tokens)
    value = observable(logits)
    gradient = torch.autograd.grad(value, field)

    # The last hidden state of transformers is after ln_f, the last level of the hooks before it; all others must agree.
    hidden = model(tokens[None], use_cache=False, output_hidden_states=True).hidden_states
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(field[:-1], hidden[:-1], strict=True))
    assert torch.equal(model.transformer.ln_f(field[-1]), hidden[-1])

    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)

    def along(amplitude):
        field, logits = forward(model, tokens, place, amplitude * source)
        return torch.cat(field), logits

    def slope(amplitude):
        """Returns dJ/da and d2J/da2, by reverse mode twice: forward over forward is wrong for torch's layer norm."""
        amplitude = amplitude.clone().requires_grad_()
        (first,) = torch.autograd.grad(observable(along(amplitude)[1]), amplitude, create_graph=True)
        (second,) = torch.autograd.grad(first, amplitude)
        return first.detach(), second

    _, (jvp_field, jvp_logits) = jvp(along, (zero,), (one,))
    first, second = slope(zero)

    # Independent checks: the gradient field, forward mode, and differences of the value and of the slope.
    step = torch.tensor(1e-4, dtype=torch.float64)
    with torch.no_grad():
        up, down = (observable(along(a)[1]) for a in (step, -step))
    slope_up, slope_down = (slope(a)[0] for a in (step, -step))
    close = torch.testing.assert_close
    close(first, gradient[place[0]][0, place[1]] @ source, rtol=1e-12, atol=1e-13)
    close(first, observable(jvp_logits), rtol=1e-12, atol=1e-13)
    close(first, (up - down) / (2 * step), rtol=1e-5, atol=0)
    close(second, (slope_up - slope_down) / (2 * step), rtol=1e-5, atol=0)

    arrays = {
        "tokens": tokens, "field": torch.cat(field), "logits": logits, "value": value.view(1),
        "gradient_field": torch.cat(gradient), "source": source, "jvp_field": jvp_field, "jvp_logits": jvp_logits,
        "first": first.view(1), "second": second.view(1),
    }
    metadata = {
        "target": target, "against": against, "position": spec["tokens"] - 1,
        "source_layer": place[0], "source_token": place[1], "seed": spec["seed"], "command": COMMAND,
        "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
        "numpy": numpy.__version__, "safetensors": safetensors.__version__, "attn_implementation": "eager",
    }
    return arrays, {key: str(value) for key, value in metadata.items()}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, spec in MODELS.items():
        folder = HERE / name
        write_model(folder, spec)
        arrays, metadata = golden(load(folder), spec)
        write_safetensors(folder / "golden.safetensors", arrays, metadata)
        value, first, second = (arrays[key].item() for key in ("value", "first", "second"))
        print(f"{name}: J {value:+.6f}  dJ {first:+.6f}  d2J {second:+.6f}")


if __name__ == "__main__":
    main()
