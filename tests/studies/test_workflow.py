"""Plans: what depends on what, and the dry run as people see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from verydeep.cli import main
from verydeep.studies.cost import Rates, cost
from verydeep.studies.description import SHIPPED, Size, parse, read_text
from verydeep.studies.workflow import make_workflow

TEXT = """
title = "Two networks"
data = "digits"
recipe = "digits"
reach = 4
[settings]
epochs = 2
[[train]]
networks = ["A", "D"]
[[train]]
networks = "D"
name = "grown"
grow_from = "A"
scale = [32, 40]
seeds = [0, 3]
[[test]]
networks = "grown"
views = ["both", "dense"]
scales = "three"
[[fuse]]
networks = ["D", "grown"]
"""
GOLDEN = """Two networks

  1. runs/A-seed0: to do
     verydeep train digits OUT/runs/A-seed0 --recipe digits --config A --epochs 2 --seed 0
  2. runs/D-seed0: to do
     verydeep train digits OUT/runs/D-seed0 --recipe digits --config D --epochs 2 --seed 0
  3. runs/grown-seed0: to do, after 1
     verydeep train digits OUT/runs/grown-seed0 --recipe digits --config D --train-scale 32:40 --epochs 2 \
--seed 0 --grow-from OUT/runs/A-seed0
  4. tests/grown-seed0.dense.32-36-40.npz: to do, after 3
     verydeep evaluate OUT/runs/grown-seed0 digits --views dense --scales 32 36 40 --out \
OUT/tests/grown-seed0.dense.32-36-40.npz
  5. tests/grown-seed0.crops.32-36-40.npz: to do, after 3
     verydeep evaluate OUT/runs/grown-seed0 digits --views crops --scales 32 36 40 --out \
OUT/tests/grown-seed0.crops.32-36-40.npz
  6. tests/grown-seed0.both.32-36-40.npz: to do, after 4, 5
     verydeep fuse OUT/tests/grown-seed0.dense.32-36-40.npz OUT/tests/grown-seed0.crops.32-36-40.npz --out \
OUT/tests/grown-seed0.both.32-36-40.npz
  7. tests/D-seed0.dense.36.npz: to do, after 2
     verydeep evaluate OUT/runs/D-seed0 digits --views dense --scales 36 --out \
OUT/tests/D-seed0.dense.36.npz
  8. tests/grown-seed0.dense.36.npz: to do, after 3
     verydeep evaluate OUT/runs/grown-seed0 digits --views dense --scales 36 --out \
OUT/tests/grown-seed0.dense.36.npz
  9. fusions/D+grown-seed0.dense.one.npz: to do, after 7, 8
     verydeep fuse OUT/tests/D-seed0.dense.36.npz OUT/tests/grown-seed0.dense.36.npz --out \
OUT/fusions/D+grown-seed0.dense.one.npz
"""


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "two.toml"
    path.write_text(TEXT.replace("[0, 3]", "0"))
    return path


def without_times(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(line.partition(", about")[0] for line in lines[:-2]) + "\n"


def test_the_dry_run(file, capsys, tmp_path):
    main(["study", str(file), "--out", "OUT", "--dry-run"])
    out = capsys.readouterr().out
    assert without_times(out) == GOLDEN
    assert "9 steps, 9 to do, about" in out
    assert not (tmp_path / "OUT").exists()


def test_the_dry_run_for_programs(file, capsys):
    main(["study", str(file), "--out", "OUT", "--dry-run", "--json", "--speed", "1"])
    plan = json.loads(capsys.readouterr().out)
    assert plan["size"] == {"train": 1438, "test": 359, "classes": 10}
    assert [step["kind"] for step in plan["steps"]].count("train") == 3
    assert plan["disk_bytes"] == pytest.approx(sum(step["disk_bytes"] for step in plan["steps"]))
    assert plan["seconds_left"] == pytest.approx(sum(step["seconds"] for step in plan["steps"]))


def test_a_report_of_nothing_yet(file, tmp_path, capsys):
    (tmp_path / "OUT").mkdir()
    (tmp_path / "OUT" / "study.toml").write_text(file.read_text())
    main(["study", "--report", "--out", "OUT", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["tables"] == []
    assert {claim["verdict"] for claim in report["claims"]} == {"not tested"}
    page = (tmp_path / "OUT" / "index.html").read_text()
    assert "Nothing has been tested yet" in page
    assert "9 of 9 steps are not finished" in page


def test_a_seed_that_the_parent_lacks_is_refused(file, capsys):
    file.write_text(TEXT)
    with pytest.raises(SystemExit):
        main(["study", str(file), "--out", "OUT", "--dry-run"])
    assert "grown with seed 3 starts from A with that seed, which A lacks" in capsys.readouterr().err


@pytest.mark.parametrize("name", SHIPPED)
def test_each_step_comes_after_what_it_needs(name):
    workflow = make_workflow(parse(read_text(name), name))
    before: set[str] = set()
    for step in workflow.steps.values():
        assert set(step.needs) <= before
        assert set(workflow.ancestors(step.name)) <= before
        before.add(step.name)


def test_rates_are_learnt():
    workflow = make_workflow(parse(TEXT.replace("[0, 3]", "0"), "two"))
    size = Size(1000, 100, 10)
    first, second = (workflow.steps[f"runs/{name}-seed0"] for name in "AD")
    rates = Rates(1e9)
    guess = rates.seconds(second, cost(second, size))
    rates.learn(first, cost(first, size), 3 * rates.seconds(first, cost(first, size)))
    assert rates.seconds(second, cost(second, size)) == pytest.approx(3 * guess)
