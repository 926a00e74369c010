"""Trains one atlas model on the CPU and writes its folder.

    python train.py small               # about an hour on two cores; checkpoints resume by themselves

The forward pass is GPT-2's, written over Hugging Face's parameter names so that saving is a plain dump. It differs
from the library's in speed only: matrix products in bf16, attention and the residual stream in f32 (on this
kind of CPU the fused bf16 attention is the slowest part by far).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
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
    rate: float  # peak learning rate


SIZES = {
    "nano": Size(layers=2, width=64, heads=4, rows=16, steps=1500, rate=3e-3),
    "micro": Size(layers=4, width=128, heads=4, rows=16, steps=3000, rate=2e-3),
    "small": Size(layers=8, width=192, heads=6, rows=16, steps=6000, rate=1.5e-3),
}
Params = dict[str, torch.Tensor]

# The first steps have more random sequences: induction heads are the slowest thing to form, and IOI and the other
# copying tasks build on them.
EARLY_MIX = C.MIX | {"induction": 40}
EARLY_STEPS = 2000


def initial(size: Size, vocabulary: int) -> Params:
    """GPT-2's initialisation: N(0, 0.02), output projections scaled by 1/sqrt(2 layers)."""
    d = size.width
    params: Params = {"wte.weight": 0.02 * torch.randn(vocabulary, d), "wpe.weight": 0.02 * torch.randn(CONTEXT, d)}
    shapes = {"attn.c_attn": (d, 3 * d), "attn.c_proj": (d, d), "mlp.c_fc": (d, 4 * d), "mlp.c_proj": (4 * d, d)}
    norms = [f"h.{l}.ln_{i}" for l in range(size.layers) for i in (1, 2)] + ["ln_f"]
    for l in range(size.layers):
        for name, (rows, columns) in shapes.items():
            scale = 0.02 / math.sqrt(2 * size.layers) if name.endswith("c_proj") else 0.02
            params[f"h.{l}.{name}.weight"] = scale * torch.randn(rows, columns)
            params[f"h.{l}.{name}.bias"] = torch.zeros(columns)
    for name in norms:
        params[f"{name}.weight"], params[f"{name}.bias"] = torch.ones(d), torch.zeros(d)
    return params


def forward(params: Params, size: Size, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Logits, in `dtype`; the residual stream stays in f32."""
    batch, length = ids.shape

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (size.width,), params[f"{name}.weight"], params[f"{name}.bias"]).to(dtype)

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ params[f"{name}.weight"].to(dtype) + params[f"{name}.bias"].to(dtype)

    h = params["wte.weight"][ids] + params["wpe.weight"][:length]
    for l in range(size.layers):
        qkv = linear(f"h.{l}.attn.c_attn", norm(f"h.{l}.ln_1", h)).float()
        q, k, v = (x.view(batch, length, size.heads, -1).transpose(1, 2) for x in qkv.split(size.width, -1))
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + linear(f"h.{l}.attn.c_proj", z.transpose(1, 2).reshape(batch, length, -1).to(dtype))
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


def optimiser(params: Params, rate: float) -> torch.optim.Optimizer:
    matrices = [p for n, p in params.items() if n.startswith("h.") and p.ndim == 2]
    rest = [p for n, p in params.items() if not (n.startswith("h.") and p.ndim == 2)]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def schedule(step: int, steps: int, warmup: int = 250) -> float:
    """Linear warmup, a plateau, and a linear fall to nothing over the last third.

    Not a cosine, because the plateau does not depend on `steps`: a run can be shortened or lengthened while under way.
    """
    return min((step + 1) / warmup, 1.0, (steps - step) / (steps / 3))


def save(folder: Path, params: Params, size: Size, vocabulary: int, end: int) -> None:
    """Writes what `GPT2LMHeadModel.from_pretrained` reads: weights rounded to f16, and every config field that counts."""
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
    parser.add_argument("--rate", type=float, help="instead of the size's own")
    parser.add_argument("--work", type=Path, default=HERE / "work", help="checkpoints and the pid file")
    args = parser.parse_args()
    size = SIZES[args.name]
    size = size._replace(steps=args.steps or size.steps, rate=args.rate or size.rate)
    args.work.mkdir(exist_ok=True, parents=True)
    (args.work / "trainer.pid").write_text(f"{os.getpid()}\n")
    checkpoint, log = args.work / f"{args.name}.pt", args.work / f"{args.name}.jsonl"

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    vocabulary, end = tokenizer.get_vocab_size(), tokenizer.token_to_id(C.END)
    params = {name: p.requires_grad_() for name, p in initial(size, vocabulary).items()}
    opt = optimiser(params, size.rate)
    first, spent = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for name, p in params.items():
            p.data.copy_(state["params"][name])
        opt.load_state_dict(state["opt"])
        first, spent = state["step"], state["seconds"]

    predict = lambda ids: forward(params, size, ids, torch.float32)  # noqa: E731
    begun, recent = time.time() - spent, []
    for step in range(first, size.steps):
        mix = EARLY_MIX if step < EARLY_STEPS else C.MIX
        ids = batch(tokenizer, end, args.seed, step, size.rows, mix)
        for group in opt.param_groups:
            group["lr"] = size.rate * schedule(step, size.steps)
        logits = forward(params, size, ids[:, :-1], torch.bfloat16)
        loss = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
        opt.step()
        opt.zero_grad()
        recent.append(loss.item())
        done = step + 1
        if done % 250 == 0 or done == size.steps:
            quick = {t: evaluate.accuracy(predict, tokenizer, t, "template", 100)[0] for t in C.TASKS}
            row = {"step": done, "seconds": round(time.time() - begun), "tokens": done * size.rows * CONTEXT,
                   "loss": round(sum(recent) / len(recent), 4), **quick}
            recent.clear()
            print(json.dumps(row), flush=True)
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            state = {"params": params, "opt": opt.state_dict(), "step": done, "seconds": time.time() - begun}
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
    save(HERE / args.name, params, size, vocabulary, end)


if __name__ == "__main__":
    main()
