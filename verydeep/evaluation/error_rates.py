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
        top1_error: share of images whose best class is wrong, in %.
        top5_error: share of images whose right class is not among the best five (or all, where there are
            fewer), in %.
        top_k: the 5 of top-5, or the number of classes.
        num_classes: how many classes.
        labels: of the images.
        answers: the best class of each.

    """

    top1_error: float
    top5_error: float
    top_k: int
    num_classes: int
    labels: NDArray[np.int64]
    answers: NDArray[np.int64]

    @property
    def num_images(self) -> int:
        """How many images."""
        return len(self.labels)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many images of each class."""
        return np.bincount(self.labels, minlength=self.num_classes)

    @property
    def per_class(self) -> NDArray[np.float64]:
        """Top-1 error of each class in %; NaN where the class has no image."""
        wrong = np.bincount(self.labels[self.answers != self.labels], minlength=self.num_classes)
        errors = np.full(self.num_classes, np.nan)
        np.divide(wrong, self.counts, out=errors, where=self.counts > 0)
        return 100.0 * errors

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Number of images of each class (row) that were taken for each class (column)."""
        confusion = np.zeros((self.num_classes, self.num_classes), np.int64)
        np.add.at(confusion, (self.labels, self.answers), 1)
        return confusion

    def taken_for(self, label: int) -> int | None:
        """The class that a class is most often taken for; None where all its images are named right."""
        others = self.answers[(self.labels == label) & (self.answers != label)]
        return int(np.bincount(others).argmax()) if len(others) else None


def error_rates(posteriors: Posteriors, labels: NDArray[np.int64]) -> ErrorRates:
    """Count errors.

    Args:
        posteriors: of shape (images, classes). Of classes of equal probability the first counts as better.
        labels: of shape (images,).

    """
    num_classes = posteriors.shape[1]
    top_k = min(5, num_classes)
    ranked = np.argsort(-posteriors, axis=1, kind="stable")
    best = ranked[:, 0]
    found = (ranked[:, :top_k] == labels[:, None]).any(1)
    errors = 100 * float(np.mean(best != labels)), 100 * float(np.mean(~found))
    return ErrorRates(*errors, top_k, num_classes, labels, best)
