"""Tests of the same images compared: the interval of a difference, and McNemar's test.

What is compared is a number for each seed and image: whether a network names it wrong, or a sum of several such
with factors. Resampling images resamples all that is said of them together, and resampling seeds all trainings of
a seed, so the pairing is kept.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verydeep.evaluation.results import Evaluation

RESAMPLINGS = 10_000
LEVEL = 0.95
SEVERAL = 3  # seeds from which on they are resampled too: two do not tell how far seeds spread


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and images, with its interval at `LEVEL`.

    Attributes:
        mean: over both.
        low: of the interval.
        high: of the interval.
        over_seeds: whether it is over seeds too, not over images alone.

    """

    mean: float
    low: float
    high: float
    over_seeds: bool = False


def wrong_answers(result: Evaluation) -> NDArray[np.bool_]:
    """Which images the most probable class is not the right one of."""
    wrong: NDArray[np.bool_] = result.posteriors.argmax(1) != result.labels
    return wrong


def bits_to_text(wrong: NDArray[np.bool_]) -> str:
    """A bit for each image, in base64."""
    return base64.b64encode(np.packbits(wrong).tobytes()).decode()


def bits_from_text(text: str, count: int) -> NDArray[np.bool_]:
    """Read back the bits of so many images.

    Raises:
        ValueError: it is not base64, or there are not so many.

    """
    bits = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if len(bits) != (count + 7) // 8:
        raise ValueError(f"it has {8 * len(bits)} bits for {count} images")
    return np.unpackbits(bits, count=count).astype(np.bool_)


def bootstrap(values: NDArray[np.float64], seed: int = 0, resamplings: int = RESAMPLINGS) -> Interval:
    """The mean, and the percentile interval of the means of resampled images.

    With `SEVERAL` seeds or more, each resampling draws seeds too. With fewer, their mean is taken first. What the
    seeds say of an image is one of few things, so that a resampling of the images is drawn as how often each of
    them comes: the same distribution, without drawing every image.

    Args:
        values: of shape (seeds, images), or one for each image; not empty.
        seed: of the resamplings.
        resamplings: how many.

    """
    by_seed = np.atleast_2d(values)
    over_seeds = len(by_seed) >= SEVERAL
    rows = by_seed if over_seeds else by_seed.mean(0, keepdims=True)
    num_seeds, num_images = rows.shape
    different, counts = np.unique(np.round(rows, 12), axis=1, return_counts=True)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(num_images, counts / num_images, resamplings)
    means = drawn @ different.T / num_images  # (resamplings, seeds)
    if over_seeds:
        chosen = random.integers(num_seeds, size=(resamplings, num_seeds))
        means = np.take_along_axis(means, chosen, 1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means.mean(1), (tail, 1 - tail))
    return Interval(float(np.mean(values)), float(low), float(high), over_seeds)


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
