"""Numbers -> the sentences of the page: its headline, what numbers can tell, the commands to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from math import sqrt
from pathlib import Path

from verydeep.evaluation.results import Evaluation
from verydeep.reports.runs import Run, duration
from verydeep.reports.tables import PARTS, Row

LARGE_DIFFERENCE = 2.0  # standard errors


def headline(best: Row, num_networks: int) -> str:
    """Say the best result in a sentence."""
    facts = best.facts
    among = f", the best of {num_networks}," if num_networks > 1 else ""
    right = best.num_images - wrong_pictures(best)
    return (
        f"{_at_width(best)}{among} names {right:,} of {best.num_images:,} "
        f"{PARTS.get(facts.part, 'images')} of {_short(facts.data)} right: "
        f"{best.top1_error:.2f} % top-1 error, where guessing would give {chance(len(facts.class_names)):.3g} %."
    )


def standfirst(run: Run, num_classes: int) -> str:
    """Say what the best network was trained on."""
    data = (run.config.provenance.get("data") or {}) if run.config else {}
    pictures = f" on {data['num_images']:,} pictures" if "num_images" in data else ""
    time = f" in {duration(run.seconds)}" if run.epochs else ""
    return (
        f"It was trained{pictures} of {num_classes} classes{time}, and has {run.facts.parameters:,} parameters. "
        "This page shows how it came about, what it sees, and where it errs."
    )


def chance(num_classes: int) -> float:
    """Top-1 error of guessing among the classes, in %."""
    return 100 * (1 - 1 / num_classes)


def wrong_pictures(row: Row) -> int:
    """Number of pictures that were named wrong."""
    return round(row.top1_error * row.num_images / 100)


def precision(best: Row) -> str:
    """Say how much a number of the table can be trusted."""
    error = _standard_error(best)
    return (
        f"With {best.num_images:,} pictures one picture is {100 / best.num_images:.2g} points, and the error of "
        f"{best.top1_error:.2f} % has a standard error of {error:.2g} points: networks that differ by "
        f"less than about {LARGE_DIFFERENCE * sqrt(2) * error:.2g} points may well be equally good."
    )


def order(rows: Sequence[Row]) -> str:
    """Compare the order of the networks with the paper's; empty where there is nothing to compare."""
    known = [row for row in rows if row.published is not None]
    ours = _order({row.facts.first.configuration: row.top1_error for row in _best_last(known)})
    theirs = _order(
        {row.facts.first.configuration: row.published.top1_error for row in _best_last(known) if row.published}
    )
    if len(ours) < 2:
        return ""
    if ours == theirs:
        return f"The order of the networks is the paper's: {_list(ours)}, from the least error to the greatest."
    return (
        f"From the least error to the greatest the networks are {_list(ours)} here and {_list(theirs)} in the "
        f"paper{_reason(known)}."
    )


def evaluation_command(result: Evaluation, path: Path) -> str:
    """Write the command that makes a result again."""
    facts = result.facts
    if facts.fused:
        return shlex.join(["verydeep", "fuse", *facts.fused, "--out", str(path)])
    test, models = facts.first, [network.model for network in facts.networks]
    words = ["verydeep", "evaluate", *models, facts.data, "--views", test.views]
    words += ["--scales", *map(str, test.scales), "--mirror" if test.mirror else "--no-mirror"]
    words += ["--part", facts.part] if facts.part != "held-out" else []
    return shlex.join([*words, "--out", str(path)])


def training_commands(runs: Sequence[Run]) -> list[str]:
    """List the commands that made the runs, as far as they are known."""
    known = [run.config.provenance for run in runs if run.config]
    return list(dict.fromkeys(str(provenance["command"]) for provenance in known if "command" in provenance))


def report_command(paths: Sequence[Path], page: Path) -> str:
    """Write the command that makes the page again."""
    return shlex.join(["verydeep", "report", *map(str, paths), "--page", str(page)])


def _standard_error(row: Row) -> float:
    """Of the error in %, by the binomial distribution; of at least one wrong picture, for 0 is not certain."""
    share = max(row.top1_error / 100, 1 / row.num_images)
    return 100 * sqrt(max(share * (1 - share), 0) / row.num_images)


def _best_last(rows: Sequence[Row]) -> list[Row]:
    """Sort so that a dictionary by configuration keeps each one's best."""
    return sorted(rows, key=lambda row: -row.top1_error)


def _order(errors: dict[str, float]) -> list[str]:
    return sorted(errors, key=lambda name: (errors[name], name))


def _reason(rows: Sequence[Row]) -> str:
    errors = sorted(_best_last(rows), key=lambda row: row.top1_error)
    first, last = errors[0], errors[-1]
    doubt = sqrt(_standard_error(first) ** 2 + _standard_error(last) ** 2)
    if last.top1_error - first.top1_error < LARGE_DIFFERENCE * doubt:
        return "; with so few pictures the difference is within chance"
    return ", on far more pictures and classes"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def _at_width(row: Row) -> str:
    networks = row.facts.networks
    if len(networks) > 1:
        return "The fusion of " + row.network
    test = networks[0]
    return f"Network {test.configuration}" + (
        "" if test.width == 1 else f" at {test.width:g} of the paper’s width"
    )


def _short(data: str) -> str:
    return Path(data).name or data
