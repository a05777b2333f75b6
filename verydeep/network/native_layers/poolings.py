"""2x2 poolings that are not computed with the layer before them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from verydeep.network.derivatives import is_transformed
from verydeep.network.native_layers import kernels
from verydeep.network.native_layers.by_torch import (
    Gradients,
    is_left_to_torch,
    masked,
    pack_by_torch,
    unpack_by_torch,
)
from verydeep.network.native_layers.kernels import Sizes, array, half, new, new_floats
from verydeep.network.native_layers.maps import Maps, packed


def max_pool(maps: Maps) -> tuple[Maps, Maps]:
    """The greatest of 2x2 places, and the maps themselves for other readers.

    Where others read what is handed on here, their gradient and that of the pooling are added up in one place.
    """
    pooled, tensor = _MaxPool.apply(maps.tensor, maps.sizes)
    return Maps(pooled, half(maps.sizes), rectified=maps.rectified), replace(maps, tensor=tensor)


def average_pool(maps: Maps) -> Maps:
    """The mean of 2x2 places."""
    tensor = _AveragePool.apply(maps.tensor, maps.sizes, maps.rectified)
    return Maps(tensor, half(maps.sizes))


class _MaxPool(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
        to, argmax = new("maps", half(sizes)), new("argmax", half(sizes))
        kernels.layers().max_pool(array(maps), sizes, array(to), array(argmax))
        ctx.sizes = sizes
        ctx.save_for_backward(argmax)
        ctx.set_materialize_grads(False)
        return to, maps.view_as(maps)

    @staticmethod
    def backward(ctx: Any, pooled: Tensor | None, maps: Tensor | None) -> Gradients:
        (argmax,) = ctx.saved_tensors
        if pooled is None:
            return maps, None
        if is_left_to_torch(pooled) or (maps is not None and is_transformed(maps)):
            found = _max_pool_gradient_by_torch(pooled, argmax, ctx.sizes)
            return found if maps is None else found + maps, None
        if maps is None:
            maps = new("maps", ctx.sizes)
            kernels.layers().max_pool_gradient(
                array(pooled.contiguous()), array(argmax), ctx.sizes, array(maps), False
            )
            return maps, None
        # In place: gradients at maps are seen by these functions alone.
        kernels.layers().max_pool_gradient(array(pooled.contiguous()), array(argmax), ctx.sizes, array(maps), True)
        return maps, None


def _max_pool_gradient_by_torch(gradient: Tensor, argmax: Tensor, sizes: Sizes) -> Tensor:
    """A pooled gradient in the places that were the greatest, which `_spread` marks."""
    pooled = half(sizes)
    chosen = new("maps", sizes)
    ones = packed(new_floats(*pooled).fill_(1), pooled, False)
    kernels.layers().max_pool_gradient(array(ones), array(argmax), sizes, array(chosen), False)
    return pack_by_torch(_spread(unpack_by_torch(gradient, pooled, False), sizes), sizes, False) * chosen


def _spread(pooled: Tensor, sizes: Sizes) -> Tensor:
    """A number for all four places that were pooled to one, and 0 where none was."""
    _, _, height, width = sizes
    whole = pooled[..., :, None, :, None].expand(*pooled.shape[:3], 2, pooled.shape[3], 2)
    whole = whole.reshape(*pooled.shape[:2], height // 2 * 2, width // 2 * 2)
    return F.pad(whole, (0, width % 2, 0, height % 2))


class _AveragePool(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, sizes: Sizes, rectified: bool) -> Tensor:
        to = new("maps", half(sizes))
        kernels.layers().average_pool(array(maps), sizes, array(to))
        ctx.sizes = sizes
        ctx.save_for_backward(maps if rectified else None)
        return to

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        (seen,) = ctx.saved_tensors
        if is_left_to_torch(gradient):
            pooled = unpack_by_torch(gradient, half(ctx.sizes), False)
            found = pack_by_torch(_spread(pooled / 4, ctx.sizes), ctx.sizes, False)
            return found if seen is None else masked(found, seen), None, None
        to = new("maps", ctx.sizes)
        kernels.layers().average_pool_gradient(array(gradient.contiguous()), ctx.sizes, array(seen), array(to))
        return to, None, None
