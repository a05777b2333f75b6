"""Batch normalisation, and what follows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from verydeep.network.native_layers import kernels
from verydeep.network.native_layers.by_torch import (
    Gradients,
    follow_on_torch,
    gradients_by_torch,
    is_left_to_torch,
    unpack_by_torch,
)
from verydeep.network.native_layers.kernels import Sizes, array, half, new, new_floats
from verydeep.network.native_layers.maps import Maps
from verydeep.network.synchronized import normalize_by_batch


@dataclass(frozen=True)
class Statistics:
    """What a batch normalisation subtracts and divides by.

    Attributes:
        mean: of shape (channels,).
        variance: likewise.
        count: numbers of each channel that they were taken from, on all processes; None where they are constants.
        sum_over_processes: adds up a tensor over all processes; None where there is one.

    """

    mean: Tensor
    variance: Tensor
    count: float | None = None
    sum_over_processes: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Normalization:
    """A batch normalisation.

    Attributes:
        weight: factors, of shape (channels,).
        bias: what is added, likewise.
        statistics: the batch's, through which gradients go, or constants.
        eps: added to the variance.

    """

    weight: Tensor
    bias: Tensor
    statistics: Statistics
    eps: float

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weight, bias, mean and variance. Autograd keeps them, and notices where one was changed since."""
        return self.weight, self.bias, self.statistics.mean, self.statistics.variance

    @property
    def rule(self) -> Norm:
        """All else."""
        return Norm(self.eps, self.statistics.count, self.statistics.sum_over_processes)


def moments(maps: Maps) -> Tensor:
    """The channels' means, and sums of the squared deviations from these, of shape (2, channels)."""
    to = new_floats(2, maps.sizes[1])
    kernels.layers().channel_statistics(array(maps.tensor), maps.sizes, array(to))
    return to


def batch_norm(maps: Maps, norm: Normalization, *, relu: bool, max_pool: bool = False) -> Maps:
    """Batch normalisation, and what follows it.

    Args:
        maps: its input, not rectified.
        norm: what it does.
        relu: whether a ReLU follows.
        max_pool: whether a 2x2 max-pooling follows that.

    """
    layer = _BatchNormLayer(maps.sizes, norm.rule, relu, max_pool)
    tensor = _BatchNorm.apply(maps.tensor, *norm.tensors, layer)
    return Maps(tensor, layer.output_sizes, rectified=relu)


@dataclass(frozen=True)
class Norm:
    """What a batch normalisation is beside its tensors; as `Statistics` says."""

    eps: float
    count: float | None
    sum_over_processes: Callable[[Tensor], Tensor] | None

    def constants(self, mean: Tensor, variance: Tensor) -> Any:
        """The statistics as the kernels take them."""
        return array(mean.contiguous()), array(variance.contiguous()), self.eps

    def numbers(self, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Any:
        """All of it, likewise."""
        return self.constants(mean, variance), array(weight.contiguous()), array(bias.contiguous())

    def passed_on(self, sums: Tensor) -> Tensor:
        """What the batch's statistics pass on of a gradient with these sums; nothing where they are constants."""
        if self.count is None:
            return torch.zeros_like(sums)
        whole = self.sum_over_processes(sums) if self.sum_over_processes else sums
        return whole / self.count

    def on_torch(
        self, maps: Tensor, sizes: Sizes, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
    ) -> Tensor:
        """The same by torch's own functions, of maps."""
        x = unpack_by_torch(maps, sizes, False)
        if self.count is None:
            return F.batch_norm(x, mean, variance, weight, bias, eps=self.eps)
        return normalize_by_batch(x, weight, bias, self.eps, self.sum_over_processes)[0]


@dataclass(frozen=True)
class _BatchNormLayer:
    """A batch normalisation of maps of some sizes, and what follows it."""

    sizes: Sizes
    norm: Norm
    relu: bool
    max_pool: bool

    @property
    def output_sizes(self) -> Sizes:
        """Those of the output."""
        return half(self.sizes) if self.max_pool else self.sizes

    def on_torch(self, maps: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """The same output by torch's own functions."""
        x = self.norm.on_torch(maps, self.sizes, weight, bias, mean, variance)
        return follow_on_torch(x, self.relu, self.max_pool)


class _BatchNorm(Function):
    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        layer: _BatchNormLayer,
    ) -> Tensor:
        to = new("maps", layer.output_sizes)
        argmax = new("argmax", layer.output_sizes) if layer.max_pool else None
        norm = layer.norm.numbers(weight, bias, mean, variance)
        kernels.layers().batch_norm(array(maps), layer.sizes, norm, layer.relu, array(to), array(argmax))
        ctx.layer = layer
        ctx.save_for_backward(maps, weight, bias, mean, variance, argmax)
        ctx.set_materialize_grads(False)
        return to

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Gradients:
        *inputs, argmax = ctx.saved_tensors
        maps, weight, _bias, mean, variance = inputs
        layer: _BatchNormLayer = ctx.layer
        wanted = ctx.needs_input_grad[:5]
        if gradient is None:
            return (None,) * 6
        if is_left_to_torch(gradient):
            return *gradients_by_torch(layer.on_torch, inputs, gradient, wanted), None
        arrays = array(maps), layer.sizes, layer.norm.constants(mean, variance)
        slope = array(gradient.contiguous()), array(argmax)
        sums = new_floats(2, len(weight)).zero_()  # the gradients of bias and weight
        if layer.norm.count is not None or any(wanted[1:3]):
            kernels.layers().batch_norm_sums(*arrays, *slope, array(sums))
        to_maps = None
        if wanted[0]:
            to_maps = new("maps", layer.sizes)
            numbers = array(weight.contiguous()), array(layer.norm.passed_on(sums))
            kernels.layers().batch_norm_gradient(*arrays, *numbers, *slope, array(to_maps))
        return to_maps, sums[1] if wanted[1] else None, sums[0] if wanted[2] else None, None, None, None
