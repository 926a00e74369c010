"""Products with weights that are laid out once, for oneDNN's own kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from torch_gpt2 import Linear


def packed() -> Callable[[Tensor, Tensor], Linear] | None:
    """Makes the product of a weight [in, out]; none where torch was built without oneDNN."""
    return linear if torch.backends.mkldnn.is_available() else None


def linear(weight: Tensor, bias: Tensor) -> Linear:
    """With the weight laid out both ways, as gradients need the transpose."""
    forward, backward = Matrix(weight), Matrix(weight.T)

    def product(x: Tensor) -> Tensor:
        if torch.is_inference_mode_enabled():
            return forward(x, bias)
        return Product.apply(x, forward, backward, bias)

    return product


class Matrix:
    """A weight [in, out] as oneDNN wants it, by the operations that freezing in `torch.compile` ends in."""

    def __init__(self, weight: Tensor) -> None:
        """Lays it out."""
        self.laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.T.contiguous())

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """[..., in] to [..., out]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.laid_out, bias, "none", [], "")


class Product(Function):
    """The product with its rules: torch has none for oneDNN's own."""

    @staticmethod
    def forward(x: Tensor, forward: Matrix, backward: Matrix, bias: Tensor | None) -> Tensor:
        """[..., in] to [..., out]."""
        return forward(x, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """The matrices are all that is kept."""
        _, ctx.into, ctx.back, _ = inputs

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None, None]:
        """By the input alone: the weights are fixed."""
        return Product.apply(cotangent, ctx.back, ctx.into, None), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        """The same product, without the bias."""
        return Product.apply(tangent, ctx.into, ctx.back, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, *rest: Any) -> tuple[Tensor, int]:
        """More rows."""
        return Product.apply(x.movedim(in_dims[0], 0), *rest), 0
