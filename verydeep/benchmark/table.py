"""What was measured -> plain data, and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from verydeep.benchmark.engines import ENGINES
from verydeep.benchmark.measure import Measurements
from verydeep.benchmark.task import Case, Task
from verydeep.reports.text_table import TextTable

NUMBERS = range(2, 8)  # columns of numbers
NOT_MEASURED = "not measured"


def make_rows(measured: Measurements, task: Task, base: str) -> list[dict[str, Any]]:
    """A row for each case and engine, as plain data; the fastest engine of a case first.

    `ratio` is to the base; `share_of_peak` counts a direct convolution's operations and may so exceed 1 where an
    engine needs fewer. What was not measured is None: the share, say, for a precision whose peak is not known.
    """
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(task.cases):
        of_case = [_row(measured, number, case, name, base) for name in measured.timings]
        rows += sorted(of_case, key=lambda row: -row["images_per_second"])
    return rows


def _row(measured: Measurements, number: int, case: Case, name: str, base: str) -> dict[str, Any]:
    timing, chosen = measured.timings[name][number], ENGINES[name]
    peak = measured.peak.get(chosen.precision)
    return {
        "case": case.name,
        "engine": name,
        "summary": chosen.summary,
        "precision": chosen.precision,
        "images_per_second": case.num_images / timing.median,
        "milliseconds_per_image": 1e3 * timing.median / case.num_images,
        "ratio": measured.ratio(name, base, number),
        "error": timing.error if math.isfinite(timing.error) else None,
        "peak_memory": timing.peak_memory,
        "share_of_peak": 2 * case.multiply_adds / timing.median / peak if peak else None,
        "opening_seconds": measured.opening[name],
        "seconds": timing.seconds,
    }


def text_table(rows: Sequence[dict[str, Any]], title: str, base: str) -> TextTable:
    """The rows as text, case by case."""
    names = ("case", "engine", "images/s", "ms/image", f"× {base}", "error", "peak memory", "share of peak")
    caption = (
        f"× {base}: how many times as fast as {base}, the median of the rounds' ratios. Error: relative L2 error "
        "of the class scores against float64. Share of peak: operations of a direct convolution as a "
        "share of the most that this machine computes in that precision; engines that need fewer can exceed 100 %."
    )
    return TextTable(title, names, [(row["case"], row["engine"], *cells(row)) for row in rows], NUMBERS, caption)


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """A row's figures as they are read."""
    error, share = row["error"], row["share_of_peak"]
    return (
        three_digits(row["images_per_second"]),
        three_digits(row["milliseconds_per_image"]),
        f"{row['ratio']:.2f}",
        NOT_MEASURED if error is None else f"{error:.1e}",
        f"{row['peak_memory'] / 1e6:,.0f} MB",
        NOT_MEASURED if share is None else f"{share:.0%}",
    )


def three_digits(number: float) -> str:
    """Write a positive number with three digits, or all those before its point."""
    return f"{number:,.0f}" if number >= 999.5 else f"{number:#.3g}".rstrip(".")
