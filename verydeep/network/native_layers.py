"""Layers on our own kernels, with gradients: what `Network.run` takes in the place of torch's on a processor.

Between these layers pass *maps*: 1-D tensors that hold activations in the kernels' own layout, blocks of 16
channels with a border of zeros. Only the functions here know what is where. Weights, gradients of weights and
images are plain tensors.

The gradient at maps. A convolution with a ReLU gives maps that are `rectified`. Whoever reads rectified maps makes
the gradient at them 0 where they are not above 0, which is the ReLU's own gradient: so the layer that made them
need not keep them. Masking is linear, so gradients from several readers may be added up.

Derivatives of gradients (`create_graph=True`) are computed by torch, layer by layer, from the same inputs.
docs/explanation/gradients.md tells how the kernels work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import Parameter
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from verydeep.network.derivatives import has_tangent, is_foreign, is_recorded, is_transformed
from verydeep.network.together import BatchNorm, normalize_by_batch
from verydeep.processor import has_bfloat16, instruction_set, native_module

Sizes = tuple[int, int, int, int]  # images, channels, height, width
Gradients = tuple[Tensor | None, ...]
Precision = Literal["float32", "bfloat16"]
Transformed = Callable[[Sizes, bool, Precision], Tensor | None]
"""Gives a convolution's transformed weights for an input of these sizes; or, where true, for its gradient."""

BLOCK, TILE = 16, 4  # channels that lie side by side, and what a map's sides are rounded up to
BORDERED_SLACK = 64  # numbers behind bordered images


@dataclass(frozen=True)
class Maps:
    """Activations in the kernels' layout.

    Attributes:
        tensor: 1-D, opaque.
        sizes: images, channels, height and width.
        rectified: whether they come out of a ReLU, and readers mask the gradient.
        bordered: whether they are images of three channels, as the first convolution reads them.

    """

    tensor: Tensor
    sizes: Sizes
    rectified: bool = False
    bordered: bool = False

    def relu(self) -> Maps:
        """Maps after a ReLU."""
        return replace(self, tensor=F.relu(self.tensor), rectified=True)


def pack(x: Tensor, *, bordered: bool = False) -> Maps:
    """Bring a tensor of shape (images, channels, height, width) into the kernels' layout."""
    sizes, x = _sizes(x), x.float()  # under autocast other layers give bfloat16
    return Maps(_Pack.apply(x, sizes, bordered), sizes, bordered=bordered)


def unpack(maps: Maps) -> Tensor:
    """Give maps as a plain tensor of shape (images, channels, height, width), channels last in memory."""
    found: Tensor = _Unpack.apply(maps.tensor, maps.sizes, maps.bordered, maps.rectified)
    return found


def convolve(
    maps: Maps,
    weight: Tensor,
    bias: Tensor,
    *,
    relu: bool,
    max_pool: bool = False,
    transformed: Transformed | None = None,
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

    """
    precision: Precision = "bfloat16" if torch.is_autocast_enabled("cpu") else "float32"
    layer = _ConvolutionLayer(maps.sizes, relu, max_pool, maps.rectified, maps.bordered, transformed, precision)
    tensor = _Convolution.apply(maps.tensor, weight, bias, layer)
    return Maps(tensor, layer.output_sizes(len(weight)), rectified=relu)


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


def statistics(maps: Maps) -> tuple[int, Tensor, Tensor]:
    """How many numbers each channel has, their mean, and the sum of their squared deviations from it."""
    images, channels, height, width = maps.sizes
    to = torch.empty(2, channels)
    _layers().channel_statistics(_array(maps.tensor), maps.sizes, _array(to))
    return images * height * width, to[0], to[1]


def batch_norm(
    maps: Maps,
    weight: Tensor,
    bias: Tensor,
    statistics: Statistics,
    *,
    eps: float,
    relu: bool,
    max_pool: bool = False,
) -> Maps:
    """Batch normalisation, and what follows it.

    Args:
        maps: its input, not rectified.
        weight: factors, of shape (channels,).
        bias: what is added, likewise.
        statistics: the batch's, through which gradients go, or constants.
        eps: added to the variance.
        relu: whether a ReLU follows.
        max_pool: whether a 2x2 max-pooling follows that.

    """
    layer = _BatchNormLayer(maps.sizes, relu, max_pool, eps, statistics)
    tensor = _BatchNorm.apply(maps.tensor, weight, bias, layer)
    return Maps(tensor, layer.output_sizes(len(weight)), rectified=relu)


def max_pool(maps: Maps) -> tuple[Maps, Maps]:
    """The greatest of 2x2 places, and the maps themselves for other readers.

    Where others read what is handed on here, their gradient and that of the pooling are added up in one place.
    """
    images, channels, height, width = maps.sizes
    pooled, tensor = _MaxPool.apply(maps.tensor, maps.sizes)
    sizes = images, channels, height // 2, width // 2
    return Maps(pooled, sizes, rectified=maps.rectified), replace(maps, tensor=tensor)


def average_pool(maps: Maps) -> Maps:
    """The mean of 2x2 places."""
    images, channels, height, width = maps.sizes
    tensor = _AveragePool.apply(maps.tensor, maps.sizes, maps.rectified)
    return Maps(tensor, (images, channels, height // 2, width // 2))


def distances(first: Tensor, second: Tensor, sizes: Sizes, weights: Tensor, epsilon: float) -> Tensor:
    """Weighted squared distances of unit vectors along the channels, of shape (images, height, width)."""
    images, _, height, width = sizes
    to = torch.empty(images, height, width)
    arrays = _array(first), _array(second)
    _layers().distances(*arrays, sizes, _padded(weights), epsilon, _array(to.view(-1)))
    return to


def distance_gradients(
    both: tuple[Tensor, Tensor],
    wanted: tuple[bool, bool],
    layout: Maps,
    weights: Tensor,
    epsilon: float,
    slope: Tensor,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of `distances` at the maps, where they are wanted."""
    found = tuple(_new("maps", layout.sizes) if want else None for want in wanted)
    _layers().distance_gradients(
        *map(_array, both), layout.sizes, _padded(weights), epsilon, _array(slope.view(-1)), layout.rectified,
        *map(_array, found),
    )  # fmt: skip
    return found[0], found[1]


def gram(maps: Maps) -> Tensor:
    """Products of channels, summed over the places, of shape (images, channels, channels)."""
    found: Tensor = _Gram.apply(maps.tensor, maps.sizes, maps.rectified)
    return found


def _padded(weights: Tensor) -> Any:
    """Weights of channels, and zeros up to whole blocks."""
    return _array(F.pad(weights.detach(), (0, -len(weights) % BLOCK)))


def transform(weight: Tensor, sizes: Sizes, back: bool, precision: Precision) -> Tensor:
    """Transform weights once for many calls of `convolve` with an input of these sizes; or for their gradients."""
    return torch.from_numpy(_layers(precision).transform(_array(weight.contiguous()), sizes, back))


def takes(x: Tensor) -> bool:
    """Whether the kernels can compute with a tensor here and now: on the CPU, in float32, with plain autograd.

    All else runs on torch: `torch.compile`, tracing, transforms of `torch.func`, forward-mode derivatives,
    tensor subclasses, other devices and types; and autocast, unless it is to a type that the kernels multiply.
    """
    return native_module() is not None and not is_recorded() and _takes_autocast() and _is_plain(x)


def _takes_autocast() -> bool:
    """Whether there is no autocast, or one to bfloat16, which the kernels multiply here."""
    if not torch.is_autocast_enabled("cpu"):
        return True
    native = native_module()
    return native is not None and torch.get_autocast_dtype("cpu") == torch.bfloat16 and has_bfloat16(native)


def _is_plain(x: Any) -> bool:
    """Whether a tensor is one of numbers that the kernels can read."""
    return (
        type(x) in (Tensor, Parameter)
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.layout == torch.strided
        and not is_transformed(x)
        and not has_tangent(x)
        and not is_foreign(x)
    )


def takes_module(module: nn.Module) -> bool:
    """Whether a module is a 3x3 convolution and nothing more: no hook, no parametrisation, no other forward.

    Its input is one that the kernels take.
    """
    if not isinstance(module, nn.Conv2d) or type(module).forward is not nn.Conv2d.forward:
        return False
    if "forward" in vars(module) or _has_hooks(module) or module.bias is None:
        return False
    plain = (module.kernel_size, module.stride, module.padding, module.dilation, module.groups)
    if plain != ((3, 3), (1, 1), (1, 1), (1, 1), 1) or module.padding_mode != "zeros":
        return False
    return _is_plain(module.weight) and _is_plain(module.bias)


def takes_linear(module: nn.Conv2d, x: Tensor) -> bool:
    """Whether `linear` can compute a module that is a fully connected layer, of this input."""
    return takes(x.float()) and module.bias is not None and _is_plain(module.weight) and _is_plain(module.bias)


def takes_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a batch normalisation with running statistics and nothing more; likewise."""
    if not isinstance(module, nn.BatchNorm2d) or "forward" in vars(module) or _has_hooks(module):
        return False
    if type(module).forward not in (nn.BatchNorm2d.forward, BatchNorm.forward):
        return False
    tensors = module.weight, module.bias, module.running_mean, module.running_var
    return module.momentum is not None and all(map(_is_plain, tensors))


def _has_hooks(module: nn.Module) -> bool:
    return _has_any_global_hook() or any(  # type: ignore[no-untyped-call]
        (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    )


@lru_cache
def _layers_on(threads: int, precision: Precision) -> Any:
    native = native_module()
    assert native is not None
    return native.Layers(instructions=instruction_set(native), threads=threads, precision=precision)


def _layers(precision: Precision = "float32") -> Any:
    return _layers_on(torch.get_num_threads(), precision)


def _sizes(x: Tensor) -> Sizes:
    images, channels, height, width = x.shape
    return images, channels, height, width


def _new(kind: str, sizes: Sizes) -> Tensor:
    return torch.from_numpy(getattr(native_module(), kind)(sizes))


def _new_numbers(like: Tensor) -> Tensor:
    """Memory for the gradient at a tensor."""
    module = native_module()
    assert module is not None
    return torch.from_numpy(module.numbers(like.numel())).view(like.shape)


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().numpy()


def _pack(x: Tensor, sizes: Sizes, bordered: bool, seen: Tensor | None = None) -> Tensor:
    to = _new("bordered_images" if bordered else "maps", sizes)
    if bordered:
        _layers().pack_images(_array(x), sizes, _array(to))
    else:
        _layers().pack(_array(x), sizes, _array(to), _array(seen))
    return to


def _unpack(maps: Tensor, sizes: Sizes, bordered: bool) -> Tensor:
    x = torch.empty(sizes, memory_format=torch.channels_last)
    unpack_maps = _layers().unpack_images if bordered else _layers().unpack
    unpack_maps(_array(maps.contiguous()), sizes, _array(x))
    return x


def _by_torch(gradient: Tensor) -> bool:
    """Whether a gradient is differentiated or batched itself, which is left to torch."""
    return torch.is_grad_enabled() or is_transformed(gradient)


def _laid_out(sizes: Sizes, bordered: bool) -> tuple[tuple[int, ...], int, int]:
    """Shape of maps as the kernels lay them out, and their rows and columns with the border."""
    images, channels, height, width = sizes
    if bordered:
        return (images, height + 2, width + 2, channels), height + 2, width + 2
    rows, columns = (-(-side // TILE) * TILE + 2 for side in (height, width))
    return (images, -(-channels // BLOCK), rows, columns, BLOCK), rows, columns


def unpack_by_torch(maps: Tensor, sizes: Sizes, bordered: bool) -> Tensor:
    """The same as `_unpack`, of operations that torch can differentiate and batch."""
    shape, _, _ = _laid_out(sizes, bordered)
    _, channels, height, width = sizes
    laid_out = maps[: prod(shape)].view(shape)
    if bordered:
        return laid_out[:, 1:-1, 1:-1].permute(0, 3, 1, 2)
    inside = laid_out[:, :, 1 : height + 1, 1 : width + 1].permute(0, 1, 4, 2, 3)
    return inside.reshape(shape[0], shape[1] * BLOCK, height, width)[:, :channels]


def _pack_by_torch(x: Tensor, sizes: Sizes, bordered: bool) -> Tensor:
    """The same as `_pack`."""
    shape, rows, columns = _laid_out(sizes, bordered)
    images, channels, height, width = sizes
    x = F.pad(x, (1, columns - width - 1, 1, rows - height - 1))
    if bordered:
        return F.pad(x.permute(0, 2, 3, 1).reshape(-1), (0, BORDERED_SLACK))
    x = F.pad(x, (0, 0, 0, 0, 0, shape[1] * BLOCK - channels))
    return x.reshape(images, shape[1], BLOCK, rows, columns).permute(0, 1, 3, 4, 2).reshape(-1)


class _Pack(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: Sizes, bordered: bool) -> Tensor:
        ctx.sizes, ctx.bordered = sizes, bordered
        return _pack(x, sizes, bordered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        if _by_torch(gradient):
            return unpack_by_torch(gradient, ctx.sizes, ctx.bordered), None, None
        return _unpack(gradient, ctx.sizes, ctx.bordered), None, None


class _Unpack(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, sizes: Sizes, bordered: bool, rectified: bool) -> Tensor:
        ctx.sizes, ctx.bordered = sizes, bordered
        ctx.save_for_backward(maps if rectified else None)
        return _unpack(maps, sizes, bordered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        (seen,) = ctx.saved_tensors
        if not _by_torch(gradient):
            return _pack(gradient, ctx.sizes, ctx.bordered, seen), None, None, None
        found = _pack_by_torch(gradient, ctx.sizes, ctx.bordered)
        return found if seen is None else _masked(found, seen), None, None, None


@dataclass(frozen=True)
class _Layer:
    """What a layer with weights is beside these."""

    sizes: Sizes  # of its input
    relu: bool
    max_pool: bool

    def output_sizes(self, channels: int) -> Sizes:
        images, _, height, width = self.sizes
        return (images, channels, height // 2, width // 2) if self.max_pool else (images, channels, height, width)

    def on_torch(self, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The same output by torch's own functions."""
        x = self.weighted_on_torch(maps, weight, bias)
        x = F.relu(x) if self.relu else x
        return F.max_pool2d(x, 2) if self.max_pool else x

    def weighted_on_torch(self, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class _ConvolutionLayer(_Layer):
    """A convolution. `rectified` and `bordered` are those of its input, `precision` is that of its products."""

    rectified: bool
    bordered: bool
    transformed: Transformed | None
    precision: Precision

    def weights_for(self, back: bool) -> Tensor | None:
        """Its transformed weights, where they are kept; or, where true, those of the gradient at its input."""
        return self.transformed(self.sizes, back, self.precision) if self.transformed else None

    def weighted_on_torch(self, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = unpack_by_torch(read_by_torch(maps, self.rectified), self.sizes, self.bordered)
        return F.conv2d(x, weight, bias, padding=1)


@dataclass(frozen=True)
class _BatchNormLayer(_Layer):
    """A batch normalisation."""

    eps: float
    statistics: Statistics

    def numbers(self) -> Any:
        """The statistics as the kernels take them."""
        given = self.statistics
        return _array(given.mean.contiguous()), _array(given.variance.contiguous()), self.eps

    def weighted_on_torch(self, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, given = unpack_by_torch(maps, self.sizes, False), self.statistics
        if given.count is None:
            return F.batch_norm(x, given.mean, given.variance, weight, bias, eps=self.eps)
        return normalize_by_batch(x, weight, bias, self.eps, given.sum_over_processes)[0]


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, layer: _ConvolutionLayer) -> Tensor:
        sizes = layer.output_sizes(len(weight))
        to = _new("maps", sizes)
        argmax = _new("argmax", sizes) if layer.max_pool else None
        arrays = _array(weight.contiguous()), _array(bias.contiguous())
        if layer.bordered:
            _layers().convolve_images(_array(maps), layer.sizes, *arrays, layer.relu, _array(to))
        else:
            kept = _array(layer.weights_for(back=False))
            _layers(layer.precision).convolve(
                _array(maps), layer.sizes, arrays[0], kept, arrays[1], layer.relu, _array(to), _array(argmax)
            )
        ctx.layer = layer
        ctx.save_for_backward(maps, weight, bias, argmax)
        ctx.set_materialize_grads(False)
        return to

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Gradients:
        maps, weight, bias, argmax = ctx.saved_tensors
        layer: _ConvolutionLayer = ctx.layer
        if gradient is None:
            return None, None, None, None
        if _by_torch(gradient):
            return *_gradients_by_torch(layer, (maps, weight, bias), gradient, ctx.needs_input_grad[:3]), None
        slope, plain = _array(gradient.contiguous()), weight.contiguous()
        to_maps = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_maps = _new("bordered_images" if layer.bordered else "maps", layer.sizes)
            if layer.bordered:
                _layers().images_data_gradient(slope, layer.sizes, _array(plain), _array(to_maps))
            else:
                transformed = _array(layer.weights_for(back=True))
                seen = _array(maps if layer.rectified else None)
                _layers(layer.precision).data_gradient(
                    slope, _array(argmax), layer.sizes, _array(plain), transformed, seen, _array(to_maps)
                )
        if any(ctx.needs_input_grad[1:3]):
            to_weight, to_bias = _new_numbers(plain), torch.empty_like(bias)
            arrays = _array(to_weight), _array(to_bias)
            if layer.bordered:
                _layers().images_weight_gradient(_array(maps), layer.sizes, slope, *arrays)
            else:
                _layers(layer.precision).weight_gradient(_array(maps), layer.sizes, slope, _array(argmax), *arrays)
        wanted = ctx.needs_input_grad
        return to_maps, to_weight if wanted[1] else None, to_bias if wanted[2] else None, None


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
                to = None if _by_torch(gradient) else _new_numbers(weight)
                to_weight = torch.mm(gradient.t(), x, out=to)
            to_x = gradient.mm(weight) if wanted[0] else None
            return to_x, to_weight, gradient.sum(0) if wanted[2] else None


class _BatchNorm(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, layer: _BatchNormLayer) -> Tensor:
        sizes = layer.output_sizes(len(weight))
        to = _new("maps", sizes)
        argmax = _new("argmax", sizes) if layer.max_pool else None
        _layers().batch_norm(
            _array(maps), layer.sizes, layer.numbers(), _array(weight.contiguous()), _array(bias.contiguous()),
            layer.relu, _array(to), _array(argmax),
        )  # fmt: skip
        ctx.layer = layer
        ctx.save_for_backward(maps, weight, bias, argmax)
        ctx.set_materialize_grads(False)
        return to

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Gradients:
        maps, weight, bias, argmax = ctx.saved_tensors
        layer: _BatchNormLayer = ctx.layer
        if gradient is None:
            return None, None, None, None
        if _by_torch(gradient):
            return *_gradients_by_torch(layer, (maps, weight, bias), gradient, ctx.needs_input_grad[:3]), None
        given, wanted = layer.statistics, ctx.needs_input_grad
        arrays = _array(maps), layer.sizes, layer.numbers()
        slope = _array(gradient.contiguous()), _array(argmax)
        sums = torch.zeros(2, len(weight))  # the gradients of bias and weight
        if given.count is not None or any(wanted[1:3]):
            _layers().batch_norm_sums(*arrays, *slope, _array(sums))
        to_maps = None
        if wanted[0]:
            # What the batch's statistics pass on; nothing where they are constants.
            means = torch.zeros_like(sums)
            if given.count is not None:
                whole = given.sum_over_processes(sums) if given.sum_over_processes else sums
                means = whole / given.count
            to_maps = _new("maps", layer.sizes)
            _layers().batch_norm_gradient(
                *arrays, _array(weight.contiguous()), _array(means), *slope, _array(to_maps)
            )
        return to_maps, sums[1] if wanted[1] else None, sums[0] if wanted[2] else None, None


def _gradients_by_torch(
    layer: _Layer, inputs: tuple[Tensor, Tensor, Tensor], gradient: Tensor, wanted: tuple[bool, ...]
) -> Gradients:
    """Gradients of a layer that have gradients themselves."""
    with torch.enable_grad():
        found = layer.on_torch(*inputs)
        sizes = _sizes(found)
        slope = unpack_by_torch(gradient, sizes, False)
        asked = [one for one, want in zip(inputs, wanted, strict=True) if want]
        gradients = iter(torch.autograd.grad(found, asked, slope, create_graph=True))
    return tuple(next(gradients) if want else None for want in wanted)


def read_by_torch(maps: Tensor, rectified: bool) -> Tensor:
    """Maps as torch's operations read them: a ReLU changes rectified maps no more, and masks their gradient."""
    return F.relu(maps) if rectified else maps


def _masked(gradient: Tensor, seen: Tensor) -> Tensor:
    """A gradient behind the ReLU that gave `seen`."""
    return gradient.masked_fill(seen.detach() <= 0, 0)


class _MaxPool(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
        images, channels, height, width = sizes
        pooled = (images, channels, height // 2, width // 2)
        to, argmax = _new("maps", pooled), _new("argmax", pooled)
        _layers().max_pool(_array(maps), sizes, _array(to), _array(argmax))
        ctx.sizes = sizes
        ctx.save_for_backward(argmax)
        ctx.set_materialize_grads(False)
        return to, maps.view_as(maps)

    @staticmethod
    def backward(ctx: Any, pooled: Tensor | None, maps: Tensor | None) -> Gradients:
        (argmax,) = ctx.saved_tensors
        if pooled is None:
            return maps, None
        if _by_torch(pooled) or (maps is not None and is_transformed(maps)):
            found = _max_pool_gradient_by_torch(pooled, argmax, ctx.sizes)
            return found if maps is None else found + maps, None
        if maps is None:
            maps = _new("maps", ctx.sizes)
            _layers().max_pool_gradient(
                _array(pooled.contiguous()), _array(argmax), ctx.sizes, _array(maps), False
            )
            return maps, None
        # In place: gradients at maps are seen by these functions alone.
        _layers().max_pool_gradient(_array(pooled.contiguous()), _array(argmax), ctx.sizes, _array(maps), True)
        return maps, None


def _max_pool_gradient_by_torch(gradient: Tensor, argmax: Tensor, sizes: Sizes) -> Tensor:
    """A pooled gradient in the places that were the greatest, which `_spread` marks."""
    images, channels, height, width = sizes
    pooled = (images, channels, height // 2, width // 2)
    chosen = _new("maps", sizes)
    ones = _pack(torch.ones(pooled), pooled, False)
    _layers().max_pool_gradient(_array(ones), _array(argmax), sizes, _array(chosen), False)
    return _pack_by_torch(_spread(unpack_by_torch(gradient, pooled, False), sizes), sizes, False) * chosen


def _spread(pooled: Tensor, sizes: Sizes) -> Tensor:
    """A number for all four places that were pooled to one, and 0 where none was."""
    _, _, height, width = sizes
    whole = pooled[..., :, None, :, None].expand(*pooled.shape[:3], 2, pooled.shape[3], 2)
    whole = whole.reshape(*pooled.shape[:2], height // 2 * 2, width // 2 * 2)
    return F.pad(whole, (0, width % 2, 0, height % 2))


class _AveragePool(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, sizes: Sizes, rectified: bool) -> Tensor:
        images, channels, height, width = sizes
        to = _new("maps", (images, channels, height // 2, width // 2))
        _layers().average_pool(_array(maps), sizes, _array(to))
        ctx.sizes = sizes
        ctx.save_for_backward(maps if rectified else None)
        return to

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        (seen,) = ctx.saved_tensors
        images, channels, height, width = ctx.sizes
        if _by_torch(gradient):
            pooled = unpack_by_torch(gradient, (images, channels, height // 2, width // 2), False)
            found = _pack_by_torch(_spread(pooled / 4, ctx.sizes), ctx.sizes, False)
            return found if seen is None else _masked(found, seen), None, None
        to = _new("maps", ctx.sizes)
        _layers().average_pool_gradient(_array(gradient.contiguous()), ctx.sizes, _array(seen), _array(to))
        return to, None, None


class _Gram(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, sizes: Sizes, rectified: bool) -> Tensor:
        images, channels, _, _ = sizes
        to = torch.empty(images, channels, channels)
        _layers().gram_matrices(_array(maps), sizes, _array(to.view(-1)))
        ctx.sizes, ctx.rectified = sizes, rectified
        ctx.save_for_backward(maps)
        return to

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        (maps,) = ctx.saved_tensors
        slope = gradient + gradient.transpose(1, 2)
        if _by_torch(gradient):
            rows = unpack_by_torch(read_by_torch(maps, ctx.rectified), ctx.sizes, False).flatten(2)
            found = (slope @ rows).view(ctx.sizes)
            packed = _pack_by_torch(found, ctx.sizes, False)
            return _masked(packed, maps) if ctx.rectified else packed, None, None
        to = _new("maps", ctx.sizes)
        flat = _array(slope.contiguous().view(-1))
        _layers().gram_gradient(_array(maps), ctx.sizes, flat, ctx.rectified, _array(to))
        return to, None, None
