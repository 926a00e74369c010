"""TransformerLens' exhaustive resid_pre sweep, the stock way: a forward pass with its head for each place."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedTokenizerFast

from common import SWEEP, Report, main, prompt, weights
from hf import difference, load
from torch_gpt2 import Gpt2
from torch_sweep import one_by_one


def sweep(model: TransformerBridge, clean: Tensor, corrupted: Tensor) -> tuple[Tensor, Tensor]:
    """Prompts [1, T] to J of the corrupted run, and J after each clean h[l, t], [12, T]."""
    _, cache = model.run_with_cache(clean)
    base = difference(model(corrupted))
    return base, patching.get_act_patch_resid_pre(model, corrupted, cache, difference)


def measure(report: Report) -> None:
    """Checks against a forward pass for each place by torch functions, then times."""
    torch.set_num_threads(report.threads)
    drawn = weights()
    # Prompts are token ids; without a tokenizer of any kind one would be fetched.
    end = "<|endoftext|>"
    nothing = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({end: 0}, end)), eos_token=end)
    model = TransformerBridge.boot_transformers("gpt2", hf_model=load(drawn), tokenizer=nothing, device="cpu")
    clean, corrupted = (torch.from_numpy(prompt(seed))[None] for seed in (1, 2))
    with torch.inference_mode():
        base, found = sweep(model, clean, corrupted)
        exact = Gpt2(drawn, dtype=torch.float64)
        expected = one_by_one(exact, prompt(1), prompt(2)) - exact.forward(prompt(2))
        report.check(
            "sweep against torch functions in float64",
            (found.double() - base).numpy(),
            expected.numpy(),
            1e-4,
        )
        report.answer("norm of all effects of the sweep", (found - base).norm())
        report.time(SWEEP, "TransformerLens get_act_patch_resid_pre", lambda: sweep(model, clean, corrupted))


if __name__ == "__main__":
    main("TransformerLens", ["transformer-lens", "transformers", "torch", "numpy"], measure)
