"""Content loss: how far apart two images are to a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor

from verydeep.arguments import checked
from verydeep.feature_layers import CONTENT
from verydeep.network.ranges import Range
from verydeep.perceptual.pair import (
    Distance,
    Engine,
    ModelLike,
    Options,
    PairLoss,
    Taps,
    layer_weights,
    mean_difference,
    weighted_sum,
)
from verydeep.plan import PoolingKind


class ContentLoss(PairLoss):
    """The mean difference of what layers give: `sum_l w_l mean((F_l(x) - F_l(y))^2)`.

    The mean is over channels and places, so that neither a layer's width nor the images' size matters much.
    Gatys, Ecker and Bethge (arXiv 1508.06576, equation 1) have half of the sum in its place; Johnson, Alahi and
    Fei-Fei (arXiv 1603.08155) have this.

    Args:
        model: a model on disk, one that `verydeep.load` has opened, or a `VGG`.
        layers: that are compared: `conv4_2` before its ReLU, `relu4_2` after it.
        weights: of the layers; 1 each where there are none.
        distance: `mse`, or `mae` for the mean of absolute differences.
        pooling: `average` replaces every max-pooling of the network.
        engine: `torch` never takes the native engine.
        range: least and greatest value of the images: (0, 1), (-1, 1) or (0, 255).
        options: `preprocessing`, `reduction`, `check` and `grey`, as `PairLoss` has them.

    Raises:
        UsageError: an argument does not fit.

    """

    @checked
    def __init__(
        self,
        model: ModelLike,
        layers: Sequence[str] = CONTENT,
        *,
        weights: Sequence[float] | None = None,
        distance: Distance = "mse",
        pooling: PoolingKind = "max",
        range: Range,
        engine: Engine = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(model, layers, pooling=pooling, engine=engine, range=range, **options)
        self.weights = layer_weights(layers, weights)
        self.distance: Distance = distance

    def _distance(self, taps: Taps, target_taps: Taps, images: Tensor, target: Tensor) -> Tensor:
        differences = {
            layer: mean_difference(taps[layer], target_taps[layer], self.distance) for layer in self.weights
        }
        return weighted_sum(differences, self.weights)
