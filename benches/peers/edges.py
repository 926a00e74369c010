"""TransformerLens on edges, with GPT-2 small's shape: attribution of all edges, and exact patches in a loop.

    python benches/peers/edges.py --out peers.json
    resolvent edges --model random-gpt2 ...

An exact patch of one edge is a forward pass with a hook. The time of all 32 491 edges is that of a sample, scaled up.
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch
from transformers import PreTrainedTokenizerFast

from common import LAYERS, Report, main, prompt, weights
from hf import difference, load

SOURCE = (9, 3)


def measure(report: Report) -> None:
    """Measures the times; the numbers are compared in tests/data/make_edges.py."""
    torch.set_num_threads(report.threads)
    end = "<|endoftext|>"
    nothing = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({end: 0}, end)), eos_token=end)
    model = TransformerBridge.boot_transformers(
        "gpt2", hf_model=load(weights()).requires_grad_(True), tokenizer=nothing, device="cpu"
    )
    model.eval()
    clean, corrupted = (torch.from_numpy(prompt(seed))[None] for seed in (1, 2))
    config = EdgeAttributionConfig(granularity="edge")
    report.time(
        "all edges, first order",
        "attribution_patch",
        lambda: attribution_patch(model, clean, corrupted, difference, config=config),
    )
    with torch.inference_mode():
        caches = [model.run_with_cache(tokens)[1] for tokens in (clean, corrupted)]
        count = (LAYERS - 1 - SOURCE[0]) * model.cfg.n_heads
        report.time(
            f"{count} exact edges",
            "get_act_patch_direct_path",
            lambda: patching.get_act_patch_direct_path(
                model, corrupted, *caches, difference, *SOURCE, "q", verbose=False
            ),
        )


if __name__ == "__main__":
    main("TransformerLens", ["transformer-lens", "transformers", "torch", "numpy"], measure)
