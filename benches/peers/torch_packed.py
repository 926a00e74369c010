"""Products with weights that are packed once, for oneDNN's own kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from torch_gpt2 import Linear


def packed() -> Callable[[Tensor, Tensor], Linear] | None:
    """Returns a function that creates the product with a weight [in, out]; None if torch has no oneDNN."""
    return linear if torch.backends.mkldnn.is_available() else None


def linear(weight: Tensor, bias: Tensor) -> Linear:
    """Packs the weight and its transpose, which gradients need, and returns the product."""
    forward, backward = Matrix(weight), Matrix(weight.T)

    def product(x: Tensor) -> Tensor:
        if torch.is_inference_mode_enabled():
            return forward(x, bias)
        return Product.apply(x, forward, backward, bias)

    return product


class Matrix:
    """A weight [in, out] in oneDNN's layout, by the operations to which `torch.compile` lowers frozen weights."""

    def __init__(self, weight: Tensor) -> None:
        """Packs the weight."""
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.T.contiguous())

    def __call__(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Maps [..., in] to [..., out]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, bias, "none", [], "")


class Product(Function):
    """The product with derivative rules, which torch lacks for oneDNN's operations."""

    @staticmethod
    def forward(x: Tensor, forward: Matrix, backward: Matrix, bias: Tensor | None) -> Tensor:
        """Maps [..., in] to [..., out]."""
        return forward(x, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Saves the matrices for the derivatives."""
        _, ctx.into, ctx.back, _ = inputs

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None, None, None]:
        """Returns the derivative by the input only: the weights are fixed."""
        return Product.apply(cotangent, ctx.back, ctx.into, None), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        """Applies the same product without the bias."""
        return Product.apply(tangent, ctx.into, ctx.back, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, *rest: Any) -> tuple[Tensor, int]:
        """Treats the mapped axis as more rows."""
        return Product.apply(x.movedim(in_dims[0], 0), *rest), 0
