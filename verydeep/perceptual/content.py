"""Content loss: how far apart two pictures are to a layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from verydeep.images.color import Preprocessing
from verydeep.layers.network import PoolingKind
from verydeep.layers.pictures import Range
from verydeep.perceptual.pair import (
    Distance,
    Engine,
    ModelLike,
    PairLoss,
    Reduction,
    Taps,
    check_distance,
    layer_weights,
    mean_difference,
    weighted_sum,
)


class ContentLoss(PairLoss):
    """The mean difference of what layers give: `sum_l w_l mean((F_l(x) - F_l(y))^2)`.

    The mean is over channels and places, so that neither a layer's width nor the pictures' size matters much.
    Gatys, Ecker and Bethge (arXiv 1508.06576, equation 1) have half of the sum in its place; Johnson, Alahi and
    Fei-Fei (arXiv 1603.08155) have this.

    Args:
        model: a model on disk, or a `VGG`.
        layers: that are compared: `conv4_2` before its ReLU, `relu4_2` after it.
        weights: of the layers; 1 each where there are none.
        distance: `mse`, or `mae` for the mean of absolute differences.
        range: least and greatest value of the pictures: (0, 1), (-1, 1) or (0, 255).
        preprocessing: of a `VGG`; a model on disk has its own.
        pooling: `average` replaces every max-pooling of the network.
        reduction: over the batch: `mean`, `sum`, or `none` for an entry a pair.
        check: whether pictures are looked at: their range, and that they are finite.
        engine: `torch` never takes the native engine.

    Raises:
        UsageError: an argument does not fit.

    """

    def __init__(
        self,
        model: ModelLike,
        layers: Sequence[str] = ("relu3_3",),
        *,
        weights: Sequence[float] | None = None,
        distance: Distance = "mse",
        range: Range,
        preprocessing: Preprocessing | None = None,
        pooling: PoolingKind = "max",
        reduction: Reduction = "mean",
        check: bool = True,
        engine: Engine = "auto",
    ) -> None:
        super().__init__(
            model,
            layers,
            range=range,
            preprocessing=preprocessing,
            pooling=pooling,
            reduction=reduction,
            check=check,
            engine=engine,
        )
        self.weights = layer_weights(layers, weights)
        self.distance = check_distance(distance)

    def _distance(self, taps: Taps, target_taps: Taps, pictures: Tensor, target: Tensor) -> Tensor:
        differences = {
            layer: mean_difference(taps[layer], target_taps[layer], self.distance) for layer in self.weights
        }
        return weighted_sum(differences, self.weights)
