"""Hugging Face's GPT-2 as a user runs it, with modules and the whole head: forward and gradients at all levels."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from common import AGAINST, FORWARD, SENSITIVITY, TARGET, Report, Weights, main, prompt, weights
from torch_gpt2 import Gpt2
from torch_peer import gradient as by_hand


def load(drawn: Weights) -> GPT2LMHeadModel:
    """Returns the model with these weights, the default attention, and no dropout."""
    model = GPT2LMHeadModel(GPT2Config()).eval().requires_grad_(False)
    named = {f"transformer.{name}": torch.from_numpy(value) for name, value in drawn.items()}
    absent = model.load_state_dict(named, strict=False)
    assert absent.missing_keys == ["lm_head.weight"] and not absent.unexpected_keys, absent
    model.tie_weights()
    return model


def difference(logits: Tensor) -> Tensor:
    """Maps logits [1, T, V] to J."""
    return logits[0, -1, TARGET] - logits[0, -1, AGAINST]


def gradient(model: GPT2LMHeadModel, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Maps tokens [1, T] to J and dJ/dh [13, T, d]. Hooks collect the inputs of the blocks and of the last norm."""
    levels: list[Tensor] = []

    def catch(_: torch.nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        levels.append(given[0] if given[0].requires_grad else given[0].requires_grad_())
        return (levels[-1], *given[1:])

    places = [*model.transformer.h, model.transformer.ln_f]
    hooks = [place.register_forward_pre_hook(catch) for place in places]
    value = difference(model(tokens, use_cache=False).logits)
    for hook in hooks:
        hook.remove()
    return value.detach(), torch.cat(torch.autograd.grad(value, levels))


def measure(report: Report) -> None:
    """Checks against the hand-written model, then measures times."""
    torch.set_num_threads(report.threads)
    drawn = weights()
    model, tokens = load(drawn), torch.from_numpy(prompt(1))[None]
    expected_value, expected = by_hand(Gpt2(drawn), prompt(1))
    value, chi = gradient(model, tokens)
    report.check("forward against the hand-written one", value.numpy(), expected_value.numpy(), 1e-4)
    report.check("gradient against the hand-written one", chi.numpy(), expected.numpy(), 1e-3)
    report.answer("logit difference, clean", value)
    report.answer("norm of the gradient", chi.norm())
    with torch.inference_mode():
        report.time(
            FORWARD, "Hugging Face, whole head", lambda: difference(model(tokens, use_cache=False).logits)
        )
        report.time(
            FORWARD,
            "Hugging Face, head of the last token",
            lambda: difference(model(tokens, use_cache=False, logits_to_keep=1).logits),
        )
    report.time(SENSITIVITY, "Hugging Face, whole head", lambda: gradient(model, tokens))


if __name__ == "__main__":
    main("Hugging Face", ["transformers", "torch", "numpy"], measure)
