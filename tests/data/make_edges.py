"""Golden edges of the embedded models: every edge patched exactly, and to first order, in float64 torch.

    pip install -r requirements.txt transformer-lens==4.3.0 tokenizers==0.23.3
    python make_edges.py

Writes edges/atlas-{nano,small}.safetensors beside itself. The model is written out here with an input of its own for
each reader, so that an edge is one addition and its first order a derivative by autograd. The script also holds
TransformerLens to these numbers: `get_act_patch_direct_path` for edges between heads, `attribution_patch` with edges
for first order, and `faithfulness` for circuits.

A circuit keeps the edge e if fraction(e) < share, with fraction(e) = (e * 2654435761 mod 2^32) / 2^32. All other edges
carry the corrupted outputs of their writers, or zero.
"""

import json
import math
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from common import write_safetensors

HERE = Path(__file__).parent
ATLAS = HERE.parents[1] / "crates" / "model" / "atlas"
CLEAN = "When Mary and John went to the store, John gave a drink to"
CORRUPTED = "When Mary and John went to the store, Mary gave a drink to"
TARGETS = (" Mary", " John")
SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)


class Model:
    """A GPT-2 whose readers can read something of their own."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        weights = {
            name.removeprefix("transformer."): x.double() for name, x in load_file(folder / "model.safetensors").items()
        }
        self.w = weights
        self.layers, self.heads, self.d = (self.config[key] for key in ("n_layer", "n_head", "n_embd"))

    def writers(self):
        blocks = [[f"a{l}.h{h}" for h in range(self.heads)] + [f"m{l}"] for l in range(self.layers)]
        return ["input"] + sum(blocks, [])

    def readers(self):
        parts = [(part, h) for part in "qkv" for h in range(self.heads)]
        blocks = [[f"a{l}.h{h}<{part}>" for part, h in parts] + [f"m{l}"] for l in range(self.layers)]
        return sum(blocks, []) + ["logits"]

    def edges(self):
        """Every edge, reader by reader, each with the writers before it."""
        writers, found = self.writers(), []
        for reader in self.readers():
            if reader == "logits":
                before = len(writers)
            elif reader.startswith("m"):
                before = writers.index(reader)
            else:
                before = 1 + int(reader[1:].split(".")[0]) * (self.heads + 1)
            found += [(writer, reader) for writer in writers[:before]]
        return found

    def norm(self, name, x):
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        x = (x - mean) / torch.sqrt(variance + self.config["layer_norm_epsilon"])
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def run(self, tokens, moved, cut=None, replaced=None):
        """Returns the logits of the last token and the outputs of all writers; `moved` is added to what readers read.

        `cut` lists the writers that each reader reads from `replaced` in place of their outputs.
        """
        w, width, n = self.w, self.d // self.heads, len(tokens)
        x = w["wte.weight"][tokens] + w["wpe.weight"][:n]
        outputs = {"input": x}

        def read(x, reader):
            x = x + moved[reader] if reader in moved else x
            for writer in (cut or {}).get(reader, []):
                x = x + replaced[writer] - outputs[writer]
            return x

        mask = torch.full((n, n), -torch.inf, dtype=x.dtype).triu(1)
        for l in range(self.layers):
            name = f"h.{l}"
            weight, bias = w[f"{name}.attn.c_attn.weight"], w[f"{name}.attn.c_attn.bias"]
            after = x + w[f"{name}.attn.c_proj.bias"]
            for h in range(self.heads):
                part = {}
                for i, kind in enumerate("qkv"):
                    columns = slice(i * self.d + h * width, i * self.d + (h + 1) * width)
                    part[kind] = (
                        self.norm(f"{name}.ln_1", read(x, f"a{l}.h{h}<{kind}>")) @ weight[:, columns] + bias[columns]
                    )
                pattern = torch.softmax(part["q"] @ part["k"].T / math.sqrt(width) + mask, -1)
                out = pattern @ part["v"] @ w[f"{name}.attn.c_proj.weight"][h * width : (h + 1) * width]
                outputs[f"a{l}.h{h}"] = out
                after = after + out
            x = after
            hidden = (
                self.norm(f"{name}.ln_2", read(x, f"m{l}")) @ w[f"{name}.mlp.c_fc.weight"] + w[f"{name}.mlp.c_fc.bias"]
            )
            hidden = torch.nn.functional.gelu(hidden, approximate="tanh")
            outputs[f"m{l}"] = hidden @ w[f"{name}.mlp.c_proj.weight"] + w[f"{name}.mlp.c_proj.bias"]
            x = x + outputs[f"m{l}"]
        last = self.norm("ln_f", read(x, "logits"))
        return last[-1] @ w["wte.weight"].T, outputs


def lens(folder, tokens, targets, circuits):
    """Returns what TransformerLens computes: exact edges between heads and first-order edges, by (writer, reader); and
    the values of circuits, given as sets of such pairs."""
    from tokenizers.models import WordLevel
    from transformer_lens import patching
    from transformer_lens.model_bridge import TransformerBridge
    from transformer_lens.tools.analysis.attribution_patching import (
        EdgeAttributionConfig,
        attribution_patch,
        faithfulness,
    )
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

    end = "<|endoftext|>"
    nothing = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({end: 0}, end)), eos_token=end)
    hf = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float64).eval()
    model = TransformerBridge.boot_transformers(
        "gpt2", hf_model=hf, tokenizer=nothing, device="cpu", dtype=torch.float64
    )
    model.eval()

    def metric(logits):
        return logits[0, -1, targets[0]] - logits[0, -1, targets[1]]

    clean, corrupted = (row[None] for row in tokens)
    caches = [model.run_with_cache(prompt)[1] for prompt in (clean, corrupted)]
    base = metric(model(corrupted)).item()
    exact = {}
    for part in "qkv":
        for l in range(model.cfg.n_layers - 1):
            for h in range(model.cfg.n_heads):
                found = patching.get_act_patch_direct_path(model, corrupted, *caches, metric, l, h, part, verbose=False)
                for i in range(l + 1, model.cfg.n_layers):
                    for j in range(model.cfg.n_heads):
                        exact[f"a{l}.h{h}", f"a{i}.h{j}<{part}>"] = found[i, j].item() - base
    scores = attribution_patch(
        model, clean, corrupted, metric, config=EdgeAttributionConfig(granularity="edge")
    ).edge_scores
    names = {"embed": "input", "mlp_out": "m{0.layer}", "attn_head_out": "a{0.layer}.h{0.head}", "mlp_in": "m{0.layer}",
             "logits": "logits"} | {f"{part}_input": f"a{{0.layer}}.h{{0.head}}<{part}>" for part in "qkv"}
    first, pairs = {}, {}
    for (writer, reader), score in scores.items():
        key = tuple(names[node.kind].format(node) for node in (writer, reader))
        first[key] = first.get(key, 0.0) + float(score)
        pairs.setdefault(key, []).append((writer, reader))
    values = []
    for circuit in circuits:
        found = faithfulness(model, clean, corrupted, metric, [pair for key in circuit for pair in pairs[key]])
        values.append(found.corrupt_metric + found.recovered * (found.full_metric - found.corrupt_metric))
    return exact, first, torch.tensor(values, dtype=torch.float64)


def fraction(e):
    """Returns a number from 0 to 1 that looks random."""
    return e * 2654435761 % 2**32 / 2**32


def golden(name):
    """Writes the golden file of one model."""
    model = Model(ATLAS / name)
    tokenizer = Tokenizer.from_file(str(ATLAS / "tokenizer.json"))
    tokens = [torch.tensor(tokenizer.encode(text).ids) for text in (CLEAN, CORRUPTED)]
    targets = [tokenizer.encode(text).ids[0] for text in TARGETS]

    def value(moved):
        logits, outputs = model.run(tokens[1], moved)
        return logits[targets[0]] - logits[targets[1]], outputs

    with torch.no_grad():
        _, clean = model.run(tokens[0], {})
        base, corrupted = value({})
        moved = {writer: clean[writer] - corrupted[writer] for writer in model.writers()}
        exact = torch.stack([value({reader: moved[writer]})[0] - base for writer, reader in model.edges()])
    zero = torch.zeros(len(tokens[1]), model.d, dtype=torch.float64)
    inputs = {reader: zero.clone().requires_grad_() for reader in model.readers()}
    gradients = dict(zip(inputs, torch.autograd.grad(value(inputs)[0], inputs.values())))
    first = torch.stack([(gradients[reader] * moved[writer]).sum() for writer, reader in model.edges()])
    circuits = [[edge for e, edge in enumerate(model.edges()) if fraction(e) < share] for share in SHARES]
    zeros = {writer: zero for writer in model.writers()}
    values = []
    with torch.no_grad():
        for circuit, replaced in [(circuit, replaced) for replaced in (corrupted, zeros) for circuit in circuits]:
            included, cut = set(circuit), {}
            for writer, reader in model.edges():
                if (writer, reader) not in included:
                    cut.setdefault(reader, []).append(writer)
            logits, _ = model.run(tokens[0], {}, cut, replaced)
            values.append(logits[targets[0]] - logits[targets[1]])
    values = torch.stack(values)
    theirs = lens(ATLAS / name, tokens, targets, circuits)
    error = ((values[: len(SHARES)] - theirs[2]).abs().max() / values.abs().max()).item()
    print(f"{name}: {len(SHARES)} circuits, TransformerLens differs by {error:.1e}")
    assert error < 1e-6, "TransformerLens differs"
    for ours, theirs, what in [(exact, theirs[0], "exact"), (first, theirs[1], "first order")]:
        pairs = [(x.item(), theirs[edge]) for edge, x in zip(model.edges(), ours) if edge in theirs]
        error = max(abs(a - b) for a, b in pairs) / max(abs(a) for a, _ in pairs)
        print(f"{name}: {what}: {len(pairs)} of {len(ours)} edges, TransformerLens differs by {error:.1e}")
        assert error < 1e-6, "TransformerLens differs"
    metadata = {"command": "python tests/data/make_edges.py", "clean": CLEAN, "corrupted": CORRUPTED,
                "target": TARGETS[0], "against": TARGETS[1], "torch": torch.__version__.split("+")[0],
                "transformer_lens": "4.3.0"}
    (HERE / "edges").mkdir(exist_ok=True)
    arrays = {"exact": exact, "first_order": first, "value": base[None], "circuits": values.reshape(2, -1),
              "shares": torch.tensor(SHARES, dtype=torch.float64)}
    write_safetensors(HERE / "edges" / f"atlas-{name}.safetensors", arrays, metadata)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in ("nano", "small"):
        golden(each)
