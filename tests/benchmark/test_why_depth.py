"""`benchmarks/why_depth.py`: the rule that was written before the networks were trained."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from verydeep.evaluation.paired import Interval

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import why_depth

SMALLER, NOT_SMALLER = Interval(-2.0, -2.5, -1.5), Interval(-0.3, -0.8, 0.2)


@pytest.mark.parametrize(
    ("gap", "gap_with_bn", "change", "deep_learns", "words"),
    [
        (1.0, 3.0, SMALLER, True, "the schedules"),
        (-4.0, 0.1, NOT_SMALLER, True, "the schedules"),
        (3.0, 1.0, SMALLER, True, "batch norm repairs"),
        (3.0, 1.0, NOT_SMALLER, True, "open"),
        (3.0, 1.2, SMALLER, True, "open"),
        (3.0, 1.6, SMALLER, True, "neither"),
        (60.0, 1.0, SMALLER, False, "batch norm repairs"),
    ],
)
def test_each_case_of_the_rule(gap, gap_with_bn, change, deep_learns, words):
    said = why_depth.verdict(gap, gap_with_bn, change, deep_learns)
    assert said == words if words == "open" else words in said


def test_the_results_that_are_kept_say_what_the_documentation_says():
    said = why_depth.tell(Path(__file__).parents[2] / "results" / "why-depth").splitlines()
    assert said[-1] == "verdict: deep networks without batch norm learn slowly, and batch norm repairs that"
    assert said[-2] == "batch norm changes that of the test by -1.97 (-2.95 to -1.00)"
