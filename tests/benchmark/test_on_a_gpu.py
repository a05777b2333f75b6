"""`benchmarks/on_a_gpu.py` on a CPU: tiny networks of every section, and tasks that fail or find no time."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import on_a_gpu


def run(folder, *words):
    command = [sys.executable, on_a_gpu.__file__, "--small", "--device", "cpu", "--out", folder, *words]
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


HELD = weakref.WeakSet()


class Failing:
    """A call that works a few times. Those that something still holds are in HELD."""

    def __init__(self, good: int) -> None:
        self.left = good
        HELD.add(self)

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("no C | compiler\nand much more")


def failing_at_once() -> Failing:
    kept = Failing(0)
    kept()
    return kept


@pytest.mark.parametrize("good", [0, on_a_gpu.WARM, on_a_gpu.WARM + 1, on_a_gpu.WARM + 2])
def test_a_variant_that_fails_is_noted_and_the_others_go_on(good):
    """In the warm-up, where calls are counted, in the first turn and in the second."""
    failing = failing_at_once if good == 0 else lambda: Failing(good)
    variants = {"verydeep": lambda: Failing(99), "peer": failing, "another peer": lambda: Failing(99)}
    task = on_a_gpu.Task("training", "D", "float32", 8, variants)
    rows = []
    for row in on_a_gpu.measured(task, on_a_gpu.Gpu("cpu"), replace(on_a_gpu.SMALL, turns=2)):
        if not rows:
            assert len(HELD) == 2  # what the failed one held is free
        rows.append(row)
    assert [row.note for row in rows] == ["", "no C | compiler", ""]
    assert rows[0].images_per_second > 0 and rows[1].images_per_second is None and rows[2].ratio == 1
    assert r"| peer | no C \| compiler |" in on_a_gpu.as_markdown({}, rows, [])


def test_a_task_is_left_out_that_may_not_end_in_time(tmp_path, monkeypatch):
    now = [0.0]

    def lasting(section: str, seconds: float) -> on_a_gpu.Task:
        def make():
            now[0] += seconds
            return lambda: None

        return on_a_gpu.Task(section, f"{seconds:g} s", "float32", 1, {"verydeep": make})

    tasks = [lasting("training", 30), lasting("training", 20), lasting("training", 5), lasting("inference", 10)]
    monkeypatch.setattr(on_a_gpu, "agreement", lambda sizes, gpu: iter(()))
    monkeypatch.setattr(on_a_gpu, "tasks", lambda sizes, gpu: iter(tasks))
    clock = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(on_a_gpu, "time", clock)
    words = ["--small", "--device", "cpu", "--seconds", "75", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["on_a_gpu.py", *words])
    on_a_gpu.main()
    found = json.loads((tmp_path / "on_a_gpu.json").read_text())
    assert [row["task"] for row in found["rows"]] == ["30 s", "20 s", "10 s"]
    assert found["left_out"] == ["training, 5 s, float32"]
