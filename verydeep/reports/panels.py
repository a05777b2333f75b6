"""Runs -> four panels of curves, ready to be drawn in a terminal or by matplotlib.

Steps are many and noisy: a curve of steps is the means of up to a hundred equal parts of its run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.reports.watched import WatchedRun

Numbers = NDArray[np.float64]
Scale = Literal["log", "error"]

ERROR_TICKS = (0, 1, 2, 5, 10, 20, 50, 100)
LOSS_STEPS = (1, 2, 5)
MOST_PARTS, LEAST_PARTS = 100, 20
STEPS_PER_PART = 8  # at least, where the run is long enough for the fewest parts
LEAST = 1e-30  # of what has a logarithm; 0 has none
MOST_DECADES = 3  # below the greatest number; a cosine's rate falls to nothing


@dataclass(frozen=True)
class Curve:
    """A line of one run; `run` is its place among them."""

    run: int
    x: Numbers
    y: Numbers


@dataclass(frozen=True)
class Panel:
    """Curves that share their axes.

    Attributes:
        title: what is drawn, with its unit.
        scale: log; or error, which reaches 0: even below 1 %, logarithmic above.
        curves: those that have a point.
        right: end of the horizontal axis, which starts at 0.
        ticks: of the vertical axis, rising; the first and the last are its ends.

    """

    title: str
    scale: Scale
    curves: list[Curve]
    right: float
    ticks: list[float]

    def height(self, values: Numbers | Sequence[float]) -> Numbers:
        """Heights between 0, the panel's foot, and 1, its top."""
        scaled = np.log if self.scale == "log" else np.log1p
        between = np.clip(np.asarray(values, np.float64), self.ticks[0], self.ticks[-1])
        return np.interp(scaled(between), scaled([self.ticks[0], self.ticks[-1]]), [0.0, 1.0])


def make_panels(runs: Sequence[WatchedRun]) -> list[Panel]:
    """Lay out training loss, training error, validation error and rate, by epoch; by step if one has none."""
    known = [run.steps_per_epoch for run in runs]
    lengths = [float(length or 1) if all(known) else 1.0 for length in known]
    by = "by epoch" if all(known) else "by step"
    numbered = list(zip(range(len(runs)), runs, lengths, strict=True))
    loss, error, rate = ([_means(*run, name) for run in numbered] for name in ("loss", "error", "rate"))
    validation = [_epochs(*run) for run in numbered]
    ends = [float(curve.x.max()) for curve in (*loss, *error, *rate, *validation) if len(curve.x)]
    right = max([1.0 / max(lengths), *ends])
    return [
        _log_panel(f"training loss {by}", loss, right),
        _error_panel(f"training error (%) {by}", error, right),
        _error_panel(f"validation error (%) {by}", validation, right),
        _log_panel(f"learning rate {by}", rate, right),
    ]


def _means(number: int, run: WatchedRun, length: float, name: str) -> Curve:
    """A curve of steps: the mean of each part."""
    x, y = _finite((run.column("step") + 1) / length, run.column(name))
    if not len(x):
        return Curve(number, x, y)
    parts = min(MOST_PARTS, max(LEAST_PARTS, len(x) // STEPS_PER_PART))
    part = np.minimum((parts * x / x.max()).astype(np.int64), parts - 1)
    count = np.bincount(part, minlength=parts)
    some = count > 0
    return Curve(number, *(np.bincount(part, values, parts)[some] / count[some] for values in (x, y)))


def _epochs(number: int, run: WatchedRun, length: float) -> Curve:
    return Curve(number, *_finite(run.column("step", of_epochs=True) / length, run.column("validation_error")))


def _finite(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    return x[np.isfinite(y)], y[np.isfinite(y)]


def _error_panel(title: str, curves: Sequence[Curve], right: float) -> Panel:
    drawn = [curve for curve in curves if len(curve.x)]
    low, high = _extent(drawn, 1.0, 100.0)
    return Panel(title, "error", drawn, right, _around(low, high, ERROR_TICKS))


def _log_panel(title: str, curves: Sequence[Curve], right: float) -> Panel:
    above = [Curve(curve.run, curve.x[curve.y > LEAST], curve.y[curve.y > LEAST]) for curve in curves]
    drawn = [curve for curve in above if len(curve.x)]
    low, high = _extent(drawn, 0.1, 1.0)
    low = max(low, high / 10**MOST_DECADES)
    first, last = int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 1
    steps = [float(f"{step}e{power}") for power in range(first, last + 1) for step in LOSS_STEPS]
    return Panel(title, "log", drawn, right, _around(low, high, steps))


def _extent(curves: Sequence[Curve], low: float, high: float) -> tuple[float, float]:
    """The least and the greatest number, or what is given where there is none."""
    if not curves:
        return low, high
    return min(float(curve.y.min()) for curve in curves), max(float(curve.y.max()) for curve in curves)


def _around(low: float, high: float, steps: Sequence[float]) -> list[float]:
    """The steps from the last one at or below `low` to the first at or above `high`; at least two."""
    first = max([place for place, step in enumerate(steps) if step <= low * (1 + 1e-9)], default=0)
    last = min([place for place, step in enumerate(steps) if step >= high * (1 - 1e-9)], default=len(steps) - 1)
    first = min(first, len(steps) - 2)
    return [float(step) for step in steps[first : max(last, first + 1) + 1]]


def even_ticks(right: float, most: int) -> list[float]:
    """Round numbers from 0 to `right`, at most so many."""
    least = max(right, 1e-9) / max(1, most - 1)
    power = 10.0 ** np.floor(np.log10(least))
    step = next(float(power * factor) for factor in (1, 2, 4, 5, 10) if power * factor >= least * (1 - 1e-9))
    return [number * step for number in range(int(right / step * (1 + 1e-9)) + 1)]
