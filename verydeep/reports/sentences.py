"""Numbers -> the sentences of the page: its headline, what numbers can tell, the commands to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from math import sqrt
from pathlib import Path

from verydeep.evaluation.protocols import GRID
from verydeep.evaluation.results import Evaluation
from verydeep.evaluation.test_set import HELD_OUT
from verydeep.reports.published import Published
from verydeep.reports.runs import Run, duration
from verydeep.reports.tables import PARTS, Row

LARGE_DIFFERENCE = 2.0  # standard errors
OWN_COMMANDS = (
    "verydeep train my-photos runs/mine --from tiny-imagenet",
    "verydeep predict runs/mine 'holiday/*.jpg' --maps maps",
    "verydeep evaluate runs/mine my-photos --out mine.npz",
    "verydeep report mine.npz --page mine.html --models runs/mine --data my-photos",
)
"""For the reader's own photographs: train, predict, test, and make a page."""

FURTHER_COMMANDS = (
    "verydeep transfer tiny-imagenet my-photos --scales 64 96 128 --out runs/quick",
    "verydeep evaluate runs/mine my-photos --views both --scales 64 80 96 --out better.npz",
)
"""With few images, a linear classifier; and a test of several scales and crops. Q fit the model's window of 64."""


def headline(best: Row, num_tested: int) -> str:
    """Say the best result in a sentence; `num_tested` networks and fusions were tested."""
    facts = best.facts
    among = f", the best of {num_tested}," if num_tested > 1 else ""
    num_wrong, chance = round(best.top1_error * best.num_images / 100), 100 - 100 / len(facts.class_names)
    return (
        f"{_at_width(best)}{among} classifies {best.num_images - num_wrong:,} of {best.num_images:,} "
        f"{PARTS.get(facts.part, 'images')} of {Path(facts.data).name or facts.data} correctly: "
        f"{best.top1_error:.2f} % top-1 error, where guessing gives {chance:.3g} %."
    )


def standfirst(runs: Sequence[Run], num_classes: int) -> str:
    """Say what the best network was trained on; of a fusion, what its networks have."""
    if len(runs) > 1:
        return (
            f"Its {len(runs)} networks have {sum(run.facts.parameters for run in runs):,} parameters together. "
            "This page shows their training, their results and their errors."
        )
    [run] = runs
    data = (run.config.provenance.get("data") or {}) if run.config else {}
    images = f" on {data['num_images']:,} images" if "num_images" in data else ""
    time = f" in {duration(run.seconds)}" if run.epochs else ""
    return (
        f"It was trained{images} of {num_classes} classes{time}, and has {run.facts.parameters:,} parameters. "
        "This page shows its training, its results and its errors."
    )


def precision(best: Row) -> str:
    """Say how much a number of the table can be trusted."""
    error = _standard_error(best)
    return (
        f"With {best.num_images:,} images, one image is {100 / best.num_images:.2g} points. The error of "
        f"{best.top1_error:.2f} % has a standard error of {error:.2g} points. Differences of less than "
        f"about {LARGE_DIFFERENCE * sqrt(2) * error:.2g} points may be chance."
    )


def order(rows: Sequence[Row]) -> str:
    """Compare the order of single networks with the paper's; empty where there is nothing to compare.

    Networks are compared by one table of the paper's and one protocol: those in which most have a row.
    """
    by_test: dict[tuple[int, str], dict[str, tuple[Row, Published]]] = {}
    for row in sorted(rows, key=lambda row: row.top1_error):
        if row.published and len(row.facts.networks) == 1:
            alike = by_test.setdefault((row.published.table, row.published.protocol), {})
            alike.setdefault(row.facts.first.configuration, (row, row.published))
    compared = max(by_test.values(), key=len, default={})
    if len(compared) < 2:
        return ""
    ours = {name: row.top1_error for name, (row, _) in compared.items()}
    theirs = {name: published.top1_error for name, (_, published) in compared.items()}
    # Of two with the same error here or there, neither order is wrong.
    here = _list(sorted(ours, key=lambda name: (ours[name], theirs[name], name)))
    there = _list(sorted(theirs, key=lambda name: (theirs[name], ours[name], name)))
    if here == there:
        return f"From the lowest error to the highest, the order of the networks is the paper's: {here}."
    best, *_, worst = (row for row, _ in compared.values())
    return (
        f"From the lowest error to the highest, the networks are {here} here, and {there} in the "
        f"paper{_reason(best, worst)}."
    )


def evaluation_command(result: Evaluation, path: Path) -> str:
    """Write the command that makes a result again."""
    facts = result.facts
    if facts.fused:
        return shlex.join(["verydeep", "fuse", *facts.fused, "--out", str(path)])
    test, models = facts.shared, [network.model for network in facts.networks]
    words = ["verydeep", "evaluate", *models, facts.data, "--views", test["views"]]
    # Where the networks' Q or mirror images differ, they are each network's own, which is the default.
    words += ["--scales", *map(str, test["scales"])] if test["scales"] else []
    words += [] if test["mirror"] is None else ["--mirror" if test["mirror"] else "--no-mirror"]
    words += ["--grid", str(test["grid"])] if test["grid"] != GRID else []
    words += ["--part", facts.part] if facts.part != HELD_OUT else []
    words += ["--max-unreadable", str(facts.num_unreadable)] if facts.num_unreadable else []
    return shlex.join([*words, "--out", str(path)])


def training_commands(runs: Sequence[Run]) -> list[str]:
    """List the commands that made the runs, as far as they are known."""
    known = [run.config.provenance for run in runs if run.config]
    return list(dict.fromkeys(str(provenance["command"]) for provenance in known if "command" in provenance))


def report_command(paths: Sequence[Path], page: Path, models: Sequence[Path], data: str | None) -> str:
    """Write the command that makes the page again."""
    words = ["verydeep", "report", *map(str, paths), "--page", str(page)]
    words += ["--models", *map(str, models)] if models else []
    return shlex.join(words + (["--data", data] if data else []))


def _standard_error(row: Row) -> float:
    """Of the error in %, by the binomial distribution; of at least one wrong image, for 0 is not certain."""
    share = max(row.top1_error / 100, 1 / row.num_images)
    return 100 * sqrt(max(share * (1 - share), 0) / row.num_images)


def _reason(best: Row, worst: Row) -> str:
    doubt = sqrt(_standard_error(best) ** 2 + _standard_error(worst) ** 2)
    if worst.top1_error - best.top1_error < LARGE_DIFFERENCE * doubt:
        return "; with so few images the difference may be chance"
    return ", on far more images and classes"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def _at_width(row: Row) -> str:
    networks = row.facts.networks
    if len(networks) > 1:
        return "The fusion of " + row.network
    width = networks[0].width
    return f"Network {networks[0].configuration}" + f" at {width:g} of the paper’s width" * (width != 1)
