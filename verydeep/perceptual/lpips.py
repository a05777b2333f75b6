"""LPIPS: how different two images look to people, on VGG-16.

Source: Zhang, Isola, Efros, Shechtman, Wang, The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric, arXiv 1801.03924, equation 1; and its reference package `lpips`, version 0.1 of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.arguments import checked
from verydeep.configurations import Architecture, Convolution, Pooling
from verydeep.errors import UsageError
from verydeep.network.derivatives import has_tangent, is_recorded, is_transformed, usable
from verydeep.network.ranges import Range
from verydeep.perceptual.learned import lpips_weights
from verydeep.perceptual.pair import PAIR_PIXELS, Engine, ModelLike, Options, PairLoss, Taps, wide

EPSILON = 1e-10  # the reference's
PIECE = 1 << 16  # numbers that are worked on at a time


class LPIPS(PairLoss):
    """The learned distance of two images: `sum_l mean_p sum_c w_lc (u_lcp - v_lcp)^2`.

    `u` and `v` are what the last ReLU of each of the five stages gives for the two images, divided at each place
    p by its length over the channels c. The weights w are those that the authors have fitted to people's
    judgements.

    Its numbers mean what the literature's do where the model is VGG-16 with ImageNet's weights, as torchvision
    publishes them. Unlike the reference's, its gradients are finite where a layer gives nothing but zeros.

    Args:
        model: a model on disk, one that `verydeep.load` has opened, or a `VGG`: configuration D.
        weights: the linear weights: a file of the `lpips` package or a converted one; None for those of the
            package that is installed. The package itself is not used.
        spatial: give a distance for each pixel, of shape (batch, 1, height, width), before the reduction.
        engine: `torch` never takes the native engine.
        range: least and greatest value of the images: (0, 1), (-1, 1) or (0, 255).
        options: `preprocessing`, `reduction` and `check`, as `PairLoss` has them.

    Raises:
        UsageError: an argument does not fit, or the linear weights are of another network.

    """

    native_pixels = PAIR_PIXELS  # their maps are compared within the engine, and not kept

    @torch.inference_mode(False)
    @checked
    def __init__(
        self,
        model: ModelLike,
        weights: str | PathLike[str] | None = None,
        *,
        spatial: bool = False,
        range: Range,
        engine: Engine = "auto",
        **options: Unpack[Options],
    ) -> None:
        linear = lpips_weights(weights)
        super().__init__(model, last_relus, engine=engine, range=range, **options)
        check_vgg16(self.features.architecture, "LPIPS")
        self.spatial = spatial
        layers = self.features.layers
        channels = {f"relu{one.place}": one.out_channels for one in self.features.architecture.convolutions}
        for layer, tensor in zip(layers, linear, strict=True):
            if channels[layer] != len(tensor):
                raise UsageError(
                    f"the linear weights are for {len(tensor)} channels at {layer}, which has {channels[layer]}: "
                    "they are for configuration D at full width"
                )
            self.register_parameter(layer, nn.Parameter(tensor, requires_grad=False))
        self.register_load_state_dict_pre_hook(_keep_linear_weights)  # type: ignore[no-untyped-call]

    def _weights(self) -> list[Tensor]:
        return [*super()._weights(), *self._linear().values()]

    def _linear(self) -> Taps:
        return {layer: usable(getattr(self, layer)) for layer in self.features.layers}

    def _distance(self, taps: Taps, target_taps: Taps, images: Tensor, target: Tensor) -> Tensor:
        maps = {}
        for layer, weights in self._linear().items():
            first, second = wide(taps[layer]), wide(target_taps[layer])
            maps[layer] = unit_distance(first, second, weights.to(first))
        return self._sum(maps, images)

    def _compare_natively(self, images: Tensor, target: Tensor) -> Tensor:
        maps = self._native.distances(self.features, images, target, self._linear(), epsilon=EPSILON)
        return self._sum(maps, images)

    def _sum(self, maps: Taps, images: Tensor) -> Tensor:
        """Over the layers, of means over places or of maps that are grown to the images' size."""
        if self.spatial:
            size = images.shape[2:]
            grown = [
                F.interpolate(one[:, None], size, mode="bilinear", align_corners=False) for one in maps.values()
            ]
            return torch.stack(grown).sum(0)
        return torch.stack([one.mean((1, 2)) for one in maps.values()]).sum(0)


def check_vgg16(architecture: Architecture, loss: str) -> None:
    """Make sure that a network is of the kind whose features the authors have fitted their weights to.

    Others have as many channels at the same layers, and their numbers would mean nothing.

    Raises:
        UsageError: it is another configuration, or batch-normalised.

    """
    if architecture.configuration != "D" or architecture.batch_norm:
        kind = architecture.configuration + (" with batch normalisation" if architecture.batch_norm else "")
        raise UsageError(
            f"{loss}'s weights are for VGG-16, configuration D without batch normalisation; this network is {kind}"
        )


def last_relus(architecture: Architecture) -> tuple[str, ...]:
    """The last ReLU of each stage."""
    return tuple(
        f"relu{before.place}"
        for before, layer in zip(architecture.layers, architecture.layers[1:], strict=False)
        if isinstance(layer, Pooling) and isinstance(before, Convolution)
    )


def _keep_linear_weights(loss: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """States that were saved while LPIPS's linear weights were no part of them can be loaded: it keeps its own."""
    for layer, weights in loss.named_parameters(recurse=False):
        state.setdefault(prefix + layer, weights)


def unit_distance(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Weighted squared distance of unit vectors along the channels, at each place.

    Args:
        first: of shape (batch, channels, rows, columns).
        second: of the same shape.
        weights: of the channels.

    """
    tensors = (first, second, weights)
    if is_recorded() or is_transformed() or any(map(has_tangent, tensors)):
        return _plain_distance(*tensors)
    return _UnitDistance.apply(*tensors)  # type: ignore[no-any-return]


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
                    # unit * (length + EPSILON) / length is the vector over its length; where that is 0, so is it.
                    ratio = torch.where(length > 0, (length + EPSILON) / length, 0)
                    along = (toward * unit).sum(0) * ratio
                    rest = torch.addcmul(toward, unit, along, value=-1).mul_(sign / (length + EPSILON))
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
        inverse = torch.where(squares > 0, 1 / (length + EPSILON), 0)
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
    return vectors * torch.where(length.isinf(), torch.nan, 1 / (length + EPSILON)), length
