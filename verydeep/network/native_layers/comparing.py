"""What perceptual losses compare: unit vectors at each place, and Gram matrices."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from verydeep.network.native_layers import kernels
from verydeep.network.native_layers.by_torch import (
    BLOCK,
    Gradients,
    is_left_to_torch,
    masked,
    pack_by_torch,
    read_by_torch,
    unpack_by_torch,
)
from verydeep.network.native_layers.kernels import Sizes, array, new, new_floats
from verydeep.network.native_layers.maps import Maps


def distances(first: Tensor, second: Tensor, sizes: Sizes, weights: Tensor, epsilon: float) -> Tensor:
    """Weighted squared distances of unit vectors along the channels, of shape (images, height, width)."""
    images, _, height, width = sizes
    to = new_floats(images, height, width)
    arrays = array(first), array(second)
    kernels.layers().distances(*arrays, sizes, _padded(weights), epsilon, array(to.view(-1)))
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
    found = tuple(new("maps", layout.sizes) if want else None for want in wanted)
    kernels.layers().distance_gradients(
        *map(array, both), layout.sizes, _padded(weights), epsilon, array(slope.view(-1)), layout.rectified,
        *map(array, found),
    )  # fmt: skip
    return found[0], found[1]


def _padded(weights: Tensor) -> Any:
    """Weights of channels, and zeros up to whole blocks."""
    return array(F.pad(weights.detach(), (0, -len(weights) % BLOCK)))


def gram(maps: Maps) -> Tensor:
    """Products of channels, summed over the places, of shape (images, channels, channels)."""
    found: Tensor = _Gram.apply(maps.tensor, maps.sizes, maps.rectified)
    return found


class _Gram(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, sizes: Sizes, rectified: bool) -> Tensor:
        images, channels, _, _ = sizes
        to = new_floats(images, channels, channels)
        kernels.layers().gram_matrices(array(maps), sizes, array(to.view(-1)))
        ctx.sizes, ctx.rectified = sizes, rectified
        ctx.save_for_backward(maps)
        return to

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        (maps,) = ctx.saved_tensors
        slope = gradient + gradient.transpose(1, 2)
        if is_left_to_torch(gradient):
            rows = unpack_by_torch(read_by_torch(maps, ctx.rectified), ctx.sizes, False).flatten(2)
            found = (slope @ rows).view(ctx.sizes)
            packed = pack_by_torch(found, ctx.sizes, False)
            return masked(packed, maps) if ctx.rectified else packed, None, None
        to = new("maps", ctx.sizes)
        flat = array(slope.contiguous().view(-1))
        kernels.layers().gram_gradient(array(maps), ctx.sizes, flat, ctx.rectified, array(to))
        return to, None, None
