"""A hundred random cases of each run of the suite; `benchmarks/consistency.py` tries thousands."""

from __future__ import annotations

from collections import Counter

import pytest
from cases import CASES, run_case
from outcomes import AGREE, DIFFER

SLOW = ("matconvnet", "checkpoints", "pooled")


@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=pytest.mark.heavy) if one in SLOW else one for one in CASES]
)
def test_nothing_is_read_in_another_way_in_silence(kind, tmp_path):
    outcomes = [run_case(kind, seed, tmp_path / str(seed)) for seed in range(CASES[kind].in_suite)]
    assert [outcome.words for outcome in outcomes if outcome.kind == DIFFER] == []
    assert Counter(outcome.kind for outcome in outcomes)[AGREE] >= CASES[kind].least_agreeing * len(outcomes)
