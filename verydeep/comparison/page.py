"""A comparison -> one HTML page: the statistics, how the distances are spread, and the pairs that differ most."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from verydeep.comparison.drawing import overlay
from verydeep.comparison.metrics import Metric
from verydeep.comparison.result import Comparison
from verydeep.images.views import Pixels, as_image
from verydeep.reports.embedded import thumbnail
from verydeep.reports.templates import render_page
from verydeep.version import __version__

BARS = 30  # of the histogram
SHOWN = 12  # pairs
FAILED = 20  # pairs that could not be compared
TITLES = {"lpips": "LPIPS", "content": "Content distance", "style": "Style distance", "dists": "DISTS"}


def render(comparison: Comparison, metric: Metric, read: Callable[[int], Pixels], call: str) -> str:
    """Make the page.

    Args:
        comparison: what it shows.
        metric: that measured the distances.
        read: an image by its number, as it was compared.
        call: that makes the page again.

    Raises:
        VerydeepError: what makes pages is not installed.

    """
    shown = []
    for place in comparison.worst(SHOWN):
        numbers = [int(side[place]) for side in (comparison.pairs.first, comparison.pairs.second)]
        first, second = map(read, numbers)
        images = [as_image(first), as_image(second)]
        if metric.has_maps:
            _, maps = metric.pairs(first[None], second[None], maps=True)
            images.append(overlay(second, maps[0]))
        shown.append(
            {
                "names": [Path(comparison.pairs.name(number)).as_posix() for number in numbers],
                "distance": comparison.distances[place],
                "images": list(map(thumbnail, images)),
            }
        )
    failed = [row for row in comparison.rows() if row[3]][:FAILED]
    context = {
        "comparison": comparison,
        "title": TITLES[comparison.metric],
        "statistics": comparison.statistics,
        "bars": _histogram(comparison),
        "shown": shown,
        "failed": failed,
        "call": call,
        "version": __version__,
    }
    return render_page("compare.html.jinja", context, "comparison")


def _histogram(comparison: Comparison) -> list[tuple[float, float, int, float]]:
    """Of each bar: where it begins and ends, how many pairs it has, and their share of the highest bar."""
    known = comparison.distances[np.isfinite(comparison.distances)]
    if not len(known) or known.min() == known.max():
        return []
    counts, edges = np.histogram(known, BARS)
    return [
        (float(low), float(high), int(count), float(count / counts.max()))
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
