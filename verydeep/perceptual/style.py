"""Style loss: how far apart the Gram matrices of two images are, which know what is there but not where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from torch import Tensor

from verydeep.arguments import check_type, checked
from verydeep.errors import UsageError
from verydeep.feature_layers import STYLE
from verydeep.network import native_layers
from verydeep.network.ranges import Range
from verydeep.perceptual.pair import (
    Distance,
    Engine,
    ModelLike,
    Options,
    PairLoss,
    Tap,
    Taps,
    layer_weights,
    mean_difference,
    no_autocast,
    weighted_sum,
    wide,
)
from verydeep.plan import PoolingKind

Normalization = Literal["elements", "places", "none"]


class StyleLoss(PairLoss):
    """The mean difference of Gram matrices: `sum_l w_l mean((G_l(x) - G_l(y))^2)`.

    The mean is over the channels x channels entries. With the matrices divided by their `elements`, the `E_l` of
    Gatys, Ecker and Bethge (arXiv 1508.06576, equation 4) is C^2 / 4 times a layer's part, C being its channels;
    Johnson, Alahi and Fei-Fei (arXiv 1603.08155) have the sum over the entries, C^2 times it.

    Args:
        model: a model on disk, one that `verydeep.load` has opened, or a `VGG`.
        layers: whose matrices are compared; Gatys' five where none are given.
        weights: of the layers; 1 each where there are none.
        distance: `mse`, or `mae` for the mean of absolute differences.
        normalization: of the Gram matrices: see `gram_matrix`.
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
        layers: Sequence[str] = STYLE,
        *,
        weights: Sequence[float] | None = None,
        distance: Distance = "mse",
        normalization: Normalization = "elements",
        pooling: PoolingKind = "max",
        range: Range,
        engine: Engine = "auto",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(model, layers, pooling=pooling, engine=engine, range=range, **options)
        self.weights = layer_weights(layers, weights)
        self.distance: Distance = distance
        self.normalization: Normalization = normalization

    def _read(self, images: Tensor) -> Taps:
        return self.features.packed(images)  # type: ignore[return-value]  # `gram_of` takes both kinds

    def _distance(self, taps: Taps, target_taps: Taps, images: Tensor, target: Tensor) -> Tensor:
        differences = {
            layer: mean_difference(
                gram_of(taps[layer], self.normalization),
                gram_of(target_taps[layer], self.normalization),
                self.distance,
            )
            for layer in self.weights
        }
        return weighted_sum(differences, self.weights)


def gram_of(tap: Tap, normalization: Normalization = "elements") -> Tensor:
    """`gram_matrix` of a tap in any layout."""
    if isinstance(tap, Tensor):
        return gram_matrix(tap, normalization)
    _, channels, height, width = tap.sizes
    return native_layers.gram(tap) / _divisor(channels, height * width, normalization)


def gram_matrix(maps: Tensor, normalization: Normalization = "elements") -> Tensor:
    """Products of channels, summed over space, of shape (batch, channels, channels); float32 of half precision.

    Args:
        maps: of shape (batch, channels, rows, columns).
        normalization: what the sums are divided by: `elements` for channels x rows x columns (Johnson et al.,
            arXiv 1603.08155), `places` for rows x columns, or `none`, as Gatys et al. write them.

    Raises:
        UsageError: there is no such normalization, or these are no maps of a batch.

    """
    check_type("normalization", normalization, Normalization)
    if not isinstance(maps, Tensor):
        raise UsageError(f"maps are a {type(maps).__name__}; a tensor is wanted: torch.from_numpy(maps)")
    if maps.ndim != 4:
        advice = "; [None] makes one image's maps a batch" if maps.ndim == 3 else ""
        raise UsageError(
            f"maps have the shape {tuple(maps.shape)}; (batch, channels, rows, columns) is wanted{advice}"
        )
    rows = wide(maps).flatten(2)
    _, channels, places = rows.shape
    with no_autocast(maps.device):  # in float16 the sums overflow
        return rows @ rows.transpose(1, 2) / _divisor(channels, places, normalization)


def _divisor(channels: int, places: int, normalization: Normalization) -> int:
    return {"elements": channels * places, "places": places, "none": 1}[normalization]
