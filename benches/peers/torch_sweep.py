"""The exhaustive patch sweep with torch functions: three implementations of the same [12, T] result."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common import LAYERS, TOKENS, WIDTH
from torch_gpt2 import Gpt2, heads, rows


def one_by_one(model: Gpt2, clean: np.ndarray, corrupted: np.ndarray) -> Tensor:
    """Runs a forward pass from level l for each place (l, t): the reference of the other implementations."""
    from_clean, base = (model.field(model.embed(tokens)) for tokens in (clean, corrupted))
    found = torch.empty(LAYERS, TOKENS, dtype=base[0].dtype)
    for layer, token in product(range(LAYERS), range(TOKENS)):
        h = base[layer].clone()
        h[:, token] = from_clean[layer][:, token]
        for block in model.blocks[layer:]:
            h = block(h)
        found[layer, token] = model.difference(h[0, -1])
    return found


def joining(base: Tensor, clean: Tensor) -> Tensor:
    """Returns the T runs [T, T, d] that join at a level: the t-th has the clean row t."""
    runs = base.repeat(TOKENS, 1, 1)
    places = torch.arange(TOKENS)
    runs[places, places] = clean[0]
    return runs


def growing(model: Gpt2, clean: np.ndarray, corrupted: np.ndarray) -> Tensor:
    """Runs one batch that T runs join at each level; the last block computes only the last row."""
    from_clean, base = (model.field(model.embed(tokens)) for tokens in (clean, corrupted))
    runs = base[0][:0]
    for layer, block in enumerate(model.blocks):
        runs = torch.cat([runs, joining(base[layer], from_clean[layer])])
        runs = block(runs) if layer < LAYERS - 1 else block.last_row(runs)
    return model.difference(runs[:, 0]).view(LAYERS, TOKENS)


def causal(model: Gpt2, clean: np.ndarray, corrupted: np.ndarray) -> Tensor:
    """Does the same as `growing`, but a run has only the rows from its token on. The base run has the earlier ones.

    Rows of all runs are packed in [N, d]. Only attention needs them at their tokens, after the keys and values of the
    base run.
    """
    from_clean = model.field(model.embed(clean))
    run, token = torch.triu_indices(TOKENS, TOKENS)
    starts = run == token
    h, packed, base = torch.empty(0, WIDTH), torch.empty(2, 0, dtype=torch.long), model.embed(corrupted)[0]
    for layer, block in enumerate(model.blocks):
        joined = base[token]
        joined[starts] = from_clean[layer][0]
        h = torch.cat([h, joined])
        packed = torch.cat([packed, torch.stack([run + TOKENS * layer, token])], 1)
        runs = TOKENS * (layer + 1)
        # The last T rows are the base run.
        q, k, v = block.split(torch.cat([h, base]))
        keys, values = (placed(x, packed, runs) for x in (k, v))
        ends = packed[1] == TOKENS - 1
        if layer == LAYERS - 1:
            z = functional.scaled_dot_product_attention(
                heads(q[: len(h)][ends][:, None]), heads(keys[:-1]), heads(values[:-1])
            )
            h = block.finish(h[ends], rows(z)[:, 0])
        else:
            queries = placed(q, packed, runs)
            z = rows(
                functional.scaled_dot_product_attention(
                    heads(queries), heads(keys), heads(values), is_causal=True
                )
            )
            both = block.finish(torch.cat([h, base]), torch.cat([z[packed[0], packed[1]], z[-1]]))
            h, base = both[:-TOKENS], both[-TOKENS:]
    return model.difference(h).view(LAYERS, TOKENS)


def placed(x: Tensor, packed: Tensor, runs: int) -> Tensor:
    """Maps packed rows [N + T, d] to [runs + 1, T, d]. The last T rows, of the base run, fill the missing rows."""
    full = x[-TOKENS:].repeat(runs + 1, 1, 1)
    full[packed[0], packed[1]] = x[:-TOKENS]
    return full
