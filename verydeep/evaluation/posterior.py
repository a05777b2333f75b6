"""Class score maps -> posteriors, and their means. Section 3.2.

The scores are averaged over space before the soft-max; posteriors are averaged over everything else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Posteriors = NDArray[np.float64]  # (pictures, classes), each row sums to 1


def softmax(scores: NDArray[np.floating]) -> Posteriors:
    """Posteriors of class scores, over the last axis."""
    scores = scores.astype(np.float64)
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    result: Posteriors = exponentials / exponentials.sum(-1, keepdims=True)
    return result


def posterior_of_maps(maps: NDArray[np.float32]) -> Posteriors:
    """Posteriors of score maps of shape (pictures, classes, rows, columns): soft-max of their mean over space."""
    return softmax(maps.mean((2, 3), dtype=np.float64))
