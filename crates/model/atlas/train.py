"""Trains one atlas model on the CPU and writes its folder.

    python train.py small               # checkpoints every 250 steps; started again it goes on from the last

The forward pass is GPT-2's, written over Hugging Face's parameter names so that saving is a plain dump. It differs
from the library's in speed only: matrix products in bf16, the residual stream in f32, and attention written out, since
on CPUs the fused bf16 attention is several times slower.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer

import corpus as C
import evaluate

HERE = Path(__file__).parent
CONTEXT = 128


class Size(NamedTuple):
    layers: int
    width: int
    heads: int
    rows: int  # contexts of 128 tokens in a step
    steps: int
    grow: int = 0  # the step before which the model has half its layers


SIZES = {
    "nano": Size(layers=2, width=64, heads=4, rows=16, steps=2500),
    "micro": Size(layers=4, width=128, heads=4, rows=16, steps=2000),
    "small": Size(layers=8, width=192, heads=6, rows=16, steps=3600, grow=1500),
}
Params = dict[str, torch.Tensor]

# The first steps have more random sequences: induction heads are the slowest thing to form, and IOI and the other
# copying tasks build on them. Once they are there, facts and agreement need the room.
EARLY_MIX = C.MIX | {"induction": 40}
EARLY_STEPS = 750
LATE_MIX = C.MIX | {"capitals": 28, "languages": 10, "continents": 8, "ioi": 20, "three": 1, "agreement": 14,
                    "pronouns": 14, "own": 3, "greater_than": 6, "induction": 10, "prose": 4}

# Peak learning rates: Muon for the matrices of the blocks, AdamW for everything else.
MUON_RATE, ADAM_RATE = 4e-3, 2e-3


def depth(params: Params) -> int:
    return sum(name.endswith("ln_1.weight") for name in params)


def initial(size: Size, vocabulary: int, layers: int) -> Params:
    """GPT-2's initialisation: N(0, 0.02), output projections scaled by 1/sqrt(2 layers).

    The learned positions begin as sinusoids of the same size instead of noise: attending to the previous token is then
    one rotation for all positions, not 128 things to learn, and induction heads form far sooner.
    """
    d = size.width
    turns = torch.arange(CONTEXT)[:, None] * torch.logspace(0, math.log10(math.pi / CONTEXT), d // 2)
    positions = 0.02 * math.sqrt(2) * torch.cat([turns.sin(), turns.cos()], dim=1)
    params: Params = {"wte.weight": 0.02 * torch.randn(vocabulary, d), "wpe.weight": positions}
    shapes = {"attn.c_attn": (d, 3 * d), "attn.c_proj": (d, d), "mlp.c_fc": (d, 4 * d), "mlp.c_proj": (4 * d, d)}
    norms = [f"h.{l}.ln_{i}" for l in range(layers) for i in (1, 2)] + ["ln_f"]
    for l in range(layers):
        for name, (rows, columns) in shapes.items():
            scale = 0.02 / math.sqrt(2 * size.layers) if name.endswith("c_proj") else 0.02
            params[f"h.{l}.{name}.weight"] = scale * torch.randn(rows, columns)
            params[f"h.{l}.{name}.bias"] = torch.zeros(columns)
    for name in norms:
        params[f"{name}.weight"], params[f"{name}.bias"] = torch.ones(d), torch.zeros(d)
    return params


def grown(params: Params) -> Params:
    """Twice the layers, the same function: after each layer a copy of it that writes nothing yet.

    A model of half the depth learns the same things first at half the cost.
    """
    new: Params = {}
    for name, p in params.items():
        if not name.startswith("h."):
            new[name] = p.detach().clone()
            continue
        _, layer, rest = name.split(".", 2)
        new[f"h.{2 * int(layer)}.{rest}"] = p.detach().clone()
        new[f"h.{2 * int(layer) + 1}.{rest}"] = torch.zeros_like(p) if "c_proj" in rest else p.detach().clone()
    return {name: p.requires_grad_() for name, p in new.items()}


def forward(params: Params, heads: int, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Logits, in `dtype`; the residual stream stays in f32."""
    batch, length = ids.shape
    width = params["wpe.weight"].shape[1]
    mask = torch.full((length, length), -math.inf, dtype=dtype).triu(1)

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (width,), params[f"{name}.weight"], params[f"{name}.bias"]).to(dtype)

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ params[f"{name}.weight"].to(dtype) + params[f"{name}.bias"].to(dtype)

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.view(batch, length, heads, -1).transpose(1, 2).reshape(batch * heads, length, -1)

    h = params["wte.weight"][ids] + params["wpe.weight"][:length]
    for l in range(depth(params)):
        q, k, v = map(split, linear(f"h.{l}.attn.c_attn", norm(f"h.{l}.ln_1", h)).split(width, -1))
        scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
        z = (scores.softmax(-1) @ v).view(batch, heads, length, -1).transpose(1, 2).reshape(batch, length, width)
        h = h + linear(f"h.{l}.attn.c_proj", z)
        m = F.gelu(linear(f"h.{l}.mlp.c_fc", norm(f"h.{l}.ln_2", h)), approximate="tanh")
        h = h + linear(f"h.{l}.mlp.c_proj", m)
    return norm("ln_f", h) @ params["wte.weight"].to(dtype).T


def batch(tokenizer: Tokenizer, end: int, seed: int, step: int, rows: int, mix: dict[str, int]) -> torch.Tensor:
    """Fresh documents for one step, packed into rows of 129 tokens; a function of (seed, step) alone.

    Documents are separated by the end-of-text token. Most rows begin with a document, as a bare prompt does; three
    in ten with an end-of-text token before it.
    """
    rng = random.Random(f"{seed}/{step}")
    texts = [C.document(rng, mix) for _ in range(rows * 12)]
    encoded = [e.ids for e in tokenizer.encode_batch(texts)]
    out: list[list[int]] = []
    while len(out) < rows:
        row: list[int] = [end] if rng.random() < 0.3 else []
        while len(row) <= CONTEXT:
            ids = encoded.pop() if encoded else tokenizer.encode(C.document(rng, mix)).ids
            row += ids + [end]
        out.append(row[: CONTEXT + 1])
    return torch.tensor(out)


def optimisers(params: Params) -> list[torch.optim.Optimizer]:
    """Muon learns both the facts and the copying heads in fewer tokens than AdamW, and tokens are what a CPU lacks."""
    matrices = [p for n, p in params.items() if n.startswith("h.") and p.ndim == 2]
    rest = [p for n, p in params.items() if not (n.startswith("h.") and p.ndim == 2)]
    muon = torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [muon, adam]


def schedule(step: int, steps: int, grow: int, warmup: int = 100) -> float:
    """Linear warmup (again after growing), a plateau, and a linear fall to nothing over the last third.

    Not a cosine, because the plateau does not depend on `steps`: a run can be shortened or lengthened while under way.
    """
    since = step - grow if step >= grow else step
    return min((since + 1) / warmup, 1.0, (steps - step) / (steps / 3))


def save(folder: Path, params: Params, size: Size, vocabulary: int, end: int) -> None:
    """Writes what `GPT2LMHeadModel.from_pretrained` reads: weights rounded to f16, and the config fields that count."""
    folder.mkdir(exist_ok=True)
    weights = {f"transformer.{name}": p.detach().to(torch.float16).contiguous() for name, p in params.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "vocab_size": vocabulary, "n_positions": CONTEXT, "n_ctx": CONTEXT, "n_embd": size.width,
        "n_layer": size.layers, "n_head": size.heads, "n_inner": None, "layer_norm_epsilon": 1e-5,
        "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "initializer_range": 0.02,
        "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "reorder_and_upcast_attn": False,
        "tie_word_embeddings": True, "bos_token_id": end, "eos_token_id": end, "torch_dtype": "float16",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=SIZES)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, help="instead of the size's own")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="where checkpoints are kept")
    args = parser.parse_args()
    size = SIZES[args.name]
    size = size._replace(steps=args.steps or size.steps)
    args.work.mkdir(exist_ok=True, parents=True)
    checkpoint, log = args.work / f"{args.name}.pt", args.work / f"{args.name}.jsonl"

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    vocabulary, end = tokenizer.get_vocab_size(), tokenizer.token_to_id(C.END)
    start = initial(size, vocabulary, size.layers // 2 if size.grow else size.layers)
    first, spent, state = 0, 0.0, None
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        start = state["params"]
    params = {name: p.detach().requires_grad_() for name, p in start.items()}
    opts = optimisers(params)
    if state:
        for opt, saved in zip(opts, state["opts"]):
            opt.load_state_dict(saved)
        first, spent = state["step"], state["seconds"]

    predict = lambda ids: forward(params, size.heads, ids, torch.float32)  # noqa: E731
    begun, recent = time.time() - spent, []
    for step in range(first, size.steps):
        if size.grow and step >= size.grow and depth(params) < size.layers:
            params = grown(params)
            opts = optimisers(params)
        mix = EARLY_MIX if step < EARLY_STEPS else LATE_MIX
        ids = batch(tokenizer, end, args.seed, step, size.rows, mix)
        for opt, rate in zip(opts, (MUON_RATE, ADAM_RATE)):
            opt.param_groups[0]["lr"] = rate * schedule(step, size.steps, size.grow)
        logits = forward(params, size.heads, ids[:, :-1], torch.bfloat16)
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad()
        recent.append(loss.item())
        done = step + 1
        if done % 250 == 0 or done == size.steps:
            quick = {split: {t: evaluate.accuracy(predict, tokenizer, t, split, 100)[0] for t in C.TASKS}
                     for split in ("combo", "dev")}
            row = {"step": done, "seconds": round(time.time() - begun), "tokens": done * size.rows * CONTEXT,
                   "loss": round(sum(recent) / len(recent), 4), **quick}
            recent.clear()
            print(json.dumps(row), flush=True)
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            state = {"params": params, "opts": [opt.state_dict() for opt in opts], "step": done,
                     "seconds": time.time() - begun}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
    save(HERE / args.name, params, size, vocabulary, end)
    shutil.copy(log, HERE / args.name / "training.jsonl")


if __name__ == "__main__":
    main()
