"""Learning curves of a study: read from journals, kept without them, and of this description alone."""

from __future__ import annotations

import json

import pytest
from made import TEXT

from verydeep.api.study import make_report
from verydeep.errors import ModelError
from verydeep.studies.curves import CURVES, gather_curves, write_curves
from verydeep.studies.description import parse
from verydeep.studies.workflow import make_workflow


@pytest.fixture
def workflow():
    return make_workflow(parse(TEXT, "a study"))


def write_journal(run, epochs: int) -> None:
    run.mkdir(parents=True, exist_ok=True)
    lines = []
    for epoch in range(epochs):
        at = {"step": 2 * epoch + 1, "epoch": epoch}
        lines.append({**at, "loss": 1.0, "error": 50.0, "rate": 0.1 / (epoch + 1), "seconds": 1.0, "wait": 0.0})
        at["step"] += 1
        errors = {"train_error": 40.0 - epoch, "validation_error": 50.0 - epoch}
        lines.append({**at, "train_loss": 1.0, **errors, "best": True, "images_per_second": 9.0})
    (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_they_are_the_journals_and_stay_where_these_are_gone(workflow, tmp_path):
    write_journal(tmp_path / "runs/A-seed0", 2)
    write_journal(tmp_path / "runs/B-seed0", 1)
    write_curves(workflow, tmp_path, gather_curves(workflow, tmp_path))
    (tmp_path / "runs/A-seed0/journal.jsonl").unlink()
    write_journal(tmp_path / "runs/B-seed0", 2)
    found = gather_curves(workflow, tmp_path)
    assert list(found) == ["runs/A-seed0", "runs/B-seed0"]
    for epochs in found.values():
        numbers = [(one.epoch, one.rate, one.train_error, one.validation_error) for one in epochs]
        assert numbers == [(1, 0.1, 40, 50), (2, 0.05, 39, 49)]


def test_those_of_another_description_do_not_count(workflow, tmp_path):
    write_journal(tmp_path / "runs/A-seed0", 2)
    write_curves(workflow, tmp_path, gather_curves(workflow, tmp_path))
    (tmp_path / "runs/A-seed0/journal.jsonl").unlink()
    other = make_workflow(parse(TEXT.replace("epochs = 2", "epochs = 3"), "a study"))
    assert gather_curves(other, tmp_path) == {}
    write_curves(other, tmp_path, {})
    assert list(gather_curves(workflow, tmp_path)) == ["runs/A-seed0"]  # a description may come back


def test_a_run_that_began_anew_does_not_cut_what_was_kept(workflow, tmp_path):
    write_journal(tmp_path / "runs/A-seed0", 2)
    write_curves(workflow, tmp_path, gather_curves(workflow, tmp_path))
    write_journal(tmp_path / "runs/A-seed0", 1)
    assert len(gather_curves(workflow, tmp_path)["runs/A-seed0"]) == 2


@pytest.mark.parametrize("line", ["runs/A-seed0,x", "runs/A-seed0,x,1,0.1,nan,3", "runs/A-seed0,x,one,0.1,2,3"])
def test_a_damaged_line_is_told(workflow, tmp_path, line):
    write_curves(workflow, tmp_path, {})
    with (tmp_path / CURVES).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ModelError, match=r"line 2 of .*curves\.csv is damaged"):
        gather_curves(workflow, tmp_path)


def test_the_page_draws_them(tmp_path):
    (tmp_path / "study.toml").write_text(TEXT)
    for name in ("A-seed0", "A-seed1", "B-seed0"):
        write_journal(tmp_path / "runs" / name, 2)
    make_report(tmp_path, data="animals")
    page = (tmp_path / "index.html").read_text()
    assert "Error on the training batches" in page and page.count("learning-train-") > 0
    assert len((tmp_path / CURVES).read_text().splitlines()) == 7
