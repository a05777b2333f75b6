"""What another reader answers for an exported model, beside what the network itself answers, at three sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import STRIDE
from verydeep.errors import VerydeepError
from verydeep.evaluation.posterior import posterior_of_maps
from verydeep.inference import Engine

Run = Callable[[NDArray[np.generic]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""What goes in -> the score map and the posterior that come out."""

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


def blocks(height: int, width: int, count: int = 2, block: int = 12) -> NDArray[np.uint8]:
    """Images of random squares, of shape (count, height, width, 3), the same in every run."""
    shape = (count, -(-height // block), -(-width // block), 3)
    colors = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.ascontiguousarray(colors.repeat(block, 1).repeat(block, 2)[:, :height, :width])
