"""What was measured -> a chart: a panel of bars for each case, the fastest engine on top."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verydeep.benchmark.engines import ENGINES
from verydeep.benchmark.table import three_digits
from verydeep.errors import UsageError, require
from verydeep.files import MARK, check_out, write_whole
from verydeep.reports.figures import LIGHT, LIGHT_MUTED, LIGHT_STYLE, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg")
OURS, OTHERS = LIGHT[0], "#b9b3c2"


def check_chart(path: Path | None) -> None:
    """Make sure that a chart can be drawn there.

    Raises:
        UsageError: the file's kind is not one of `FORMATS`.
        VerydeepError: matplotlib is not installed.

    """
    if path is None:
        return
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"`chart` {path} has to end with {' or '.join(FORMATS)}")
    require("matplotlib", "report", "drawing a chart")
    check_out(path)


def write_chart(path: Path, rows: Sequence[dict[str, Any]], title: str, base: str) -> None:
    """Draw the rows, whole.

    Args:
        path: ends with one of `FORMATS`.
        rows: as `table.make_rows` gives them.
        title: printed above.
        base: the engine that ratios are to.

    """
    cases = [list(case) for _, case in groupby(rows, key=itemgetter("case"))]
    height = 1.1 + 0.34 * max(map(len, cases))
    with drawing("a chart", LIGHT_STYLE | {"axes.grid.axis": "x", "svg.hashsalt": "bench"}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.6 * len(cases), height), layout="constrained", facecolor="white")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        for axes, case in zip(figure.subplots(1, len(cases), squeeze=False).flat, cases, strict=True):
            _draw(axes, case, base)
        kind = path.suffix.lower().removeprefix(".")
        metadata = {"Date": None} if kind == "svg" else dict([MARK])
        write_whole(path, lambda aside: figure.savefig(aside, format=kind, dpi=120, metadata=metadata))


def _draw(axes: Axes, rows: Sequence[dict[str, Any]], base: str) -> None:
    speeds = [row["images_per_second"] for row in rows]
    colors = [OURS if ENGINES[row["engine"]].ours else OTHERS for row in rows]
    places = range(len(rows))
    axes.barh(places, speeds, 0.68, color=colors)
    for place, row in zip(places, rows, strict=True):
        text = f" {three_digits(row['images_per_second'])}   × {row['ratio']:.2f}   error {row['error']:.0e}"
        axes.text(row["images_per_second"], place, text, va="center", fontsize=9, color=LIGHT_MUTED)
    axes.set_yticks(places, [row["engine"] for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if ENGINES[row["engine"]].ours else "normal")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.85 * max(speeds))
    axes.set_xlabel("images a second")
    axes.set_title(f"{rows[0]['case']} (× {base})", loc="left", color=LIGHT_MUTED, fontsize=11)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
