"""What another reader answers for an exported model, beside what the network itself answers, at three sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verydeep.comparison.metrics import LPIPS
from verydeep.configurations import STRIDE
from verydeep.errors import VerydeepError
from verydeep.evaluation.posterior import posterior_of_maps
from verydeep.inference import Engine

Run = Callable[[NDArray[np.generic]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""What goes in -> the score map and the posterior that come out."""

RunPair = Callable[[NDArray[np.generic], NDArray[np.generic]], Sequence[NDArray[np.float32]]]
"""Two batches of images -> the distance of each pair, and at each pixel."""

DISTANCE_TOLERANCE = 1e-4  # of a distance, which is about 1 at most
TOLERANCE = 1e-3  # of the largest score: far above float32's rounding, far below a wrong weight


@dataclass(frozen=True)
class Difference:
    """How far another reader's answers are from the network's for images of one size.

    Attributes:
        height: of the images, in pixels.
        width: likewise.
        score_map: the largest difference of the score map, relative to its largest score.
        posterior: the largest difference of a probability.

    """

    height: int
    width: int
    score_map: float
    posterior: float

    def in_words(self, reader: str) -> str:
        """The same for people."""
        return (
            f"{self.width}x{self.height}: {reader}'s score map differs by {self.score_map:.1e} of the largest "
            f"score, the posterior by {self.posterior:.1e}"
        )


@dataclass(frozen=True)
class DistanceDifference:
    """How far another reader's LPIPS is from ours for pairs of images of one size.

    Attributes:
        height: of the images.
        width: of the images.
        distance: the largest difference of a distance.
        map: the largest difference at a pixel.

    """

    height: int
    width: int
    distance: float
    map: float

    def in_words(self, reader: str) -> str:
        """The same for people."""
        size = f"{self.width}x{self.height}"
        return f"{size}: {reader}'s distance differs by {self.distance:.1e}, its map by {self.map:.1e}"


def compare(engine: Engine, run: Run, reader: str, *, pixels: bool = False) -> list[Difference]:
    """Compare at one window, at a little more, and at a long image: two of each.

    Args:
        engine: with the network.
        run: the other reader with the exported model.
        reader: its name, for the message.
        pixels: whether the exported model preprocesses.

    Raises:
        VerydeepError: the answers are not the same to `TOLERANCE`.

    """
    side = engine.config.architecture.window
    differences = []
    for height, width in ((side, side), (side + STRIDE + 1, side + 7), (side + 5, 2 * side + STRIDE - 1)):
        shown = blocks(height, width)
        ours = engine.score_maps(shown)
        theirs, posterior = run(shown if pixels else engine.config.preprocessing.apply(shown))
        if theirs.shape != ours.shape:
            raise VerydeepError(
                f"the exported model gives {reader} a score map of shape {theirs.shape} for an image of "
                f"{width}x{height}, the network one of shape {ours.shape}; nothing was written"
            )
        expected = posterior_of_maps(ours)
        relative = float(np.abs(theirs - ours).max() / max(np.abs(ours).max(), np.finfo(np.float32).tiny))
        difference = Difference(height, width, relative, float(np.abs(posterior - expected).max()))
        if not (difference.score_map <= TOLERANCE and difference.posterior <= TOLERANCE):  # NaN is not
            raise VerydeepError(
                f"the exported model's answers in {reader} for an image of {width}x{height} differ from the "
                f"network's by {difference.score_map:.1e} of the largest score; nothing was written"
            )
        differences.append(difference)
    return differences


def compare_distances(
    metric: LPIPS, run: RunPair, reader: str, *, pixels: bool = False
) -> list[DistanceDifference]:
    """Compare distances at three sizes, of two pairs each.

    Args:
        metric: with the network.
        run: the other reader with the exported graph.
        reader: its name, for the message.
        pixels: whether the graph takes pixels; otherwise images of 0 to 1, channels first.

    Raises:
        VerydeepError: the answers are not the same to `DISTANCE_TOLERANCE`.

    """
    differences = []
    for height, width in ((64, 64), (67, 81), (32, 121)):
        four = blocks(height, width, 4)
        shown = [four[:2], four[2:]]
        distances, maps = metric.pairs(*shown, maps=True)
        given = shown if pixels else [(images / np.float32(255)).transpose(0, 3, 1, 2) for images in shown]
        theirs, drawn = run(*(np.ascontiguousarray(images) for images in given))
        wanted = np.stack(maps)[:, None]
        if theirs.shape != distances.shape or drawn.shape != wanted.shape:
            raise VerydeepError(
                f"the exported graph gives {reader} answers of shape {theirs.shape} and {drawn.shape}, not "
                f"{distances.shape} and {wanted.shape}; nothing was written"
            )
        found = float(np.abs(theirs - distances).max()), float(np.abs(drawn - wanted).max())
        difference = DistanceDifference(height, width, *found)
        if not all(one <= DISTANCE_TOLERANCE for one in found):  # NaN is not
            raise VerydeepError(
                f"the exported graph's answers in {reader} for images of {width}x{height} differ from LPIPS by "
                f"{found[0]:.1e}, at a pixel by {found[1]:.1e}; nothing was written"
            )
        differences.append(difference)
    return differences


def blocks(height: int, width: int, count: int = 2, block: int = 12) -> NDArray[np.uint8]:
    """Images of random squares, of shape (count, height, width, 3), the same in every run."""
    shape = (count, -(-height // block), -(-width // block), 3)
    colors = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.ascontiguousarray(colors.repeat(block, 1).repeat(block, 2)[:, :height, :width])
