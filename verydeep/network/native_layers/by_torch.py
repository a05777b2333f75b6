"""The same as the kernels do by torch's own functions, for gradients that have gradients themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from verydeep.network.derivatives import is_transformed
from verydeep.network.native_layers.kernels import Sizes, sizes_of

Gradients = tuple[Tensor | None, ...]

BLOCK, TILE = 16, 4  # channels that lie side by side, and what a map's sides are rounded up to
BORDERED_SLACK = 64  # numbers behind bordered images


def is_left_to_torch(gradient: Tensor) -> bool:
    """Whether a gradient is differentiated or batched itself, which is left to torch."""
    return torch.is_grad_enabled() or is_transformed(gradient)


def gradients_by_torch(
    on_torch: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    gradient: Tensor,
    wanted: Sequence[bool],
) -> Gradients:
    """Gradients of a layer that have gradients themselves; `on_torch` gives its output of these inputs.

    They end at aliases of the inputs: a parameter may be both an input and what another one was computed of.
    """
    with torch.enable_grad():
        inputs = [one.view_as(one) for one in inputs]
        found = on_torch(*inputs)
        sizes = sizes_of(found)
        slope = unpack_by_torch(gradient, sizes, False)
        asked = [one for one, want in zip(inputs, wanted, strict=True) if want]
        gradients = iter(torch.autograd.grad(found, asked, slope, create_graph=True))
    return tuple(next(gradients) if want else None for want in wanted)


def follow_on_torch(x: Tensor, relu: bool, max_pool: bool) -> Tensor:
    """What follows a layer, where it does."""
    x = F.relu(x) if relu else x
    return F.max_pool2d(x, 2) if max_pool else x


def _laid_out(sizes: Sizes, bordered: bool) -> tuple[tuple[int, ...], int, int]:
    """Shape of maps as the kernels lay them out, and their rows and columns with the border."""
    images, channels, height, width = sizes
    if bordered:
        return (images, height + 2, width + 2, channels), height + 2, width + 2
    rows, columns = (-(-side // TILE) * TILE + 2 for side in (height, width))
    return (images, -(-channels // BLOCK), rows, columns, BLOCK), rows, columns


def unpack_by_torch(maps: Tensor, sizes: Sizes, bordered: bool) -> Tensor:
    """The same as `unpacked`, of operations that torch can differentiate and batch."""
    shape, _, _ = _laid_out(sizes, bordered)
    _, channels, height, width = sizes
    laid_out = maps[: prod(shape)].view(shape)
    if bordered:
        return laid_out[:, 1:-1, 1:-1].permute(0, 3, 1, 2)
    inside = laid_out[:, :, 1 : height + 1, 1 : width + 1].permute(0, 1, 4, 2, 3)
    # Not a slice: torch has no rule for batches of one that takes all.
    return inside.reshape(shape[0], shape[1] * BLOCK, height, width).narrow(1, 0, channels)


def pack_by_torch(x: Tensor, sizes: Sizes, bordered: bool) -> Tensor:
    """The same as `packed`, likewise."""
    shape, rows, columns = _laid_out(sizes, bordered)
    images, channels, height, width = sizes
    x = F.pad(x, (1, columns - width - 1, 1, rows - height - 1))
    if bordered:
        return F.pad(x.permute(0, 2, 3, 1).reshape(-1), (0, BORDERED_SLACK))
    x = F.pad(x, (0, 0, 0, 0, 0, shape[1] * BLOCK - channels))
    return x.reshape(images, shape[1], BLOCK, rows, columns).permute(0, 1, 3, 4, 2).reshape(-1)


def read_by_torch(maps: Tensor, rectified: bool) -> Tensor:
    """Maps as torch's operations read them: a ReLU changes rectified maps no more, and masks their gradient."""
    return F.relu(maps) if rectified else maps


def masked(gradient: Tensor, seen: Tensor) -> Tensor:
    """A gradient behind the ReLU that gave `seen`."""
    return gradient.masked_fill(seen.detach() <= 0, 0)
