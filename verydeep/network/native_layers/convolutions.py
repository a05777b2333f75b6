"""3x3 convolutions, what follows them, and a batch normalisation before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    read_by_torch,
    unpack_by_torch,
)
from verydeep.network.native_layers.kernels import Precision, Sizes, array, half, new, new_floats, new_numbers
from verydeep.network.native_layers.maps import Maps, Measured
from verydeep.network.native_layers.normalization import Norm, Normalization, moments

Transformed = Callable[[Sizes, bool, Precision], Tensor | None]
"""Gives a convolution's transformed weights for an input of these sizes; or, where true, for its gradient."""


def convolve(
    maps: Maps,
    weight: Tensor,
    bias: Tensor,
    *,
    relu: bool = False,
    max_pool: bool = False,
    transformed: Transformed | None = None,
    measure: bool = False,
    pool_by: Tensor | None = None,
) -> Maps:
    """A 3x3 convolution with a border of zeros, and what follows it.

    Under autocast products are of bfloat16. Sums, maps and gradients are float32.

    Args:
        maps: its input.
        weight: of shape (outputs, inputs, 3, 3).
        bias: of shape (outputs,).
        relu: whether a ReLU follows.
        max_pool: whether a 2x2 max-pooling follows that. Not of `bordered` maps.
        transformed: gives what `transform` makes of these weights, where it is kept.
        measure: whether a batch normalisation by the batch follows in the place of a ReLU.
        pool_by: its weight, where a ReLU and a 2x2 max-pooling follow it. Only where `normalizes` says so of the
            maps.

    """
    output = _Output(relu, max_pool, measure, pool_by, _precision(), transformed)
    layer = _ConvolutionLayer(maps.sizes, output, maps.rectified, maps.bordered)
    tensor, measured = _Convolution.apply(maps.tensor, weight, bias, layer)
    return Maps(tensor, output.sizes(maps.sizes, len(weight)), rectified=relu, measured=measured)


def convolve_normalized(
    maps: Maps,
    norm: Normalization,
    weight: Tensor,
    bias: Tensor,
    *,
    transformed: Transformed | None = None,
    measure: bool = False,
    pool_by: Tensor | None = None,
) -> Maps:
    """A batch normalisation, its ReLU, perhaps a 2x2 max-pooling, and a convolution, as one.

    What the convolution reads is normalised on the way, and stored neither here nor for the gradients. The pooling
    is there where the maps were measured for it, by the normalisation's weight.

    Args:
        maps: the input of the normalisation. `normalizes` says where it can be taken.
        norm: the normalisation.
        weight: as of `convolve`, like all that follows.
        bias: likewise.
        transformed: likewise.
        measure: likewise.
        pool_by: likewise.

    """
    output = _Output(False, False, measure, pool_by, _precision(), transformed)
    pooled, argmax = (maps.measured.pooled, maps.measured.argmax) if maps.measured else (None, None)
    layer = _NormalizedConvolutionLayer(maps.sizes, output, norm.rule, pooled is not None)
    tensor, measured = _NormalizedConvolution.apply(
        maps.tensor, *norm.tensors, weight, bias, pooled, argmax, layer
    )
    return Maps(tensor, output.sizes(layer.read_sizes, len(weight)), measured=measured)


def normalizes(sizes: Sizes) -> bool:
    """Whether a convolution of maps of these sizes can normalise them as it reads them, and measure its output."""
    by_tiles: bool = kernels.layers().by_tiles(sizes)
    return by_tiles


def transform(weight: Tensor, sizes: Sizes, back: bool, precision: Precision) -> Tensor:
    """Transform weights once for many calls of `convolve` with an input of these sizes; or for their gradients."""
    return torch.from_numpy(kernels.layers(precision).transform(array(weight.contiguous()), sizes, back))


def _precision() -> Precision:
    return "bfloat16" if torch.is_autocast_enabled("cpu") else "float32"


@dataclass(frozen=True)
class _Output:
    """How a convolution computes, and what follows it: as `convolve` says."""

    relu: bool
    max_pool: bool
    measure: bool
    pool_by: Tensor | None
    precision: Precision
    transformed: Transformed | None

    def sizes(self, read: Sizes, channels: int) -> Sizes:
        """Those of the output; `read` are those of what is convolved."""
        images, _, height, width = read
        return half((images, channels, height, width)) if self.max_pool else (images, channels, height, width)

    def convolve(
        self, read: Tensor, sizes: Sizes, norm: Any, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor | None, Measured | None]:
        """The output, which numbers were the greatest where it is pooled, and what was measured."""
        written = self.sizes(sizes, len(weight))
        to = new("maps", written)
        argmax = new("argmax", written) if self.max_pool else None
        measured = pooling = None
        if self.measure:
            measured = Measured(new_floats(2, len(weight)))
        if measured and self.pool_by is not None:
            pooled, which = new("maps", half(written)), new("argmax", half(written))
            measured = replace(measured, pooled=pooled, argmax=which)
            pooling = array(self.pool_by.contiguous()), array(pooled), array(which)
        self.layers().convolve(
            array(read), sizes, norm, array(weight.contiguous()), array(self.weights_for(sizes, back=False)),
            array(bias.contiguous()), self.relu, array(to), array(argmax),
            array(measured.moments if measured else None), pooling,
        )  # fmt: skip
        return to, argmax, measured

    def weight_gradients(
        self, read: Tensor, sizes: Sizes, norm: Any, slope: Tensor, argmax: Tensor | None, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients of weight and bias."""
        to_weight, to_bias = new_numbers(weight), new_floats(len(weight))
        self.layers().weight_gradient(
            array(read), sizes, norm, array(slope), array(argmax), array(to_weight), array(to_bias)
        )
        return to_weight, to_bias

    def weights_for(self, sizes: Sizes, *, back: bool) -> Tensor | None:
        """The transformed weights, where they are kept; or, where true, those of the gradient at the input."""
        return self.transformed(sizes, back, self.precision) if self.transformed else None

    def layers(self) -> Any:
        return kernels.layers(self.precision)

    def on_torch(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The same by torch's own functions, of a tensor."""
        return follow_on_torch(F.conv2d(x, weight, bias, padding=1), self.relu, self.max_pool)


@dataclass(frozen=True)
class _ConvolutionLayer:
    """A convolution of maps of some sizes, which may be rectified or bordered."""

    sizes: Sizes
    output: _Output
    rectified: bool
    bordered: bool

    def on_torch(self, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The same output by torch's own functions."""
        x = unpack_by_torch(read_by_torch(maps, self.rectified), self.sizes, self.bordered)
        return self.output.on_torch(x, weight, bias)


class _Convolution(Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, layer: _ConvolutionLayer
    ) -> tuple[Tensor, Measured | None]:
        if layer.bordered:
            argmax, measured, to = None, None, new("maps", layer.output.sizes(layer.sizes, len(weight)))
            kernels.layers().convolve_images(
                array(maps), layer.sizes, array(weight.contiguous()), array(bias.contiguous()),
                layer.output.relu, array(to),
            )  # fmt: skip
            if layer.output.measure:
                measured = Measured(moments(Maps(to, layer.output.sizes(layer.sizes, len(weight)))))
        else:
            to, argmax, measured = layer.output.convolve(maps, layer.sizes, None, weight, bias)
        ctx.layer = layer
        ctx.save_for_backward(maps, weight, bias, argmax)
        ctx.set_materialize_grads(False)
        return to, measured

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> Gradients:
        maps, weight, bias, argmax = ctx.saved_tensors
        layer: _ConvolutionLayer = ctx.layer
        wanted = ctx.needs_input_grad[:3]
        if gradient is None:
            return None, None, None, None
        if is_left_to_torch(gradient):
            return *gradients_by_torch(layer.on_torch, (maps, weight, bias), gradient, wanted), None
        slope, plain = gradient.contiguous(), weight.contiguous()
        to_maps = to_weight = to_bias = None
        if wanted[0]:
            to_maps = new("bordered_images" if layer.bordered else "maps", layer.sizes)
            if layer.bordered:
                kernels.layers().images_data_gradient(array(slope), layer.sizes, array(plain), array(to_maps))
            else:
                seen = array(maps if layer.rectified else None)
                kept = array(layer.output.weights_for(layer.sizes, back=True))
                layer.output.layers().data_gradient(
                    array(slope), array(argmax), layer.sizes, array(plain), kept, seen, array(to_maps)
                )
        if any(wanted[1:]) and layer.bordered:
            to_weight, to_bias = new_numbers(plain), torch.empty_like(bias)
            arrays = array(to_weight), array(to_bias)
            kernels.layers().images_weight_gradient(array(maps), layer.sizes, array(slope), *arrays)
        elif any(wanted[1:]):
            to_weight, to_bias = layer.output.weight_gradients(maps, layer.sizes, None, slope, argmax, plain)
        return to_maps, to_weight if wanted[1] else None, to_bias if wanted[2] else None, None


@dataclass(frozen=True)
class _NormalizedConvolutionLayer:
    """Maps of some sizes are normalised, rectified, pooled if so measured, and convolved."""

    sizes: Sizes
    output: _Output
    norm: Norm
    max_pool: bool

    @property
    def read_sizes(self) -> Sizes:
        """Those of what is convolved."""
        return half(self.sizes) if self.max_pool else self.sizes

    def on_torch(self, maps: Tensor, *tensors: Tensor) -> Tensor:
        """The same output by torch's own functions; `tensors` are the normalisation's, weight and bias."""
        *of_norm, weight, bias = tensors
        x = self.norm.on_torch(maps, self.sizes, *of_norm)
        return self.output.on_torch(follow_on_torch(x, True, self.max_pool), weight, bias)


class _NormalizedConvolution(Function):
    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        weight: Tensor,
        bias: Tensor,
        pooled: Tensor | None,
        argmax: Tensor | None,
        layer: _NormalizedConvolutionLayer,
    ) -> tuple[Tensor, Measured | None]:
        norm = layer.norm.numbers(norm_weight, norm_bias, mean, variance)
        read = maps if pooled is None else pooled
        to, _, measured = layer.output.convolve(read, layer.read_sizes, norm, weight, bias)
        ctx.layer = layer
        ctx.save_for_backward(maps, norm_weight, norm_bias, mean, variance, weight, bias, pooled, argmax)
        ctx.set_materialize_grads(False)
        return to, measured

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> Gradients:
        *inputs, pooled, argmax = ctx.saved_tensors
        maps, norm_weight, norm_bias, mean, variance, weight, _bias = inputs
        layer: _NormalizedConvolutionLayer = ctx.layer
        wanted = ctx.needs_input_grad[:7]
        if gradient is None:
            return (None,) * 10
        if is_left_to_torch(gradient):
            return *gradients_by_torch(layer.on_torch, inputs, gradient, wanted), None, None, None
        slope, plain = gradient.contiguous(), weight.contiguous()
        norm, read = layer.norm.numbers(norm_weight, norm_bias, mean, variance), maps if pooled is None else pooled
        to_maps = to_norm_weight = to_norm_bias = to_weight = to_bias = None
        if any(wanted[:3]):
            to, sums = new("maps", layer.read_sizes), new_floats(2, len(norm_weight))
            layer.output.layers().normalized_data_gradient(
                array(slope), array(read), layer.read_sizes, norm, array(plain),
                array(layer.output.weights_for(layer.read_sizes, back=True)), array(to), array(sums),
            )  # fmt: skip
            to_norm_bias, to_norm_weight = sums
        if wanted[0]:
            # In place where nothing was pooled: no one else has seen it.
            to_maps = to if pooled is None else new("maps", layer.sizes)
            kernels.layers().batch_norm_gradient(
                array(maps), layer.sizes, layer.norm.constants(mean, variance), array(norm_weight.contiguous()),
                array(layer.norm.passed_on(sums)), array(to), array(argmax), array(to_maps),
            )  # fmt: skip
        if any(wanted[5:]):
            to_weight, to_bias = layer.output.weight_gradients(read, layer.read_sizes, norm, slope, None, plain)
        found = to_maps, to_norm_weight, to_norm_bias, None, None, to_weight, to_bias
        return *(one if want else None for one, want in zip(found, wanted, strict=True)), None, None, None
