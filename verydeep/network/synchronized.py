"""What makes a step on many processes the step of one: dropout and normalisation over the whole batch.

Each process holds some images of a batch. What a layer does to them must not depend on how they were shared out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

Sum = Callable[[Tensor], Tensor]
"""Adds up a tensor over all processes, with gradients."""


class _Sum(Function):
    """Its derivative is the same sum, of the gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return sum_over_processes(gradient)


def sum_over_processes(tensor: Tensor) -> Tensor:
    """A `Sum` by torch.distributed, over all processes that it has joined."""
    total: Tensor = _Sum.apply(tensor)
    return total


class Dropout(nn.Module):
    """Dropout that draws for the whole batch, of which the images here are a part.

    So that a hidden unit's fate depends on the random seed and its image's place in the batch alone.

    Args:
        probability: of setting a unit to zero; the others are scaled up to keep the mean.

    Attributes:
        part: the place of the first image here, and the number of images in the whole batch; None where the
            images here are the whole batch.

    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.part: tuple[int, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Drop units in training; let everything through otherwise."""
        if not self.training or self.probability == 0:
            return x
        first, whole = self.part or (0, len(x))
        draws = torch.rand((whole, *x.shape[1:]), device=x.device)[first : first + len(x)]
        return x * ((draws >= self.probability).to(x.dtype) / (1 - self.probability))


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of the whole batch, wherever its images are.

    torch's SyncBatchNorm does the same on GPUs alone.

    Attributes:
        sum_over_processes: how sums are gathered; None where the images here are the whole batch.

    """

    sum_over_processes: Sum | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; in training by the batch, otherwise by the running statistics."""
        if not self.training or self.sum_over_processes is None:
            return super().forward(x)
        y, count, mean, variance = normalize_by_batch(x, self.weight, self.bias, self.eps, self.sum_over_processes)
        self._follow(count, mean, variance)
        return y

    @torch.no_grad()
    def take_statistics(self, count: int, mean: Tensor, squares: Tensor) -> tuple[float, Tensor, Tensor]:
        """Statistics of the whole batch from those of the images here; the running ones follow them.

        Args:
            count: numbers that each channel has here.
            mean: theirs, of shape (channels,).
            squares: sums of their squared deviations from it, of shape (channels,).

        Returns:
            The same count, mean, and the mean of the squared deviations, of the whole batch.

        """
        whole = float(count)
        if self.sum_over_processes is not None:
            sums = self.sum_over_processes(torch.cat([mean * count, mean.new_tensor([count])]))
            center, whole = sums[:-1] / sums[-1], sums[-1].item()
            squares = self.sum_over_processes(squares + count * (mean - center).square())
            mean = center
        variance = squares / whole
        self._follow(whole, mean, variance)
        return whole, mean, variance

    @torch.no_grad()
    def _follow(self, count: float | Tensor, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch, as torch does."""
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


def normalize_by_batch(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, sum_over_processes: Sum | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalise by a batch's statistics, through which gradients go.

    Args:
        x: the images here, of shape (batch, channels, rows, columns).
        weight: of shape (channels,), as `bias`.
        bias: what is added.
        eps: added to the variance.
        sum_over_processes: as of `BatchNorm`.

    Returns:
        What comes of it; and count, mean and variance of the whole batch.

    """
    gather = sum_over_processes or (lambda sums: sums)
    levels = x.to(torch.promote_types(x.dtype, torch.float32))
    with torch.no_grad():
        sums = gather(torch.cat([levels.sum((0, 2, 3)), _count(levels)]))
        center = sums[:-1] / sums[-1]
    # Around the mean, not as the mean of squares less the square of the mean, which cancel where the mean is
    # large. The centre is a constant to the gradient; what the mean of float32 sums lacks is in `rest`.
    levels = levels - center[:, None, None]
    sums = gather(torch.cat([levels.sum((0, 2, 3)), levels.square().sum((0, 2, 3)), _count(levels)]))
    rest, squares = (sums[:-1] / sums[-1]).chunk(2)
    variance = squares - rest.square()
    scale = weight * torch.rsqrt(variance + eps)
    shift = bias - rest * scale
    y = torch.addcmul(shift[:, None, None], levels, scale[:, None, None]).to(x.dtype)
    return y, sums[-1].detach(), (center + rest).detach(), variance.detach()


def _count(levels: Tensor) -> Tensor:
    """How many numbers each channel has here, of shape (1,)."""
    return levels.new_tensor([levels[:, 0].numel()])


def synchronize(network: nn.Module, first: int, whole: int, sum_over_processes: Sum) -> None:
    """Tell a network that the images it is shown here are a part of a batch.

    Args:
        network: whose dropout and normalisation are to be those of the whole batch.
        first: place of the first image here in the batch.
        whole: number of images in the batch.
        sum_over_processes: adds up a tensor over all processes, with gradients.

    """
    for module in network.modules():
        if isinstance(module, Dropout):
            module.part = first, whole
        elif isinstance(module, BatchNorm):
            module.sum_over_processes = sum_over_processes
