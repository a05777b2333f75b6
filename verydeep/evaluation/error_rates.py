"""Posteriors and labels -> how often they are wrong. Section 4."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verydeep.evaluation.posterior import Posteriors


@dataclass(frozen=True)
class ErrorRates:
    """How often a classifier is wrong.

    Attributes:
        top1_error: share of pictures whose best class is wrong, in %.
        top5_error: share of pictures whose right class is not among the best five (or all, where there are
            fewer), in %.
        num_images: how many pictures.
        confusion: number of pictures of each class (row) that were taken for each class (column).
        top_k: the 5 of top-5, or the number of classes.

    """

    top1_error: float
    top5_error: float
    num_images: int
    confusion: NDArray[np.int64]
    top_k: int

    @property
    def per_class(self) -> NDArray[np.float64]:
        """Top-1 error of each class in %; NaN where the class has no picture."""
        counts = self.confusion.sum(1)
        errors = np.full(len(counts), np.nan)
        np.divide(counts - self.confusion.diagonal(), counts, out=errors, where=counts > 0)
        return 100.0 * errors


def error_rates(posteriors: Posteriors, labels: NDArray[np.int64]) -> ErrorRates:
    """Count errors.

    Args:
        posteriors: of shape (pictures, classes). Of classes of equal probability the first counts as better.
        labels: of shape (pictures,).

    """
    num_images, num_classes = posteriors.shape
    top_k = min(5, num_classes)
    ranked = np.argsort(-posteriors, axis=1, kind="stable")
    best = ranked[:, 0]
    found = (ranked[:, :top_k] == labels[:, None]).any(1)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels, best), 1)
    return ErrorRates(
        100 * float(np.mean(best != labels)), 100 * float(np.mean(~found)), num_images, confusion, top_k
    )
