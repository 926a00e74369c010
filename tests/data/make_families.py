"""Golden files of the model families: small random models, and the results of Hugging Face transformers on them.

    pip install -r requirements.txt
    python make_families.py [NAME ..]   # writes families/*/{config.json,model.safetensors,golden.safetensors}

Each model directory is written first (float32 weights) and then loaded back through `from_pretrained` in float64 with
eager attention. The models of transformers compute norms, rotary tables and softmax in float32 even then; `InDouble`
turns each such request into float64, and `NoSingle` checks that no float32 remains.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

# The same code paths of torch and MKL on every x86 processor, so that the bytes do not depend on it.
os.environ["ATEN_CPU_CAPABILITY"] = "default"
os.environ["MKL_CBWR"] = "COMPATIBLE"

import numpy
import torch
import transformers
from safetensors import safe_open
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import formulas
from common import forward, golden, write_safetensors
from families import FAMILIES

HERE = Path(__file__).parent / "families"
COMMAND = "python tests/data/make_families.py"


class InDouble(TorchFunctionMode):
    """Turns every request for float32 in Python code into one for float64."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        args, kwargs = tree_map(lambda x: torch.float64 if x is torch.float32 else x, (args, kwargs or {}))
        return function(*args, **kwargs)


class NoSingle(TorchDispatchMode):
    """Fails on every operation that reads or returns a tensor in a smaller float than float64."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves((args, kwargs, result)):
            small = isinstance(x, torch.Tensor) and x.is_floating_point() and x.dtype != torch.float64
            assert not small, f"{function} on {x.dtype}"
        return result


def draw_weights(model, seed):
    """Fills the model with random float32 weights, so large that attention is not uniform and the MLP not linear."""
    draw = torch.Generator().manual_seed(seed)
    centre = 0.0 if model.config.model_type.startswith("gemma") else 1.0  # Gemma's norms multiply by 1 + w.
    with torch.no_grad():
        for name, weight in model.named_parameters():
            random = torch.randn(weight.shape, generator=draw, dtype=torch.float32)
            if name.endswith("bias"):
                weight.copy_(0.1 * random)
            elif weight.dim() == 1:
                weight.copy_(centre + 0.2 * random)
            elif "embed" in name or name == "lm_head.weight":
                weight.copy_(0.4 * random)
            else:
                gain = 0.7 if any(part in name for part in ("o_proj", "dense.", "down_proj", "4h_to_h")) else 1.3
                weight.copy_(gain / weight.shape[1] ** 0.5 * random)


def write_model(folder, spec):
    """Writes `config.json` and the weights under the names that `save_pretrained` gives them."""
    config = transformers.AutoConfig.for_model(**spec["config"])
    with torch.random.fork_rng():
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    draw_weights(model, spec["seed"])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        text = (Path(saved) / "config.json").read_text()
        with safe_open(Path(saved) / "model.safetensors", "pt") as file:
            weights = {name: file.get_tensor(name) for name in sorted(file.keys())}
    if spec["buffers"]:
        weights |= old_buffers(config)
    if spec["form"] == "published":
        text = json.dumps(spec["config"], indent=2) + "\n"
    (folder / "config.json").write_text(text)
    write_safetensors(folder / "model.safetensors", weights, {"format": "pt", "seed": str(spec["seed"])})


def old_buffers(config):
    """Returns the buffers that published GPT-NeoX checkpoints have beside the weights; transformers ignores them."""
    buffers, n = {}, config.max_position_embeddings
    for block in range(config.num_hidden_layers):
        attention = f"gpt_neox.layers.{block}.attention"
        buffers[f"{attention}.bias"] = torch.ones(n, n, dtype=torch.uint8).tril().view(1, 1, n, n)
        buffers[f"{attention}.masked_bias"] = torch.tensor(-1e9)
        buffers[f"{attention}.rotary_emb.inv_freq"] = torch.tensor([1.0, 0.01])
    return buffers


def load(folder, **changes):
    """Loads the model with transformers in float64, after `changes` of its configuration."""
    config = transformers.AutoConfig.from_pretrained(folder)
    for key, value in changes.items():
        setattr(config, key, value)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float64, attn_implementation="eager", output_loading_info=True
    )
    assert not any(info[key] for key in ("missing_keys", "mismatched_keys", "unexpected_keys")), info
    for name, x in [*model.named_parameters(), *model.named_buffers()]:
        assert x.dtype == torch.float64 or not x.is_floating_point(), name
    return model.eval()


def cuts(model):
    """Returns the modules that read the residual stream: the blocks and the final norm."""
    base = model.base_model
    blocks = base.layers if hasattr(base, "layers") else base.h
    norms = (getattr(base, name, None) for name in ("final_layer_norm", "final_layernorm", "ln_f", "norm"))
    return [*blocks, next(norm for norm in norms if norm is not None)]


def apart(a, b):
    """Returns the largest difference, relative to the largest value of b."""
    return float(numpy.abs(numpy.asarray(a) - numpy.asarray(b)).max() / numpy.abs(numpy.asarray(b)).max())


def check(folder, model, spec, arrays):
    """Compares the run with the formulas in numpy, and checks that every feature changes the logits."""
    tokens = arrays["tokens"]
    with torch.no_grad(), NoSingle():
        forward(model, cuts(model), tokens)
    config = json.loads((folder / "config.json").read_text())
    with safe_open(folder / "model.safetensors", "np") as file:
        weights = {name: file.get_tensor(name).astype(numpy.float64) for name in file.keys()}
    field, logits = formulas.run(config, weights, tokens.numpy())
    error = max(apart(field, arrays["field"].detach()), apart(logits, arrays["logits"].detach()))
    assert error < 1e-13, f"{folder.name}: transformers and the formulas are {error:.1e} apart"
    effects = []
    for changes in spec["acts"]:
        with torch.no_grad():
            changed = load(folder, **changes)
            _, logits = forward(changed, cuts(changed), tokens)
        effects.append(apart(logits, arrays["logits"].detach()))
        assert effects[-1] > 1e-2, f"{folder.name}: {changes} changes the logits by {effects[-1]:.1e} only"
    return error, effects


def main(names):
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.disable_progress_bar()
    for name, spec in FAMILIES.items():
        if names and name not in names:
            continue
        folder = HERE / name
        write_model(folder, spec)
        with InDouble():
            model = load(folder)
            arrays, metadata = golden(model, cuts(model), spec, COMMAND, second_prompt=True)
            error, effects = check(folder, model, spec, arrays)
        write_safetensors(folder / "golden.safetensors", arrays, metadata)
        value, first, second = (arrays[key].item() for key in ("value", "first", "second"))
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1000
        effects = " ".join(f"{effect:.2f}" for effect in effects)
        print(f"{name}: J {value:+.6f}  dJ {first:+.6f}  d2J {second:+.6f}  formulas {error:.1e}  "
              f"effects [{effects}]  {size:.0f} KB")


if __name__ == "__main__":
    main(sys.argv[1:])
