"""LPIPS: how different two images look to people, on VGG-16.

Source: Zhang, Isola, Efros, Shechtman, Wang, The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric, arXiv 1801.03924, equation 1; and its reference package `lpips`, version 0.1 of the weights.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.arguments import checked
from verydeep.configurations import Architecture, Convolution, Pooling
from verydeep.errors import UsageError
from verydeep.feature_layers import LPIPS_EPSILON, check_vgg16
from verydeep.network.derivatives import usable
from verydeep.network.ranges import Range
from verydeep.perceptual.learned import lpips_weights
from verydeep.perceptual.pair import PAIR_PIXELS, Engine, ModelLike, Options, PairLoss, Taps
from verydeep.perceptual.unit_distance import unit_distance


class LPIPS(PairLoss):
    """The learned distance of two images: `sum_l mean_p sum_c w_lc (u_lcp - v_lcp)^2`.

    `u` and `v` are what the last ReLU of each of the five stages gives for the two images, divided at each place
    p by its length over the channels c. The weights w are those that the authors have fitted to people's
    judgements.

    Its numbers mean what the literature's do where the model is VGG-16 with ImageNet's weights, as torchvision
    publishes them. Unlike the reference's, its gradients are finite where a layer gives nothing but zeros.

    Args:
        model: a model on disk, one that `verydeep.load` has opened, or a `VGG`: configuration D.
        weights: the linear weights: a file of the `lpips` package or a converted one; None for the bundled ones,
            which are that package's.
        spatial: give a distance for each pixel, of shape (batch, 1, height, width), before the reduction.
        engine: `torch` never takes the native engine.
        range: least and greatest value of the images: (0, 1), (-1, 1) or (0, 255).
        options: `preprocessing`, `reduction`, `check` and `grey`, as `PairLoss` has them.

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
        check_vgg16(self.features.architecture, "LPIPS", any_width=weights is not None)
        self.spatial = spatial
        layers = self.features.layers
        channels = {f"relu{one.place}": one.out_channels for one in self.features.architecture.convolutions}
        for layer, tensor in zip(layers, linear, strict=True):
            if channels[layer] != len(tensor):
                raise UsageError(
                    f"the linear weights are for {len(tensor)} channels at {layer}, where the network has "
                    f"{channels[layer]}; give its own, for VGG-16 vgg.pth of the package lpips"
                )
            self.register_parameter(layer, nn.Parameter(tensor, requires_grad=False))
        self.register_load_state_dict_pre_hook(_keep_linear_weights)  # type: ignore[no-untyped-call]

    def _weights(self) -> list[Tensor]:
        return [*super()._weights(), *self._linear().values()]

    def _read(self, images: Tensor) -> Taps:
        return self.features.packed(images)  # type: ignore[return-value]  # `unit_distance` takes both kinds

    def _linear(self) -> Taps:
        return {layer: usable(getattr(self, layer)) for layer in self.features.layers}

    def _distance(self, taps: Taps, target_taps: Taps, images: Tensor, target: Tensor) -> Tensor:
        maps = {}
        for layer, weights in self._linear().items():
            maps[layer] = unit_distance(taps[layer], target_taps[layer], weights)
        return self._sum(maps, images)

    def _compare_natively(self, images: Tensor, target: Tensor) -> Tensor:
        maps = self._native.distances(self.features, images, target, self._linear(), epsilon=LPIPS_EPSILON)
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
