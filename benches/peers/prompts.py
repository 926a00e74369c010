#!/usr/bin/env python3
"""Logits of the last token of 32 prompts of different lengths, by this package and by TransformerLens.

This package takes the prompts in one call, TransformerLens as a padded batch. Both run atlas-small on the CPU, one
after the other in one process, with the same number of threads. The environment needs `requirements.txt` and this
project's wheel (`cargo xtask wheel`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

ROOT = Path(__file__).resolve().parents[2]
ATLAS = ROOT / "crates" / "model" / "atlas"


def medians(work: dict[str, object], seconds: float) -> dict[str, list[float]]:
    """Times the pieces of work one after another, repeatedly; returns the least, middle and largest time in ms."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for call in work.values():
        call()
    end = time.perf_counter() + seconds * len(work)
    while time.perf_counter() < end:
        for name, call in work.items():
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: [min(t), statistics.median(t), max(t)] for name, t in times.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--seconds", type=float, default=10.0)
    arguments.add_argument("--prompts", type=int, default=32)
    given = arguments.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(given.threads)

    import numpy as np
    import torch
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

    import resolvent

    torch.set_num_threads(given.threads)
    model = resolvent.Model.from_pretrained("atlas-small", device="host")
    rows = [
        row for task in json.loads((ATLAS / "prompts.json").read_text())["tasks"].values() for row in task["prompts"]
    ]
    texts = [row["clean"] for row in rows[:: len(rows) // given.prompts]][: given.prompts]
    tokens = [model.to_tokens(text).tolist() for text in texts]

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(ATLAS / "tokenizer.json"), eos_token="<|endoftext|>")
    lens = TransformerBridge.boot_transformers(
        "gpt2",
        hf_model=GPT2LMHeadModel.from_pretrained(ATLAS / "small", dtype=torch.float32),
        tokenizer=tokenizer,
        device="cpu",
    )
    longest = max(map(len, tokens))
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in tokens])
    last = torch.tensor([len(row) - 1 for row in tokens])

    def theirs() -> np.ndarray:
        with torch.inference_mode():
            return lens(padded)[torch.arange(len(tokens)), last].numpy()

    def ours() -> np.ndarray:
        return prompts.logits()

    def loop() -> np.ndarray:
        return np.stack([model.run(row).logits_at(-1) for row in tokens])

    prompts = model.prompts(tokens)
    found, expected = ours(), theirs()
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert error < 1e-4, f"the logits differ by {error:.1e}"
    np.testing.assert_array_equal(found, loop())
    times = medians(
        {"resolvent, one call": ours, "TransformerLens, padded batch": theirs, "resolvent, a loop": loop}, given.seconds
    )
    print(
        f"{len(tokens)} prompts of {min(map(len, tokens))} to {longest} tokens, {given.threads} threads; "
        f"largest difference {error:.1e}"
    )
    for name, (least, middle, most) in times.items():
        print(f"{name:<30} {middle:8.1f} ms ({least:.1f} to {most:.1f})")
    ratio = times["TransformerLens, padded batch"][1] / times["resolvent, one call"][1]
    print(f"{'ratio of the first two':<30} {ratio:8.2f}")


if __name__ == "__main__":
    sys.exit(main())
