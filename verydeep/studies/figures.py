"""Measurements and claims -> the drawings of a study's page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from verydeep.configurations import ALL_CONFIGURATIONS, CONFIGURATIONS
from verydeep.reports.figures import INK, MUTED, PAPER, SERIES, STYLE, Drawing, drawing, svg_of
from verydeep.reports.published import TABLE_3, Published
from verydeep.reports.tables import trained_scale
from verydeep.studies.claims import Claim
from verydeep.studies.curves import Curves
from verydeep.studies.evidence import Evidence, Measurement
from verydeep.studies.workflow import Workflow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LETTERS = 64  # of a statement in a drawing
WRONG_COLOR, RIGHT_COLOR = SERIES[1], SERIES[2]


def depth(evidence: Evidence) -> list[Drawing]:
    """Draw error by network, a mark for each seed, and then the paper's; nothing where there is one network.

    Raises:
        VerydeepError: matplotlib is not installed.

    """
    ours = [one for one in evidence.measurements if one.dense and not one.setup.several]
    names = [name for name in CONFIGURATIONS if any(one.training.recipe.config == name for one in ours)]
    if len(names) < 2:
        return []
    with drawing("a study"):
        here, ours_axes = _figure(names, "top-1 error here (%)")
        _ours(ours_axes, ours, names)
        there, papers_axes = _figure(names, "top-1 error in the paper, ImageNet (%)")
        _theirs(papers_axes, [row for row in TABLE_3 if row.network in names], names)
        return [
            Drawing(
                svg_of(here, "depth", "Top-1 error by network"),
                "Dense, at one test scale. A dot is a seed, the line goes through the means; colours are training "
                "scales S.",
            ),
            Drawing(
                svg_of(there, "papers-depth", "Top-1 error by network in the paper"),
                "The same networks in the paper. The axes differ: it is the order that compares.",
            ),
        ]


def learning(workflow: Workflow, curves: Curves) -> list[Drawing]:
    """Draw training and validation error by epoch: of each configuration the first training, a line for each seed.

    With batch norm it is another one, whose lines are dashed.

    Raises:
        VerydeepError: matplotlib is not installed.

    """
    steps = [workflow.steps[name] for name in curves]
    known = {step.training.name for step in steps if step.training and not step.training.jittered}
    trainings = [one for one in workflow.description.trainings.values() if one.name in known]
    first = {(one.recipe.config, one.recipe.batch_norm): one.name for one in reversed(trainings)}
    names = [name for name in ALL_CONFIGURATIONS if {(name, False), (name, True)} & first.keys()][: len(SERIES)]
    kinds = {
        first[name, batch_norm]: (name + ", batch norm" * batch_norm, SERIES[number], "--" if batch_norm else "-")
        for number, name in enumerate(names)
        for batch_norm in (False, True)
        if (name, batch_norm) in first
    }
    lines = [
        (kinds[step.training.name], curves[step.name])
        for step in steps
        if step.training and step.training.name in kinds
    ]
    if not any(len(line) > 1 for _, line in lines):
        return []
    with drawing("a study"):
        drawn = []
        for what, title in (("train", "training error (%)"), ("validation", "error on validation images (%)")):
            from matplotlib.figure import Figure
            from matplotlib.ticker import LogLocator

            figure = Figure(figsize=(5.2, 3.7), layout="constrained")
            axes = figure.add_subplot()
            axes.set_title(f"{title}, by epoch", loc="left", color=MUTED, fontsize=11)
            axes.spines["left"].set_visible(False)
            for (_, color, style), line in lines:
                points = [(one.epoch, getattr(one, f"{what}_error")) for one in line]
                axes.plot(*zip(*points, strict=True), style, color=color, linewidth=1.2, alpha=0.8)
            for label, color, style in kinds.values():
                axes.plot([], [], style, color=color, label=label)
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
            axes.legend(frameon=False, labelcolor=MUTED)
            drawn.append(svg_of(figure, f"learning-{what}", f"{title} by epoch"))
    return [
        Drawing(
            drawn[0],
            "Error on the training batches, where dropout is at work. A line is a run; of each configuration the "
            "first training is drawn.",
        ),
        Drawing(drawn[1], "The same runs on images that were held out, at the end of each epoch."),
    ]


def _figure(names: Sequence[str], title: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.7), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=MUTED, fontsize=11)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.4, len(names) - 0.6)
    axes.spines["left"].set_visible(False)
    return figure, axes


def _ours(axes: Axes, measurements: Sequence[Measurement], names: Sequence[str]) -> None:
    scales = list(dict.fromkeys(one.training.recipe.train_scale for one in measurements))
    for number, scale in enumerate(scales):
        color = SERIES[number % len(SERIES)]
        standing: dict[str, Measurement] = {}
        for one in measurements:
            if one.training.recipe.train_scale == scale and one.training.recipe.config in names:
                standing.setdefault(one.training.recipe.config, one)
        places = [names.index(name) for name in names if name in standing]
        means = [standing[name].error for name in names if name in standing]
        axes.plot(places, means, color=color, label=_label(scale), marker="_", markersize=12)
        for one in standing.values():
            place = names.index(one.training.recipe.config)
            axes.plot([place] * len(one.top1), one.top1, "o", color=color, markersize=4, alpha=0.7)
    axes.legend(frameon=False, labelcolor=MUTED)


def _theirs(axes: Axes, rows: Sequence[Published], names: Sequence[str]) -> None:
    for number, scale in enumerate(dict.fromkeys(row.trained_scale for row in rows)):
        chosen = [row for row in rows if row.trained_scale == scale]
        places, errors = [names.index(row.network) for row in chosen], [row.top1_error for row in chosen]
        axes.plot(
            places, errors, color=SERIES[number % len(SERIES)], marker="o", markersize=4, label=_label(scale)
        )
    axes.legend(frameon=False, labelcolor=MUTED)


def _label(scale: tuple[int, int]) -> str:
    return f"S {'=' if scale[0] == scale[1] else 'in'} {trained_scale(scale)}"


def intervals(claims: Sequence[Claim]) -> Drawing | None:
    """Draw each statement's difference with its interval, less its threshold; nothing where nothing was tested.

    Raises:
        VerydeepError: matplotlib is not installed.

    """
    tested = [(claim, one) for claim in claims for one in claim.statements]
    if not tested:
        return None
    with drawing("a study", STYLE | {"axes.grid.axis": "x"}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.6, 0.7 + 0.5 * len(tested)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0, color=MUTED, linewidth=1)
        for place, (claim, one) in enumerate(tested):
            sign = 1 if one.below else -1
            ends = sorted(sign * (end - one.threshold) for end in (one.interval.low, one.interval.high))
            color = {True: RIGHT_COLOR, False: WRONG_COLOR, None: MUTED}[one.holds]
            axes.plot(ends, [place, place], color=color, linewidth=3)
            axes.plot([sign * (one.interval.mean - one.threshold)], [place], "o", color=color, markersize=6)
            label = f"{claim.number}. {_short(one.says)}"
            axes.annotate(
                label,
                (0, place - 0.25),
                xycoords=axes.get_yaxis_transform(),
                color=INK,
                fontsize=10,
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
            )
        axes.set_yticks([])
        axes.set_xscale("symlog", linthresh=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(len(tested) - 0.7, -0.7)
        axes.set_xlabel("points of %; left of the line, the statement holds")
        axes.spines["left"].set_visible(False)
        svg = svg_of(figure, "claims", "Differences with their intervals")
    return Drawing(
        svg,
        "The difference of each statement from its threshold, with its 95 % interval. The axis is linear up to "
        "two points and logarithmic beyond.",
    )


def _short(text: str) -> str:
    text = text.split(" (")[0]
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"
