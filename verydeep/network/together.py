"""What makes a step on many processes the step of one: dropout and normalisation over the whole batch.

Each process holds some images of a batch. What a layer does to them must not depend on how they were shared out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Sum = Callable[[Tensor], Tensor]
"""Adds up a tensor over all processes, with gradients."""


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
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        levels = x.to(torch.promote_types(x.dtype, torch.float32))
        with torch.no_grad():
            sums = self.sum_over_processes(torch.cat([levels.sum((0, 2, 3)), _count(levels)]))
            center = sums[:-1] / sums[-1]
        # Around the mean, not as the mean of squares less the square of the mean, which cancel where the mean is
        # large. The centre is a constant to the gradient; what the mean of float32 sums lacks is in `rest`.
        levels = levels - center[:, None, None]
        sums = self.sum_over_processes(
            torch.cat([levels.sum((0, 2, 3)), levels.square().sum((0, 2, 3)), _count(levels)])
        )
        rest, squares = (sums[:-1] / sums[-1]).chunk(2)
        variance = squares - rest.square()
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(center + rest, self.momentum)
            self.running_var.lerp_(variance * (sums[-1] / (sums[-1] - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - rest * scale
        return torch.addcmul(shift[:, None, None], levels, scale[:, None, None]).to(x.dtype)


def _count(levels: Tensor) -> Tensor:
    """How many numbers each channel has here, of shape (1,)."""
    return levels.new_tensor([levels[:, 0].numel()])


def work_together(network: nn.Module, first: int, whole: int, sum_over_processes: Sum) -> None:
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
