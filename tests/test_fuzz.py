"""A hundred damaged and crafted files of our own kinds; `benchmarks/fuzz.py` opens 20,000, of all kinds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import fuzz

OURS = (
    *("result", "printed result", "features", "config", "journal", "split", "training images", "classifier"),
    *("state", "lpips", "manifest", "index", "tar", "key of parts", "parts", "feature parts", "study", "ledger"),
)


@pytest.mark.parametrize("kind", OURS)
def test_a_file_of_a_stranger_is_read_or_refused_in_a_sentence(kind):
    result = fuzz.fuzz(kind, -(-100 // len(OURS)), seed=1)
    assert not result["mistakes"]
    assert result["answers"] + result["refusals"] == result["mutants"]
