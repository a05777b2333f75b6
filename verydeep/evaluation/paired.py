"""Tests of the same images compared: the interval of a difference, and McNemar's test.

What is compared is a number for each image: whether a network names it wrong, the mean of that over seeds, or a
sum of several such with factors. Resampling images resamples all that is said of them together, so the pairing
is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verydeep.evaluation.results import Evaluation

RESAMPLINGS = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over images, with its interval at `LEVEL`."""

    mean: float
    low: float
    high: float


def wrong_answers(result: Evaluation) -> NDArray[np.bool_]:
    """Which images the most probable class is not the right one of."""
    wrong: NDArray[np.bool_] = result.posteriors.argmax(1) != result.labels
    return wrong


def bootstrap(values: NDArray[np.float64], seed: int = 0, resamplings: int = RESAMPLINGS) -> Interval:
    """The mean over images, and the percentile interval of the means of resampled images.

    An image's value is one of few, so that a resampling is drawn as how often each of them comes: the same
    distribution, without drawing every image.

    Args:
        values: one for each image; not empty.
        seed: of the resamplings.
        resamplings: how many.

    """
    different, counts = np.unique(np.round(values, 12), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(values), counts / len(values), resamplings)
    means = drawn @ different / len(values)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(float(np.mean(values)), float(low), float(high))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """How probable it is that equally good networks differ as much as these, exactly (two-sided).

    Args:
        first: which images one names wrong.
        second: and the other.

    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    count, fewer = only_first + only_second, min(only_first, only_second)
    term = total = 1
    for number in range(1, fewer + 1):
        term = term * (count - number + 1) // number
        total += term
    return 1.0 if 2 * fewer == count else min(1.0, 2 * total / 2**count)
