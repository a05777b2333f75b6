"""Runs that are watched -> a few words on each, which are the legend of their curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from verydeep.errors import escaped
from verydeep.reports.runs import duration, short_path
from verydeep.reports.terminal import color, mark
from verydeep.reports.watched import Headline, WatchedRun


def headlines(runs: Sequence[WatchedRun], *, marks: bool) -> Group:
    """Lines for each run: what it is and how far it has come; how well and how fast it goes; how to resume it."""
    parts: list[RenderableType] = []
    for number, (run, name) in enumerate(zip(runs, names(runs), strict=True)):
        facts = run.headline()
        sign = mark(number) if marks else "━━"
        progress = " · ".join(["", *_progress(facts)])
        parts.append(Text.assemble((sign, color(number)), " ", (name, "bold"), progress))
        results = Text(" · ".join(_results(facts)))
        resume = [Text(f"resume: {escaped(facts.resume)}")] if facts.resume else []
        parts += [Padding(line, (0, 0, 0, len(sign) + 1), expand=False) for line in (results, *resume)]
    return Group(*parts, Text())


def names(runs: Sequence[WatchedRun]) -> list[str]:
    """A name for each: the last two parts of its path, or all of it where these are another's too."""
    short = [short_path(str(Path(run.run).absolute())) for run in runs]
    chosen = [name if short.count(name) == 1 else run.run for name, run in zip(short, runs, strict=True)]
    return [escaped(name) for name in chosen]


def title(facts: Headline, name: str) -> str:
    """Name a run with its state and its best result, in one line."""
    best = [f"best {facts.best_error:.2f} % (epoch {facts.best_epoch})"] if facts.best_error is not None else []
    return " · ".join([name, *_progress(facts), *best])


def _progress(facts: Headline) -> list[str]:
    made = [f"net {facts.configuration}"] if facts.configuration else []
    recipe = [f"recipe {escaped(facts.recipe)}"] if facts.recipe else []
    of = f"/{facts.epochs}" if facts.epochs else ""
    epoch = f"epoch {facts.epoch}{of}" if facts.step else "before its first step"
    stalled = f"stalled, nothing written for {duration(facts.quiet)}"
    return [*made, *recipe, epoch, stalled if facts.state == "stalled" else facts.state]


def _results(facts: Headline) -> list[str]:
    best = f"{facts.best_error:.2f} % (epoch {facts.best_epoch})" if facts.best_error is not None else None
    told: list[tuple[str, object]] = [
        ("validation error {:.2f} %", facts.validation_error),
        ("best {}", best),
        ("training loss {:.3g}", facts.loss),
        ("training error {:.2f} %", facts.training_error),
        ("{} images/s", None if facts.images_per_second is None else _speed(facts.images_per_second)),
        ("waiting for images {:.1f} %", None if facts.waiting is None else 100 * facts.waiting),
        ("{} of training left", None if facts.seconds_left is None else duration(facts.seconds_left)),
    ]
    return [words.format(value) for words, value in told if value is not None] or ["no step yet"]


def _speed(images: float) -> str:
    return f"{images:,.0f}" if images >= 100 else f"{images:.2g}"
