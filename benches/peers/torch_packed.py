"""Products with weights that are laid out once, for oneDNN's own kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from torch_gpt2 import Linear


def packed() -> Callable[[Tensor, Tensor], Linear] | None:
    """Makes the product of a weight [in, out]; none where torch was built without oneDNN."""
    if not torch.backends.mkldnn.is_available():
        return None
    return linear


def linear(weight: Tensor, bias: Tensor) -> Linear:
    """What `torch.compile` makes of a linear layer when it freezes the weights."""
    laid_out = torch.ops.mkldnn._reorder_linear_weight(weight.T.contiguous())
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, laid_out, bias, "none", [], "")
