"""Learning curves and calibration -> inline SVG for the page; the curves of watched runs -> a PNG.

On the page matplotlib draws in stand-in colours that become CSS variables, so that one drawing serves light and
dark pages. No text of the user's goes into the page's drawings: the legend is the page's.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any

from verydeep.errors import require
from verydeep.evaluation.calibration import Calibration
from verydeep.files import MARK
from verydeep.reports.panels import ERROR_TICKS, LOSS_STEPS, Panel
from verydeep.reports.runs import NUM_COLORS, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER = "#010101", "#010102", "#010103", "#010104"
SERIES = tuple(f"#0102{number:02x}" for number in range(1, NUM_COLORS + 1))
VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {
    color: f"series-{number}" for number, color in enumerate(SERIES, 1)
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11,
    "font.family": "sans-serif",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}
LINEAR_BELOW = 1.0  # %: errors are on a log scale above it, and reach 0 below it
# What the variables are on a light page.
LIGHT = ("#5a2ca0", "#d8652b", "#12827c", "#c02f6c", "#2b6cb8", "#80711a")
LIGHT_MUTED, LIGHT_RULE = "#6a6475", "#e3dfe6"
LIGHT_STYLE = {
    name: {MUTED: LIGHT_MUTED, RULE: LIGHT_RULE}.get(value, value) if isinstance(value, str) else value
    for name, value in STYLE.items()
}


@dataclass(frozen=True)
class Drawing:
    """An SVG element and the sentence below it."""

    svg: str
    caption: str


@contextmanager
def drawing(what: str, style: Mapping[Any, Any] = STYLE) -> Iterator[None]:
    """Let matplotlib draw in our style.

    Raises:
        VerydeepError: matplotlib is not installed.

    """
    require("matplotlib", "report", f"drawing {what}")
    import matplotlib

    with matplotlib.rc_context(dict(style)):
        yield


def learning_curves(runs: Sequence[Run]) -> list[Drawing]:
    """Draw training loss, and training and validation error, by epoch; nothing where no run has a journal.

    Raises:
        VerydeepError: matplotlib is not installed.

    """
    drawn = [run for run in runs if run.epochs]
    if not drawn:
        return []
    with drawing("learning curves"):
        return [
            Drawing(_loss(drawn), "Training loss: the mean cross-entropy of each epoch’s batches."),
            Drawing(
                _errors(drawn),
                "Top-1 error on the held-out images, and dotted on the training batches, "
                "where dropout is at work and the weights are still changing.",
            ),
        ]


def calibration_curve(measured: Calibration) -> Drawing:
    """Draw accuracy against confidence: on the diagonal a probability means what it says.

    Raises:
        VerydeepError: matplotlib is not installed.

    """
    with drawing("calibration"):
        figure, axes = _axes("right answers (%)", "confidence (%)")
        axes.plot([0, 100], [0, 100], color=RULE, linewidth=1)
        areas = 20 + 280 * measured.count / measured.count.sum()
        axes.plot(100 * measured.confidence, 100 * measured.accuracy, color=SERIES[0], linewidth=1.2)
        axes.scatter(100 * measured.confidence, 100 * measured.accuracy, areas, color=SERIES[0], zorder=3)
        axes.set_xlim(0, 103)
        axes.set_ylim(0, 106)
        svg = svg_of(figure, "calibration", "Share of right answers by confidence")
    return Drawing(svg, "Answers by the probability given with them; larger dots stand for more answers.")


def watched_png(panels: Sequence[Panel], labels: Sequence[str]) -> bytes:
    """Draw panels two by two, with a legend of the runs above.

    Raises:
        VerydeepError: matplotlib is not installed.

    """
    with drawing("learning curves", LIGHT_STYLE), warnings.catch_warnings():
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a run may have any name
        figure = Figure(figsize=(11, 7 + 0.25 * len(labels)), layout="constrained", facecolor="white")
        for panel, axes in zip(panels, figure.subplots(2, 2).flat, strict=True):
            _draw_panel(axes, panel)
        lines = [Line2D([], [], color=_light(number)) for number in range(len(labels))]
        figure.legend(lines, labels, loc="outside upper left", frameon=False)
        image = BytesIO()
        figure.savefig(image, format="png", dpi=120, metadata=dict([MARK]))
    return image.getvalue()


def _light(run: int) -> str:
    return LIGHT[run % len(LIGHT)]


def _draw_panel(axes: Axes, panel: Panel) -> None:
    from numpy import expm1, log1p

    for curve in panel.curves:
        axes.plot(curve.x, curve.y, color=_light(curve.run), marker="o" if len(curve.x) == 1 else "")
    if panel.scale == "log":
        axes.set_yscale("log")
    else:
        axes.set_yscale("function", functions=(log1p, expm1))
    axes.set_xlim(0, panel.right)
    axes.set_ylim(panel.ticks[0], panel.ticks[-1])
    axes.set_yticks(panel.ticks, [f"{tick:g}" for tick in panel.ticks])
    axes.minorticks_off()
    axes.set_title(panel.title, loc="left", color=LIGHT_MUTED, fontsize=11)
    axes.spines["left"].set_visible(False)


def _loss(runs: Sequence[Run]) -> str:
    from matplotlib.ticker import LogLocator

    figure, axes = _axes("cross-entropy (nats)")
    for run in runs:
        _line(axes, run, "train_loss")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=LOSS_STEPS))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    return svg_of(figure, "loss", "Training loss by epoch")


def _errors(runs: Sequence[Run]) -> str:
    figure, axes = _axes("top-1 error (%)")
    for run in runs:
        _line(axes, run, "train_error", linestyle=(0, (1, 1.6)), linewidth=1.4)
        _line(axes, run, "validation_error")
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW, linscale=0.5)
    names = ("train_error", "validation_error")
    greatest = max(float(record[name]) for run in runs for record in run.epochs for name in names)
    ceiling = next((tick for tick in ERROR_TICKS if tick >= greatest), 100)
    axes.set_ylim(0, ceiling)
    axes.set_yticks([tick for tick in ERROR_TICKS if tick <= ceiling])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    return svg_of(figure, "errors", "Training and validation error by epoch")


def _axes(label: str, below: str = "epoch") -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5.2, 3.7), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(below)
    axes.set_title(label, loc="left", color=MUTED, fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=(1, 2, 5, 10)))
    axes.spines["left"].set_visible(False)
    return figure, axes


def _line(axes: Axes, run: Run, name: str, **style: Any) -> None:
    points = [(int(record["epoch"]) + 1, float(record[name])) for record in run.epochs]
    marker = "o" if len(points) == 1 else ""
    axes.plot(*zip(*points, strict=True), color=SERIES[run.color - 1], marker=marker, **style)


def svg_of(figure: Figure, name: str, description: str) -> str:
    """Write an SVG element that scales with the page and takes its colours and typeface from it."""
    import matplotlib

    text = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)  # two drawings of a page share no identifiers
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var(--{variable})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
