"""Maps: activations in the kernels' layout, how they lie, and the way in and out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from verydeep.network.native_layers import kernels
from verydeep.network.native_layers.by_torch import (
    Gradients,
    is_left_to_torch,
    masked,
    pack_by_torch,
    unpack_by_torch,
)
from verydeep.network.native_layers.kernels import Sizes, array, new, new_floats, sizes_of


@dataclass(frozen=True)
class Measured:
    """What a batch normalisation wants to know of the maps that it reads. Gradients do not go through it.

    Attributes:
        moments: of shape (2, channels): the channels' means, and the sums of the squared deviations from these.
        pooled: maps of half the size, where a ReLU and a 2x2 max-pooling follow the normalisation: of each window
            the number that is normalised to the greatest.
        argmax: which it was.

    """

    moments: Tensor
    pooled: Tensor | None = None
    argmax: Tensor | None = None


@dataclass(frozen=True)
class Maps:
    """Activations in the kernels' layout.

    Attributes:
        tensor: 1-D, opaque.
        sizes: images, channels, height and width.
        rectified: whether they come out of a ReLU, and readers mask the gradient.
        bordered: whether they are images of three channels, as the first convolution reads them.
        measured: what a batch normalisation wants to know of them, where it was asked for.

    """

    tensor: Tensor
    sizes: Sizes
    rectified: bool = False
    bordered: bool = False
    measured: Measured | None = None

    def relu(self) -> Maps:
        """Maps after a ReLU."""
        return replace(self, tensor=F.relu(self.tensor), rectified=True, measured=None)


def pack(x: Tensor, *, bordered: bool = False) -> Maps:
    """Bring a tensor of shape (images, channels, height, width) into the kernels' layout."""
    sizes, x = sizes_of(x), x.float()  # under autocast other layers give bfloat16
    return Maps(_Pack.apply(x, sizes, bordered), sizes, bordered=bordered)


def unpack(maps: Maps) -> Tensor:
    """Give maps as a plain tensor of shape (images, channels, height, width), channels last in memory."""
    found: Tensor = _Unpack.apply(maps.tensor, maps.sizes, maps.bordered, maps.rectified)
    return found


def packed(x: Tensor, sizes: Sizes, bordered: bool, seen: Tensor | None = None) -> Tensor:
    """Bring a tensor into the kernels' layout; where `seen` is given, 0 where those maps are not above 0."""
    to = new("bordered_images" if bordered else "maps", sizes)
    if bordered:
        kernels.layers().pack_images(array(x), sizes, array(to))
    else:
        kernels.layers().pack(array(x), sizes, array(to), array(seen))
    return to


def unpacked(maps: Tensor, sizes: Sizes, bordered: bool) -> Tensor:
    """The way back, channels last in memory."""
    x = new_floats(*sizes, channels_last=True)
    unpack_maps = kernels.layers().unpack_images if bordered else kernels.layers().unpack
    unpack_maps(array(maps.contiguous()), sizes, array(x))
    return x


class _Pack(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: Sizes, bordered: bool) -> Tensor:
        ctx.sizes, ctx.bordered = sizes, bordered
        return packed(x, sizes, bordered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        if is_left_to_torch(gradient):
            return unpack_by_torch(gradient, ctx.sizes, ctx.bordered), None, None
        return unpacked(gradient, ctx.sizes, ctx.bordered), None, None


class _Unpack(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, sizes: Sizes, bordered: bool, rectified: bool) -> Tensor:
        ctx.sizes, ctx.bordered = sizes, bordered
        ctx.save_for_backward(maps if rectified else None)
        return unpacked(maps, sizes, bordered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        (seen,) = ctx.saved_tensors
        if not is_left_to_torch(gradient):
            return packed(gradient, ctx.sizes, ctx.bordered, seen), None, None, None
        found = pack_by_torch(gradient, ctx.sizes, ctx.bordered)
        return found if seen is None else masked(found, seen), None, None, None
