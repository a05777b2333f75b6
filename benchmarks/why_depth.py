"""Why deeper networks lose in the study of 30 epochs: the rule of results/why-depth/study.toml, applied.

    verydeep study results/why-depth/study.toml --out OUT --data DATA
    python benchmarks/why_depth.py OUT

The rule was written before the networks were trained; it is in that file's comments.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from verydeep.evaluation.paired import Interval, bootstrap
from verydeep.studies.curves import gather_curves
from verydeep.studies.description import parse, read_text
from verydeep.studies.evidence import Wrong, gather
from verydeep.studies.outcomes import read_outcomes
from verydeep.studies.workflow import make_workflow

LAST = 3  # epochs whose training errors are averaged
GUESSING = 81.0  # error of a network that has not learned, in %


def verdict(gap: float, gap_with_bn: float, change: Interval, deep_learns: bool) -> str:
    """What the rule says.

    Args:
        gap: training error of E less that of B, in points, without batch norm.
        gap_with_bn: with it.
        change: of the difference of test errors of E and B, by batch norm, in points.
        deep_learns: whether E does without batch norm.

    """
    if gap <= 1.0 and deep_learns:
        return "the schedules made the order"
    if gap_with_bn <= gap / 3 and change.high < 0:
        return "deep networks without batch norm learn slowly, and batch norm repairs that"
    if gap_with_bn > gap / 2:
        return "neither: too few epochs, or layers on maps of 2x2, remain open"
    return "open"


def tell(out: Path) -> str:
    """The errors, the gaps and the verdict of a study's folder."""
    path = out / "study.toml"
    workflow = make_workflow(parse(read_text(str(path)), str(path)))
    trained = {
        training.name: np.mean([epoch.train_error for epoch in epochs[-LAST:]])
        for run, epochs in gather_curves(workflow, out).items()
        if (training := workflow.steps[run].training)
    }
    measured = {one.setup.networks[0]: one for one in gather(workflow, read_outcomes(workflow, out)).measurements}
    if missing := sorted(workflow.description.trainings.keys() - (trained.keys() & measured.keys())):
        raise SystemExit(f"{', '.join(missing)} of {out} not trained and tested yet; let the study end first")

    def wrong(name: str) -> Wrong:
        return measured[name].wrong

    def deeper(shallow: str, deep: str) -> tuple[float, Interval]:
        gap = float(trained[deep] - trained[shallow])
        return gap, bootstrap(100.0 * (wrong(deep).astype(float) - wrong(shallow)))

    lines = ["network  training error  test error"]
    lines += [f"{name:7}  {trained[name]:12.2f} %  {measured[name].error:8.2f} %" for name in sorted(trained)]
    (gap, tested), (gap_bn, tested_bn) = deeper("B", "E"), deeper("B-bn", "E-bn")
    doubly = wrong("E-bn").astype(float) - wrong("B-bn") - (wrong("E").astype(float) - wrong("B"))
    change = bootstrap(100.0 * doubly)
    for what, points, interval in (("", gap, tested), (" with batch norm", gap_bn, tested_bn)):
        lines.append(
            f"E less B{what}: {points:+.2f} points in training, {interval.mean:+.2f} "
            f"({interval.low:+.2f} to {interval.high:+.2f}) in the test"
        )
    lines.append(
        f"batch norm changes that of the test by {change.mean:+.2f} ({change.low:+.2f} to {change.high:+.2f})"
    )
    lines.append(f"verdict: {verdict(gap, gap_bn, change, measured['E'].error < GUESSING)}")
    return "\n".join(lines)


def main() -> None:
    """Print what the study came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT")
    print(tell(parser.parse_args().out))


if __name__ == "__main__":
    main()
