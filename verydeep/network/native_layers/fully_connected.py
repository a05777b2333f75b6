"""Fully connected layers, by torch's products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from verydeep.network.native_layers.by_torch import Gradients, is_left_to_torch
from verydeep.network.native_layers.kernels import new_numbers


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A fully connected layer by torch, in float32 under autocast too.

    With a few images, bringing weights to bfloat16 and their gradients back takes longer than the products do. The
    weights' gradient has memory that is kept for the next step: fresh memory takes as long as a product.

    Args:
        x: of shape (batch, inputs).
        weight: of shape (outputs, inputs).
        bias: of shape (outputs,).

    """
    found: Tensor = _Linear.apply(x.float(), weight, bias)
    return found


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        with torch.autocast("cpu", enabled=False):
            return torch.addmm(bias, x, weight.t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        to_weight = None
        with torch.autocast("cpu", enabled=False):
            if wanted[1]:
                to = None if is_left_to_torch(gradient) else new_numbers(weight)
                to_weight = torch.mm(gradient.t(), x, out=to)
            to_x = gradient.mm(weight) if wanted[0] else None
            return to_x, to_weight, gradient.sum(0) if wanted[2] else None
