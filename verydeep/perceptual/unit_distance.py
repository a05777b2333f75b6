"""How far unit vectors are apart at each place of two maps, which LPIPS sums up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from verydeep.feature_layers import LPIPS_EPSILON
from verydeep.network import native_layers
from verydeep.network.derivatives import has_tangent, is_recorded, is_transformed
from verydeep.network.forward import plain
from verydeep.network.native_layers import Maps
from verydeep.perceptual.pair import Tap, wide

PIECE = 1 << 16  # numbers that are worked on at a time


def unit_distance(first: Tap, second: Tap, weights: Tensor) -> Tensor:
    """Weighted squared distance of unit vectors along the channels, at each place.

    Args:
        first: of shape (batch, channels, rows, columns), or the kernels' maps.
        second: of the same kind and shape.
        weights: of the channels.

    Returns:
        Of shape (batch, rows, columns).

    """
    trained = torch.is_grad_enabled() and weights.requires_grad
    if isinstance(first, Maps) and isinstance(second, Maps) and native_layers.takes(weights) and not trained:
        return _MapsDistance.apply(first.tensor, second.tensor, weights, first)  # type: ignore[no-any-return]
    return _tensor_distance(wide(plain(first)), wide(plain(second)), weights)


def _tensor_distance(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    tensors = (first, second, weights.to(first))
    if is_recorded() or is_transformed() or any(map(has_tangent, tensors)):
        return _plain_distance(*tensors)
    return _UnitDistance.apply(*tensors)  # type: ignore[no-any-return]


class _MapsDistance(torch.autograd.Function):
    """`unit_distance` of the kernels' maps. `layout` says what is where, in both."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, weights: Tensor, layout: Maps) -> Tensor:
        ctx.layout = layout
        ctx.save_for_backward(first, second, weights)
        return native_layers.distances(first, second, layout.sizes, weights, LPIPS_EPSILON)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        first, second, weights = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:2]
        if not (torch.is_grad_enabled() or is_transformed(slope)):
            found = native_layers.distance_gradients(
                (first, second), wanted, ctx.layout, weights, LPIPS_EPSILON, slope.contiguous()
            )
            return *found, None, None
        with torch.enable_grad():
            read = [native_layers.read_by_torch(one, ctx.layout.rectified) for one in (first, second)]
            maps = [native_layers.unpack_by_torch(one, ctx.layout.sizes, False) for one in read]
            distance = _plain_distance(maps[0], maps[1], weights)
            asked = [one for one, want in zip((first, second), wanted, strict=True) if want]
            gradients = iter(torch.autograd.grad(distance, asked, slope, create_graph=True))
        return *(next(gradients) if want else None for want in wanted), None, None


class _UnitDistance(torch.autograd.Function):
    """`unit_distance` and its gradient, written out, and a piece that the processor's cache holds at a time.

    The maps alone are kept for the gradient, and none of the six of their size on the way is made. The gradient is
    0 where a vector is 0, whose length has no slope. A gradient of the gradient goes through the plain formula.
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(first, second, weights)
        batch, _, rows, columns = first.shape
        distances = first.new_empty(batch, rows * columns)
        for number, piece in _pieces(first):
            u, v = (_unit(maps[number].flatten(1)[:, piece])[0] for maps in (first, second))
            distances[number, piece] = weights @ u.sub_(v).square_()
        return distances.view(batch, rows, columns)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad
        first, second, weights = tensors
        if torch.is_grad_enabled() or is_transformed(slope):  # create_graph=True, is_grads_batched=True
            found = _plain_gradients(first, second, weights, slope)
            return tuple(gradient if want else None for gradient, want in zip(found, wanted, strict=True))
        gradients = [_like(first), _like(second), torch.zeros_like(weights)]
        slope = slope.flatten(1)
        for number, piece in _pieces(first):
            units = [_unit(maps[number].flatten(1)[:, piece]) for maps in (first, second)]
            difference = units[0][0] - units[1][0]
            if wanted[2]:
                gradients[2] += difference.square() @ slope[number, piece]
            toward = difference.mul_(weights[:, None]).mul_(2 * slope[number, piece])
            for gradient, want, sign, (unit, length) in zip(gradients, wanted, (1, -1), units, strict=False):
                if want:
                    # unit * ratio is the vector over its length; where that is 0, so is it.
                    ratio = torch.where(length > 0, (length + LPIPS_EPSILON) / length, 0)
                    along = (toward * unit).sum(0) * ratio
                    rest = torch.addcmul(toward, unit, along, value=-1).mul_(sign / (length + LPIPS_EPSILON))
                    gradient[number].view(len(rest), -1)[:, piece] = rest
        return tuple(gradient if want else None for gradient, want in zip(gradients, wanted, strict=True))


def _plain_distance(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """The same distance, of operations that have derivatives of any order and kind, 0 where a vector is 0.

    NaN where squares overflow, as in `_unit`.
    """
    return (weights[:, None, None] * _plain_squares(first, second)).sum(1)


def _plain_squares(first: Tensor, second: Tensor) -> Tensor:
    """Squared differences of the unit vectors, of the maps' shape."""

    def unit(maps: Tensor) -> Tensor:
        squares = maps.square().sum(1, keepdim=True)
        length = torch.where(squares > 0, squares, 1).sqrt()
        inverse = torch.where(squares > 0, 1 / (length + LPIPS_EPSILON), 0)
        return maps * torch.where(squares.isinf(), torch.nan, inverse)

    return (unit(first) - unit(second)).square()


def _plain_gradients(first: Tensor, second: Tensor, weights: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
    """Gradients of `_plain_distance`, a place of which depends on the vectors of this place alone."""

    def distance(first: Tensor, second: Tensor) -> Tensor:
        return _plain_distance(first, second, weights)

    pull = torch.func.vjp(distance, first, second)[1]
    by_maps = [slope[:, None] * gradient for gradient in pull(torch.ones_like(first[:, 0]))]
    return *by_maps, (slope[:, None] * _plain_squares(first, second)).sum((0, 2, 3))


def _like(maps: Tensor) -> Tensor:
    """Room for a gradient, laid out as the maps are, so that rows and columns can be seen as one."""
    layout = torch.contiguous_format if maps.is_contiguous() else torch.channels_last
    return torch.empty_like(maps, memory_format=layout)


def _pieces(maps: Tensor) -> Iterator[tuple[int, slice]]:
    """Images of a batch, and some places of each."""
    places = maps.shape[2] * maps.shape[3]
    size = max(1, PIECE // maps.shape[1]) if maps.device.type == "cpu" else places
    for number in range(len(maps)):
        for start in range(0, places, size):
            yield number, slice(start, start + size)


def _unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors along the channels over their lengths, and these lengths: of shape (channels, n) and (n,).

    Where the squares overflow they are NaN; zeros would look like no difference at all.
    """
    length = torch.linalg.vector_norm(vectors, dim=0)
    return vectors * torch.where(length.isinf(), torch.nan, 1 / (length + LPIPS_EPSILON)), length
