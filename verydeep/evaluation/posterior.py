"""Class score maps -> posteriors, and their means. Section 3.2.

The scores are averaged over space before the soft-max; posteriors are averaged over everything else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError

Posteriors = NDArray[np.float64]  # (images, classes), each row sums to 1


def check_finite(numbers: NDArray[np.floating], what: str) -> None:
    """Make sure that what a network gives are numbers. If not, no image is at fault but the network.

    Args:
        numbers: scores or features, of any shape.
        what: they are, for the message.

    Raises:
        ModelError: one is NaN or infinite.

    """
    if not np.isfinite(numbers).all():
        raise ModelError(
            f"{what} are NaN or infinite: its weights are finite but too large, as after a training that diverged "
            "or a conversion that scaled them wrongly; use an earlier checkpoint, or convert or train it again"
        )


def softmax(scores: NDArray[np.floating]) -> Posteriors:
    """Posteriors of class scores, over the last axis.

    Raises:
        ModelError: a score is NaN or infinite.

    """
    check_finite(scores, "the network's scores")
    scores = scores.astype(np.float64)
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    result: Posteriors = exponentials / exponentials.sum(-1, keepdims=True)
    return result


def posterior_of_maps(maps: NDArray[np.float32]) -> Posteriors:
    """Posteriors of score maps of shape (images, classes, rows, columns): soft-max of their mean over space.

    Raises:
        ModelError: a score is NaN or infinite.

    """
    check_finite(maps, "the network's scores")
    return softmax(maps.mean((2, 3), dtype=np.float64))
