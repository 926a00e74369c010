"""Long prompts: a forward pass and the sensitivity of a logit difference, in torch with its fused attention.

    python benches/peers/long_prompts.py --tokens 1024
    resolvent bench --quick --device host --tokens 1024

The model is the one of Hugging Face with `scaled_dot_product_attention`, and its head for the last token only.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch
from transformers import GPT2Config, GPT2LMHeadModel


def timed(work: Callable[[], object], repeats: int) -> str:
    """Median, least and most milliseconds, after one untimed run."""
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(1e3 * (time.perf_counter() - start))
    return f"{statistics.median(seconds):.0f} ms ({min(seconds):.0f} to {max(seconds):.0f})"


def main() -> None:
    """Prints both times and the peak of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    config = GPT2Config(n_positions=max(1024, given.tokens), attn_implementation="sdpa")
    model = GPT2LMHeadModel(config).eval().requires_grad_(False)
    ids = torch.randint(0, config.vocab_size, (1, given.tokens))

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return model(ids, logits_to_keep=1).logits[0, 0, :2]

    def sensitivity() -> list[torch.Tensor]:
        h = model.transformer.wte(ids).requires_grad_(True)
        out = model(inputs_embeds=h, logits_to_keep=1, output_hidden_states=True)
        logits = out.logits[0, 0]
        return list(torch.autograd.grad(logits[1] - logits[2], out.hidden_states[:-1]))

    print(f"torch {torch.__version__}, {given.tokens} tokens, {given.threads} threads")
    print("forward, two logits:", timed(forward, given.repeats))
    print("forward and sensitivity:", timed(sensitivity, given.repeats))
    print(f"peak of memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
