#!/usr/bin/env python3
"""A day's work in both packages: this one and TransformerLens, with lines, numbers and times.

Both run atlas-micro on the CPU, in one process after each other, with the same number of threads. The environment needs
`requirements.txt` and this project's wheel (`cargo xtask wheel`). Every pair of functions returns the same numbers.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

ROOT = Path(__file__).resolve().parents[2]
ATLAS = ROOT / "crates" / "model" / "atlas"
MARY = "When Mary and John went to the store, John gave a drink to"
JOHN = "When Mary and John went to the store, Mary gave a drink to"

parsed = argparse.ArgumentParser(description=__doc__)
parsed.add_argument("--threads", type=int, default=2)
parsed.add_argument("--seconds", type=float, default=3.0, help="for each piece of work")
given = parsed.parse_args()
os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(given.threads)

import numpy as np
import torch
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from resolvent import Edit, Model, logit_diff

torch.set_num_threads(given.threads)
torch.set_grad_enabled(False)
FOLDER = ATLAS / "micro"
model = Model.from_pretrained("atlas-micro", device="host")


def words() -> PreTrainedTokenizerFast:
    """Opens the tokenizer of the embedded models."""
    return PreTrainedTokenizerFast(tokenizer_file=str(ATLAS / "tokenizer.json"), eos_token="<|endoftext|>")


def opened(folder: Path) -> TransformerBridge:
    """Opens a directory as a bridge."""
    weights = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    return TransformerBridge.boot_transformers("gpt2", hf_model=weights.eval(), tokenizer=words(), device="cpu")


bridge, tokenizer = opened(FOLDER), words()
mary, john = model.to_single_token(" Mary"), model.to_single_token(" John")
J = logit_diff(" Mary", " John")
layers, heads = model.cfg.n_layers, model.cfg.n_heads
clean, corrupted = (torch.tensor(model.to_tokens(text).astype(np.int64))[None] for text in (MARY, JOHN))
several = [MARY, "The capital of France is", "Once upon a time"]
site, z = "blocks.1.hook_resid_pre", "blocks.1.attn.hook_z"
vector = np.linspace(-1, 1, model.cfg.d_model).astype(np.float32)


def metric(logits):
    return logits[0, -1, mary] - logits[0, -1, john]


# Each pair: what it is, ours, theirs. The lines of the bodies are counted.
def cache_ours():
    return model.run(MARY)["resid_pre", 2]


def cache_theirs():
    _, cache = bridge.run_with_cache(clean)
    return cache["resid_pre", 2][0]


def hook_ours():
    return model.run(MARY, Edit.add(site, -1, vector)).logits


def hook_theirs():
    def add(value, hook):
        value[:, -1] += torch.tensor(vector)
        return value

    return bridge.run_with_hooks(clean, fwd_hooks=[(site, add)])[0]


def places_ours():
    swept = model.patch_sweep(MARY, JOHN, J)
    return swept["effect"][:layers] + swept["corrupted_value"]


def places_theirs():
    _, cache = bridge.run_with_cache(clean)
    return patching.get_act_patch_resid_pre(bridge, corrupted, cache, metric)


def heads_ours():
    run = model.run(MARY)
    names = [f"blocks.{l}.attn.hook_z[{h}]" for l in range(layers) for h in range(heads)]
    edits = [Edit.put(name, None, run[name]) for name in names]
    return np.reshape(model.run(JOHN).values_under(edits, J), (layers, heads))


def heads_theirs():
    _, cache = bridge.run_with_cache(clean)
    return patching.get_act_patch_attn_head_out_all_pos(bridge, corrupted, cache, metric)


def pattern_ours():
    return model.run(MARY)["pattern", 1]


def pattern_theirs():
    _, cache = bridge.run_with_cache(clean)
    return cache["pattern", 1][0]


def lens_ours():
    return model.lens(MARY, J)["value"]


def lens_theirs():
    _, cache = bridge.run_with_cache(clean)
    levels = cache.accumulated_resid(apply_ln=False)[:, 0, -1:]
    return torch.stack([metric(bridge.unembed(bridge.ln_final(level[None]))) for level in levels])


def attribution_ours():
    direct = model.attribute(MARY, J)["direct"][:, -1]
    return direct[1 : 1 + heads]


def attribution_theirs():
    _, cache = bridge.run_with_cache(clean)
    out = cache["z", 0][0, -1][:, None] @ bridge.W_O[0]
    centred = out[:, 0] - out[:, 0].mean(-1, keepdim=True)
    scale = cache["resid_post", -1][0, -1].var(unbiased=False).add(bridge.cfg.eps).sqrt()
    return centred / scale * bridge.ln_final.weight @ (bridge.W_U[:, mary] - bridge.W_U[:, john])


def own_metric_ours():
    def answer(logits):
        return np.exp(logits[:, mary]) / np.exp(logits).sum(-1)

    return model.run(MARY).values_under([Edit.ablate(f"{z}[{h}]") for h in range(heads)], answer)


def own_metric_theirs():
    found = []
    for head in range(heads):

        def ablate(value, hook, head=head):
            value[:, :, head] = 0
            return value

        logits = bridge.run_with_hooks(clean, fwd_hooks=[(z, ablate)])
        found.append(logits[0, -1].softmax(-1)[mary])
    return torch.stack(found)


def batch_ours():
    return model.prompts(several).logits()


def batch_theirs():
    tokens = [tokenizer(text)["input_ids"] for text in several]
    longest = max(map(len, tokens))
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in tokens])
    last = torch.tensor([len(row) - 1 for row in tokens])
    return bridge(padded)[torch.arange(len(tokens)), last]


def path_ours():
    readers = [f"a1.h{h}<q>" for h in range(heads)]
    gains = [model.path_patch(MARY, JOHN, J, "a0.h1", reader) for reader in readers]
    return model.run(JOHN).value(J) + np.array(gains)


def path_theirs():
    caches = [bridge.run_with_cache(tokens)[1] for tokens in (clean, corrupted)]
    return patching.get_act_patch_direct_path(bridge, corrupted, *caches, metric, 0, 1, verbose=False)[1]


def generation_ours():
    return model.generate(MARY, 8)


def generation_theirs():
    greedy = dict(do_sample=False, stop_at_eos=False, return_type="tokens", verbose=False)
    # With its cache it repeats the first token here.
    return bridge.generate(clean, max_new_tokens=8, use_past_kv_cache=False, **greedy)[0, -8:]


def directory_ours():
    return Model.from_pretrained(own, device="host").run(clean[0].numpy()).logits


def directory_theirs():
    return opened(own)(clean)[0]


PAIRS: list[tuple[str, Callable, Callable]] = [
    ("a cache", cache_ours, cache_theirs),
    ("a hook", hook_ours, hook_theirs),
    ("a sweep of places", places_ours, places_theirs),
    ("a sweep of heads", heads_ours, heads_theirs),
    ("a pattern", pattern_ours, pattern_theirs),
    ("the logit lens", lens_ours, lens_theirs),
    ("direct attribution", attribution_ours, attribution_theirs),
    ("a metric of one's own", own_metric_ours, own_metric_theirs),
    ("a batch", batch_ours, batch_theirs),
    ("path patching", path_ours, path_theirs),
    ("generation", generation_ours, generation_theirs),
    ("a directory of one's own", directory_ours, directory_theirs),
]


def lines(function: Callable) -> int:
    """Counts the lines of a function's body."""
    body = inspect.getsource(function).splitlines()[1:]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in body)


def timed(ours: Callable, theirs: Callable) -> list[float]:
    """Times both one after another, repeatedly, and returns the medians in ms."""
    times: list[list[float]] = [[], []]
    end = time.perf_counter() + given.seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for call, into in zip((ours, theirs), times):
            start = time.perf_counter()
            call()
            into.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(all) for all in times]


def main() -> None:
    print("| work | lines | theirs | largest difference | ms | theirs | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, ours, theirs in PAIRS:
        found, expected = np.asarray(ours(), dtype=np.float64), np.asarray(theirs(), dtype=np.float64)
        assert found.shape == expected.shape, f"{name}: {found.shape} {expected.shape}"
        error = np.abs(found - expected).max() / np.abs(expected).max()
        mine, other = timed(ours, theirs)
        figures = f"{error:.0e} | {mine:.1f} | {other:.1f} | {other / mine:.1f}"
        print(f"| {name} | {lines(ours)} | {lines(theirs)} | {figures} |")
        sys.stdout.flush()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder)
        (own / "config.json").write_text(json.dumps(json.loads((FOLDER / "config.json").read_text())))
        (own / "model.safetensors").write_bytes((FOLDER / "model.safetensors").read_bytes())
        sys.exit(main())
