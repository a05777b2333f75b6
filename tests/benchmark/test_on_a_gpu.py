"""`benchmarks/on_a_gpu.py` with tiny networks on a CPU: every section is computed, and the files say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "on_a_gpu.py"


def run(folder, *words):
    command = [sys.executable, SCRIPT, "--small", "--device", "cpu", "--out", folder, *words]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return json.loads((folder / "on_a_gpu.json").read_text()), (folder / "on_a_gpu.md").read_text()


@pytest.mark.heavy
def test_every_section_is_computed(tmp_path):
    found, table = run(tmp_path)
    rows = found["rows"]
    assert {row["section"] for row in rows} == {"agreement", "training", "inference", "LPIPS", "dense test"}
    assert found["left_out"] == []
    assert table.count("\n| ") == len(rows) + 1
    errors = {(row["task"], row["precision"]): row["error"] for row in rows if row["section"] == "agreement"}
    for task in ("D, class scores", "LPIPS, gradient to an image"):
        assert errors[task, "float32"] < 1e-5 < errors[task, "bfloat16"] < 0.5
    for row in rows:
        assert row["section"] == "agreement" or row["images_per_second"] > 0
    peers = [row for row in rows if row["section"] == "training" and row["variant"].startswith("torchvision")]
    assert max(row["ratio"] for row in peers) == 1


@pytest.mark.heavy
def test_what_there_is_no_time_for_is_listed(tmp_path):
    found, table = run(tmp_path, "--seconds", "0")
    assert {row["section"] for row in found["rows"]} == {"agreement"}
    assert found["left_out"][0] == "training, D, batch 2, float32" and found["left_out"][0] in table
