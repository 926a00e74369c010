"""JAX on the processor, jitted: forward, gradient, patch sweep, and tangents by linearize + vmap."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from common import (
    FORWARD,
    LAYERS,
    SENSITIVITY,
    SWEEP,
    TANGENTS,
    TOKENS,
    Report,
    main,
    prompt,
    sources,
    weights,
)
from jax_gpt2 import Model, block, difference, embed, field, forward, gradient, load, responses, sweep


def one_by_one(model: Model, clean: jax.Array, corrupted: jax.Array) -> np.ndarray:
    """J after each clean h[l, t], [12, T], one run after another: what the batch is checked against."""
    levels = jax.jit(field)
    from_clean, base = (levels(model, embed(model, tokens)) for tokens in (clean, corrupted))
    step = jax.jit(block)
    found = np.empty((LAYERS, TOKENS), np.float32)
    for layer in range(LAYERS):
        for token in range(TOKENS):
            h = base[layer].at[token].set(from_clean[layer, token])
            for w in model.blocks[layer:]:
                h = step(h, w)
            found[layer, token] = difference(model, h[-1])
    return found


def difference_quotient(model: Model, level_0: jax.Array, tangent: jax.Array) -> np.ndarray:
    """The response [13, T, d] by a central difference."""
    step = 2e-3
    levels = jax.jit(field)
    return np.asarray(levels(model, level_0 + step * tangent) - levels(model, level_0 - step * tangent)) / (
        2 * step
    )


def measure(report: Report) -> None:
    """Checks, then times; what is timed has been compiled before."""
    model = load(weights())
    clean, corrupted = jnp.asarray(prompt(1)), jnp.asarray(prompt(2))
    level_0, given = embed(model, clean), jnp.asarray(sources())
    ready = jax.block_until_ready

    _, response = jax.linearize(lambda h: field(model, h), level_0)
    # `response` is a tree, whose leaves are what was kept of the run, weights among it.
    constant = jax.jit(jax.vmap(response))
    argument = jax.jit(lambda response, tangents: jax.vmap(response)(tangents))
    whole = jax.jit(responses)
    found = np.asarray(whole(model, level_0, given))
    report.check(
        "tangent against a difference quotient", found[5], difference_quotient(model, level_0, given[5]), 1e-2
    )
    report.check("tangents, weights constants", np.asarray(constant(given)), found, 1e-4)
    report.check("tangents, weights arguments", np.asarray(argument(response, given)), found, 1e-4)

    to_value, to_gradient, to_sweep = jax.jit(forward), jax.jit(gradient), jax.jit(sweep)
    value, chi = to_gradient(model, clean)
    report.check(
        "forward against that of the gradient", np.asarray(to_value(model, clean)), np.asarray(value), 1e-4
    )
    report.check(
        "gradient against the tangent",
        np.asarray((chi[0] * given[5]).sum()),
        (np.asarray(chi[12]) * found[5, 12]).sum(),
        1e-3,
    )
    base = np.asarray(to_value(model, corrupted))
    moved = np.asarray(to_sweep(model, clean, corrupted)) - base
    report.check("sweep against one by one", moved, one_by_one(model, clean, corrupted) - base, 1e-3)
    report.answer("logit difference, clean", value)
    report.answer("norm of the gradient", jnp.linalg.norm(chi))
    report.answer("norm of all effects of the sweep", np.linalg.norm(moved))
    report.answer("norm of the responses", np.linalg.norm(found))

    fixed = jax.jit(lambda tokens: forward(model, tokens))
    report.time(FORWARD, "JAX, weights arguments", lambda: ready(to_value(model, clean)))
    report.time(FORWARD, "JAX, weights constants", lambda: ready(fixed(clean)))
    report.time(SENSITIVITY, "JAX grad", lambda: ready(to_gradient(model, clean)))
    report.time(SWEEP, "JAX, growing batch", lambda: ready(to_sweep(model, clean, corrupted)))
    report.time(TANGENTS, "JAX linearize + vmap, weights arguments", lambda: ready(argument(response, given)))
    report.time(TANGENTS, "JAX linearize + vmap, weights constants", lambda: ready(constant(given)))
    report.time(
        TANGENTS, "JAX linearize + vmap, with the forward pass", lambda: ready(whole(model, level_0, given))
    )


if __name__ == "__main__":
    main("JAX", ["jax", "jaxlib", "numpy"], measure)
