"""torch functions: forward, gradient, patch sweep, and tangents by torch.func."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, linearize, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

import torch_sweep
from common import FORWARD, SENSITIVITY, SWEEP, TANGENTS, Report, Weights, main, prompt, sources, weights
from torch_gpt2 import Gpt2
from torch_packed import packed


def gradient(model: Gpt2, tokens: np.ndarray) -> tuple[Tensor, Tensor]:
    """Maps tokens [T] to J and dJ/dh [13, T, d]."""
    levels = model.field(model.embed(tokens).requires_grad_())
    value = model.difference(levels[-1][0, -1])
    return value.detach(), torch.cat(torch.autograd.grad(value, levels))


def whole_field(model: Gpt2) -> Callable[[Tensor], Tensor]:
    """Returns the function from level 0 [T, d] to all levels [13, T, d]."""
    return lambda level_0: torch.cat(model.field(level_0[None]))


def responses(model: Gpt2, level_0: Tensor, tangents: Tensor) -> Tensor:
    """Maps tangents [K, T, d] at level 0 to those of all levels [K, 13, T, d], including the forward pass."""
    # The fused attention on the CPU has no forward-mode derivative.
    with sdpa_kernel(SDPBackend.MATH):
        return vmap(lambda s: jvp(whole_field(model), (level_0,), (s,))[1])(tangents)


def difference_quotient(model: Gpt2, level_0: Tensor, tangent: Tensor) -> Tensor:
    """Returns the response [13, T, d] by a central difference."""
    step = 1e-4
    field = whole_field(model)
    return (field(level_0 + step * tangent) - field(level_0 - step * tangent)) / (2 * step)


def check(report: Report, drawn: Weights, models: list[tuple[str, Gpt2]]) -> None:
    """Checks every result against float64, or against a slower computation."""
    clean, corrupted, model = prompt(1), prompt(2), models[0][1]
    exact = Gpt2(drawn, dtype=torch.float64)
    given = torch.from_numpy(sources())
    with torch.inference_mode():
        level_0 = exact.embed(clean)[0]
        quotient = difference_quotient(exact, level_0, given[5].double()).numpy()
        sweep = torch_sweep.one_by_one(exact, clean, corrupted)
        moved = sweep - exact.forward(corrupted)
    for name, candidate in models:
        response = responses(candidate, model.embed(clean)[0], given)
        report.check(f"tangent against a quotient in float64: {name}", response[5].numpy(), quotient, 1e-4)
        value, chi = gradient(candidate, clean)
        first, last = (chi[0] * given[5]).sum(), (chi[12] * response[5, 12]).sum()
        report.check(f"gradient against the tangent: {name}", first.numpy(), last.numpy(), 1e-3)
        with torch.inference_mode():
            found, expected = candidate.forward(clean).numpy(), exact.forward(clean).numpy()
            report.check(f"forward against float64: {name}", found, expected, 1e-4)
            for variant in (torch_sweep.growing, torch_sweep.causal):
                found = (variant(candidate, clean, corrupted).double() - exact.forward(corrupted)).numpy()
                what = f"{variant.__name__} sweep against float64, one by one: {name}"
                report.check(what, found, moved.numpy(), 1e-4)
    report.answer("logit difference, clean", value)
    report.answer("norm of the gradient", chi.norm())
    report.answer("norm of all effects of the sweep", moved.norm())
    report.answer("norm of the responses", response.norm())


def measure(report: Report) -> None:
    """Checks results, then measures times."""
    torch.set_num_threads(report.threads)
    drawn = weights()
    model = Gpt2(drawn)
    linear = packed()
    models = [("torch functions", model)]
    if linear:
        models.append(("torch functions, weights prepacked", Gpt2(drawn, linear)))
    else:
        report.left_out["weights prepacked"] = "this torch has no oneDNN"
    check(report, drawn, models)
    clean, corrupted = prompt(1), prompt(2)
    level_0, given = model.embed(clean)[0], torch.from_numpy(sources())
    for name, candidate in models:
        with torch.inference_mode():
            report.time(FORWARD, name, lambda: candidate.forward(clean))
        report.time(SENSITIVITY, name, lambda: gradient(candidate, clean))
        with torch.inference_mode():
            report.time(SWEEP, f"{name}, growing batch", lambda: torch_sweep.growing(candidate, clean, corrupted))
            report.time(SWEEP, f"{name}, causal cone", lambda: torch_sweep.causal(candidate, clean, corrupted))
        by_jvp = name.replace("torch functions", "torch.func jvp + vmap, with the forward pass")
        report.time(TANGENTS, by_jvp, lambda: responses(candidate, level_0, given))
    expected = responses(model, level_0, given).numpy()
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # linearize warns about names in its own trace.
        warnings.simplefilter("ignore", UserWarning)
        _, response = linearize(whole_field(model), level_0)
        report.check("torch.func.linearize against jvp", vmap(response)(given).numpy(), expected, 1e-4)
        report.time(TANGENTS, "torch.func linearize + vmap", lambda: vmap(response)(given))


if __name__ == "__main__":
    main("torch", ["torch", "numpy"], measure)
