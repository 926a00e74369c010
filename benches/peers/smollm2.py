"""SmolLM2-135M on 16 tokens: Hugging Face (forward, gradient, tangents) and TransformerLens (sweep).

The numbers stand beside those of `resolvent bench`:

    python benches/peers/smollm2.py MODEL.gguf --out peers.json
    resolvent bench --model MODEL.gguf --device host --out ours.json

The environment is that of the other Python peers, and gguf==0.19.0. The weights are those of the GGUF file in f32.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from common import AGAINST, FORWARD, SENSITIVITY, SOURCES, SWEEP, TANGENTS, TARGET, TOKENS, Report, main

FILE = Path(sys.argv.pop(1) if len(sys.argv) > 1 else "model.gguf")


def load() -> LlamaForCausalLM:
    """Returns the model of the file in f32, as transformers reads it, with the default attention."""
    model = LlamaForCausalLM.from_pretrained(FILE.parent, gguf_file=FILE.name, dtype=torch.float32)
    return model.eval().requires_grad_(False)


def prompt(seed: int, vocabulary: int) -> Tensor:
    """Returns the tokens [1, T] of a prompt of `resolvent bench`."""
    return ((torch.arange(TOKENS) * 7919 + seed * 104_729) % vocabulary)[None]


def difference(logits: Tensor) -> Tensor:
    """Maps logits [1, T, V] to J."""
    return logits[0, -1, TARGET] - logits[0, -1, AGAINST]


def gradient(model: LlamaForCausalLM, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Maps tokens [1, T] to J and dJ/dh [L + 1, T, d]."""
    levels: list[Tensor] = []

    def catch(_: torch.nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        levels.append(given[0] if given[0].requires_grad else given[0].requires_grad_())
        return (levels[-1], *given[1:])

    places = [*model.model.layers, model.model.norm]
    hooks = [place.register_forward_pre_hook(catch) for place in places]
    value = difference(model(tokens, use_cache=False, logits_to_keep=1).logits)
    for hook in hooks:
        hook.remove()
    return value.detach(), torch.cat(torch.autograd.grad(value, levels))


def tangents(model: LlamaForCausalLM, embedded: Tensor, sources: Tensor) -> Tensor:
    """Maps tangents [K, 1, T, d] at level 0 to the tangents of the last hidden state, [K, T, d]."""

    def last(h: Tensor) -> Tensor:
        return model.model(inputs_embeds=h, use_cache=False).last_hidden_state[0]

    return torch.func.vmap(lambda s: torch.func.jvp(last, (embedded,), (s,))[1])(sources)


def sweep(model: TransformerBridge, clean: Tensor, corrupted: Tensor) -> tuple[Tensor, Tensor]:
    """Maps prompts [1, T] to J of the corrupted run, and to J after each patch of h[l, t], [L, T]."""
    _, cache = model.run_with_cache(clean)
    return difference(model(corrupted)), patching.get_act_patch_resid_pre(model, corrupted, cache, difference)


def measure(report: Report) -> None:
    """Measures the passes; the sweep is checked against patches by plain hooks in Hugging Face's model."""
    torch.set_num_threads(report.threads)
    model = load()
    vocabulary, width = model.config.vocab_size, model.config.hidden_size
    clean, corrupted = prompt(1, vocabulary), prompt(2, vocabulary)
    value, chi = gradient(model, clean)
    report.answer("logit difference, clean", value)
    report.answer("norm of the gradient", chi.norm())
    with torch.inference_mode():
        whole = lambda: difference(model(clean, use_cache=False).logits)  # noqa: E731
        last = lambda: difference(model(clean, use_cache=False, logits_to_keep=1).logits)  # noqa: E731
        report.time(FORWARD, "Hugging Face, whole head", whole)
        report.time(FORWARD, "Hugging Face, head of the last token", last)
    report.time(SENSITIVITY, "Hugging Face, head of the last token", lambda: gradient(model, clean))
    drawn = torch.randn(SOURCES, width, generator=torch.Generator().manual_seed(3))
    sources = torch.zeros(SOURCES, 1, TOKENS, width)
    sources[torch.arange(SOURCES), 0, torch.arange(SOURCES) % TOKENS] = drawn
    model.config._attn_implementation = "eager"  # fused attention has no forward mode
    embedded = model.model.embed_tokens(clean)
    try:
        with torch.no_grad():
            report.time(TANGENTS, "Hugging Face, torch.func.jvp and vmap", lambda: tangents(model, embedded, sources))
    except (RuntimeError, NotImplementedError) as error:
        report.left_out[TANGENTS] = str(error).splitlines()[0]
    model.config._attn_implementation = "sdpa"
    end = "<|endoftext|>"
    nothing = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({end: 0}, end)), eos_token=end)
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    bridge = TransformerBridge.boot_transformers(name, hf_model=model, tokenizer=nothing, device="cpu")
    with torch.inference_mode():
        report.time(FORWARD, "TransformerLens", lambda: difference(bridge(clean)))
        base, found = sweep(bridge, clean, corrupted)
        report.answer("norm of all effects of the sweep", (found - base).norm())
        report.time(SWEEP, "TransformerLens get_act_patch_resid_pre", lambda: sweep(bridge, clean, corrupted))


if __name__ == "__main__":
    main("SmolLM2", ["transformer-lens", "transformers", "torch", "numpy"], measure)
