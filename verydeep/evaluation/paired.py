"""Tests of the same images compared: the interval of a difference, and McNemar's test.

What is compared is a number for each seed and image: whether a network names it wrong, or a sum of several such
with factors. Resampling images resamples all that is said of them together, so the pairing is kept.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verydeep.evaluation.results import Evaluation

RESAMPLINGS = 10_000
LEVEL = 0.95
SEVERAL = 3  # seeds from which on the interval is over them too: two do not tell how far seeds spread
STUDENT = (4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t, two-sided, at `LEVEL`, for 2 to 9 degrees of freedom. For more, the last is a little wide."""


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
    """The mean, and its interval over images; with `SEVERAL` seeds or more, over seeds too.

    Over images it is the percentile interval of the means of resampled images, the means over seeds taken first.
    What the seeds say of an image is one of few things, so that a resampling is drawn as how often each of them
    comes: the same distribution, without drawing every image. Over seeds the half-width is Student's t times the
    standard error of the seeds' means: resampling three seeds would give an interval too narrow. The squares of
    both half-widths add up. Chance on single images, which each training meets anew, counts in both, so that the
    interval is a little wide: it holds the truth at least 95 times in 100.

    Args:
        values: of shape (seeds, images), or one for each image; not empty.
        seed: of the resamplings.
        resamplings: how many.

    """
    by_seed = np.atleast_2d(values)
    num_seeds, num_images = by_seed.shape
    different, counts = np.unique(np.round(by_seed.mean(0), 12), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(num_images, counts / num_images, resamplings)
    tail = (1 - LEVEL) / 2
    mean = float(np.mean(values))
    low, high = np.quantile(drawn @ different / num_images, (tail, 1 - tail)) - mean
    if num_seeds < SEVERAL:
        return Interval(mean, float(mean + low), float(mean + high))
    student = STUDENT[min(num_seeds - SEVERAL, len(STUDENT) - 1)]
    spread = student * float(by_seed.mean(1).std(ddof=1)) / num_seeds**0.5
    return Interval(mean, mean - float(np.hypot(low, spread)), mean + float(np.hypot(high, spread)), True)


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
