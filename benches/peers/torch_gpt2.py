"""GPT-2 in torch functions alone, as fast as they go: no modules, no hooks, two rows of the unembedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from common import AGAINST, EPSILON, HEADS, LAYERS, TARGET, TOKENS, WIDTH, Weights

Linear = Callable[[Tensor], Tensor]
"""[..., in] to [..., out]."""


def plain(weight: Tensor, bias: Tensor) -> Linear:
    """torch.nn.functional.linear; the weight [in, out] is laid out as [out, in], which it likes best."""
    rows = weight.T.contiguous()
    return lambda x: functional.linear(x, rows, bias)


@dataclass
class Block:
    """One block; every member is a function of the stream's rows."""

    ln_1: Linear
    qkv: Linear
    out: Linear
    ln_2: Linear
    up: Linear
    down: Linear

    def split(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows [..., d] to queries, keys and values [..., d]."""
        return self.qkv(self.ln_1(h)).split(WIDTH, -1)

    def finish(self, h: Tensor, z: Tensor) -> Tensor:
        """Rows of the stream and of the heads' outputs, both [..., d], to rows of the next level."""
        h = h + self.out(z)
        return h + self.down(functional.gelu(self.up(self.ln_2(h)), approximate="tanh"))

    def __call__(self, h: Tensor) -> Tensor:
        """[B, T, d] to the same."""
        q, k, v = self.split(h)
        z = functional.scaled_dot_product_attention(heads(q), heads(k), heads(v), is_causal=True)
        return self.finish(h, rows(z))

    def last_row(self, h: Tensor) -> Tensor:
        """[B, T, d] to the last token's [B, 1, d], which attends to all."""
        q, k, v = self.split(h)
        z = functional.scaled_dot_product_attention(heads(q[:, -1:]), heads(k), heads(v))
        return self.finish(h[:, -1:], rows(z))


def heads(x: Tensor) -> Tensor:
    """[B, T, d] to [B, H, T, d / H]."""
    return x.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)


def rows(z: Tensor) -> Tensor:
    """[B, H, T, d / H] to [B, T, d]."""
    return z.transpose(1, 2).flatten(2)


class Gpt2:
    """The model. `linear` makes the product of a weight."""

    def __init__(
        self,
        weights: Weights,
        linear: Callable[[Tensor, Tensor], Linear] = plain,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        def of(name: str) -> Tensor:
            return torch.from_numpy(weights[name]).to(dtype)

        def product(name: str) -> Linear:
            return linear(of(f"{name}.weight"), of(f"{name}.bias"))

        def norm(name: str) -> Linear:
            gain, shift = of(f"{name}.weight"), of(f"{name}.bias")
            return lambda x: functional.layer_norm(x, (WIDTH,), gain, shift, EPSILON)

        self.wte, self.positions = of("wte.weight"), of("wpe.weight")[:TOKENS]
        self.read = self.wte[[TARGET, AGAINST]]
        self.ln_f = norm("ln_f")
        self.blocks = [
            Block(
                norm(f"h.{layer}.ln_1"),
                product(f"h.{layer}.attn.c_attn"),
                product(f"h.{layer}.attn.c_proj"),
                norm(f"h.{layer}.ln_2"),
                product(f"h.{layer}.mlp.c_fc"),
                product(f"h.{layer}.mlp.c_proj"),
            )
            for layer in range(LAYERS)
        ]

    def embed(self, tokens: np.ndarray) -> Tensor:
        """Tokens [T] to level 0 [1, T, d]."""
        return (self.wte[torch.from_numpy(tokens)] + self.positions)[None]

    def field(self, level_0: Tensor) -> list[Tensor]:
        """Level 0 [B, T, d] to all 13 levels."""
        levels = [level_0]
        for block in self.blocks:
            levels.append(block(levels[-1]))
        return levels

    def difference(self, last: Tensor) -> Tensor:
        """Rows [..., d] of the last level to the logit difference [...]."""
        logits = functional.linear(self.ln_f(last), self.read)
        return logits[..., 0] - logits[..., 1]

    def forward(self, tokens: np.ndarray) -> Tensor:
        """Tokens [T] to the logit difference of the last one; the last block computes its row alone."""
        h = self.embed(tokens)
        for block in self.blocks[:-1]:
            h = block(h)
        return self.difference(self.blocks[-1].last_row(h))[0, 0]
