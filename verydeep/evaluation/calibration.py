"""Whether a posterior of 80 % is right 80 times in a hundred.

Source of the measure: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks, arXiv 1706.04599.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verydeep.evaluation.posterior import Posteriors

BINS = 10  # of confidence, from 0 to 1


@dataclass(frozen=True)
class Calibration:
    """Answers by their confidence, the probability of the class that was named.

    Attributes:
        confidence: mean confidence of the answers of each bin that has some, from 0 to 1.
        accuracy: share of these that are right.
        count: their number.

    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def expected_error(self) -> float:
        """Mean distance between confidence and accuracy, weighted by the number of answers, in points of %."""
        distance = np.abs(self.confidence - self.accuracy)
        return 100 * float((self.count * distance).sum() / self.count.sum())


def calibration(posteriors: Posteriors, labels: NDArray[np.int64]) -> Calibration:
    """Sort answers into `BINS` of equal width by their confidence.

    Args:
        posteriors: of shape (images, classes).
        labels: of shape (images,).

    """
    confidence = posteriors.max(1)
    right = posteriors.argmax(1) == labels
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    full = count > 0
    mean_confidence = np.bincount(bins, confidence, BINS)[full] / count[full]
    accuracy = np.bincount(bins, right, BINS)[full] / count[full]
    return Calibration(mean_confidence, accuracy, count[full])
