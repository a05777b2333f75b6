"""What an image is to come near to: the content of one, the style of another, and no roughness.

The parts have the formulas of `perceptual.ContentLoss` and `perceptual.StyleLoss`, with weights by which both are
shares: 0 where the image has what is wanted, about 1 where it has nothing of it. So one balance of the two
serves networks of any width and preprocessing. Both are computed from one pass, and the targets once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from verydeep.errors import UsageError
from verydeep.images.color import Preprocessing
from verydeep.network.features import MOST_TRANSFORMED, Features
from verydeep.network.forward import plain
from verydeep.network.vgg import VGG
from verydeep.perceptual import TotalVariation
from verydeep.perceptual.pair import Tap, layer_weights, mean_difference, weighted_sum
from verydeep.perceptual.style import gram_of
from verydeep.plan import PoolingKind

Taps = dict[str, Tensor]


class Losses(NamedTuple):
    """How far an image is from what it is to be.

    Attributes:
        content: share of the content that is missing; 0 where none is wanted.
        style: share of the style that is missing; 0 where none is wanted.
        variation: mean of (difference across)² + (difference down)² of neighbours, of levels of 0 to 1.
        total: their weighted sum, which is brought down.

    """

    content: float
    style: float
    variation: float
    total: float


@dataclass(frozen=True)
class Terms:
    """What counts in an objective, and how much.

    Attributes:
        content_layers: whose maps are to be those of the content image.
        style_layers: whose Gram matrices are to be those of the style image.
        content_layer_weights: of these layers beside each other; all the same where none are given.
        style_layer_weights: likewise.
        content_weight: of the content as a whole.
        style_weight: of the style as a whole.
        variation_weight: of roughness.

    Raises:
        UsageError: a weight is negative, or there is another number of them than of layers, or nothing counts.

    """

    content_layers: Sequence[str] = ()
    style_layers: Sequence[str] = ()
    content_layer_weights: Sequence[float] | None = None
    style_layer_weights: Sequence[float] | None = None
    content_weight: float = 1.0
    style_weight: float = 1.0
    variation_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("content_weight", "style_weight", "variation_weight"):
            if not 0 <= (weight := getattr(self, name)) < float("inf"):
                raise UsageError(f"`{name}` is {weight:g}; it must be 0 or more")
        content, style = self.content, self.style
        if not content and not style:
            raise UsageError("there is nothing to optimise; give content or style a layer and a weight above 0")

    @property
    def content(self) -> dict[str, float]:
        """Weights of the layers whose content counts, with a sum of `content_weight`."""
        return _shares("content", self.content_layers, self.content_layer_weights, self.content_weight)

    @property
    def style(self) -> dict[str, float]:
        """Weights of the layers whose style counts, with a sum of `style_weight`."""
        return _shares("style", self.style_layers, self.style_layer_weights, self.style_weight)


class Objective:
    """The distance of an image from its targets.

    Args:
        network: that looks at images; it is left as it is.
        preprocessing: of the network.
        terms: what counts.
        content: image of shape (1, 3, height, width), range (0, 1); None where no content is wanted.
        style: likewise, of any size.
        pooling: `average` replaces every max-pooling, as Gatys et al. do.

    Raises:
        UsageError: there is no such layer, or an image is too small to reach the deepest.

    """

    def __init__(
        self,
        network: VGG,
        preprocessing: Preprocessing,
        terms: Terms,
        *,
        content: Tensor | None = None,
        style: Tensor | None = None,
        pooling: PoolingKind = "max",
    ) -> None:
        self.terms = terms
        # Values are not checked: on its way an image may leave its range.
        self.features = Features(
            network,
            list({**terms.content, **terms.style}),
            preprocessing=preprocessing,
            range=(0, 1),
            pooling=pooling,
            check=False,
            # With one image a step, transforming weights would take a tenth of it.
            most_transformed=2 * MOST_TRANSFORMED,
        )
        self._variation = TotalVariation(range=(0, 1), norm="l2_squared", check=False)
        with torch.no_grad():
            of_content = self._taps("content", content, terms.content)
            self._content = {layer: plain(tap) for layer, tap in of_content.items()}
            self._style = grams(self._taps("style", style, terms.style))
        self.content_weights = relative(terms.content, self._content)
        self.style_weights = relative(terms.style, self._style)

    def __call__(self, image: Tensor) -> tuple[Tensor, Losses]:
        """Measure an image of shape (1, 3, height, width).

        Returns:
            What is brought down, with gradients to the image, and its parts.

        """
        taps = self.features.packed(image)
        zero = image.new_zeros(())
        seen = {layer: plain(taps[layer]) for layer in self._content}
        content = distance(seen, self._content, self.content_weights) if self._content else zero
        style = distance(grams(taps, self._style), self._style, self.style_weights) if self._style else zero
        variation = self._variation(image) / image.numel()
        total = content + style + self.terms.variation_weight * variation
        parts = torch.stack([content, style, variation, total]).tolist()
        return total, Losses(_share(parts[0], self.terms.content), _share(parts[1], self.terms.style), *parts[2:])

    def _taps(self, what: str, image: Tensor | None, layers: Mapping[str, float]) -> dict[str, Tap]:
        """What a target gives at its own layers, however deep the other's are."""
        if image is None or not layers:
            return {}
        try:
            return self.features.packed(image, list(layers))
        except UsageError as error:
            raise UsageError(f"the {what} {error}") from None


def grams(taps: Mapping[str, Tap], layers: Mapping[str, object] | None = None) -> Taps:
    """Gram matrices of all taps, or of those of `layers`."""
    return {layer: gram_of(taps[layer]) for layer in (taps if layers is None else layers)}


def relative(weights: Mapping[str, float], targets: Taps) -> dict[str, float]:
    """Divide weights by the mean square of their layer's target, so that differences become shares of it."""
    squares = {layer: float(target.double().square().mean()) for layer, target in targets.items()}
    return {layer: weights[layer] / (square or 1.0) for layer, square in squares.items()}


def distance(taps: Taps, targets: Taps, weights: dict[str, float]) -> Tensor:
    """The weighted sum of the layers' mean squared differences, of a batch of one."""
    differences = {layer: mean_difference(taps[layer], target, "mse") for layer, target in targets.items()}
    return weighted_sum(differences, weights).sum()


def _shares(what: str, layers: Sequence[str], weights: Sequence[float] | None, whole: float) -> dict[str, float]:
    if weights is not None and not all(0 <= weight < float("inf") for weight in weights):
        raise UsageError(f"{what} layers have the weights {', '.join(map(str, weights))}; each must be 0 or more")
    single = layer_weights(layers, weights)
    if len(single) < len(layers):
        raise UsageError(f"a {what} layer is named twice in {', '.join(layers)}; name it once")
    every = sum(single.values())
    return {layer: whole * weight / every for layer, weight in single.items() if whole and weight}


def _share(part: float, weights: Mapping[str, float]) -> float:
    return part / sum(weights.values()) if weights else 0.0
