"""A study that is killed at five random moments ends with the tables of one that was not."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest
from sample_images import class_folders

from verydeep.cli import main
from verydeep.evaluation.results import read_result
from verydeep.lock import is_written, writing_folder
from verydeep.run_folder import STATE
from verydeep.studies.state import RECORDS

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

TEXT = """
title = "A tiny study"
recipe = "digits"
reach = 2
[settings]
epochs = 2
width = 0.02
batch_size = 8
batch_norm = false
learning_rate = 0.02
[[train]]
networks = "A"
[[train]]
networks = "B"
grow_from = "A"
[[test]]
networks = "B"
views = "both"
[[fuse]]
networks = ["A", "B"]
"""
TABLES = ("tables.md", "tables.csv", "claims.json")


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    desk = tmp_path_factory.mktemp("desk")
    class_folders(desk / "data", {"red": 40, "green": 40, "blue": 40})
    (desk / "tiny.toml").write_text(TEXT)
    return desk


def command(desk: Path, out: str) -> list[str]:
    return [sys.executable, "-m", "verydeep", *words(desk, out)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@dataclass
class Ended:
    returncode: int
    stdout: str
    stderr: str


def run(desk: Path, out: str, *more: str, file: str = "tiny.toml") -> Ended:
    """The command, in this process; its steps have processes of their own."""
    stdout, stderr, code = StringIO(), StringIO(), 0
    with redirect_stdout(stdout), redirect_stderr(stderr):
        try:
            main([*words(desk, out, file), *more])
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Ended(code, stdout.getvalue(), stderr.getvalue())


def words(desk: Path, out: str, file: str = "tiny.toml") -> list[str]:
    return ["study", str(desk / file), "--out", str(desk / out), "--data", str(desk / "data")]


def without_b(unbroken: Path, name: str) -> Path:
    """A copy of the study in which A is trained and tested, and B is not."""
    out = unbroken.with_name(name)
    shutil.copytree(unbroken, out)
    shutil.rmtree(out / "runs" / "B-seed0")
    return out


def records(out: Path, event: str) -> list[str]:
    lines = (out / RECORDS).read_text().splitlines()
    return [record["step"] for record in map(json.loads, lines) if record["event"] == event]


@pytest.fixture(scope="module")
def unbroken(desk) -> Path:
    outcome = run(desk, "unbroken")
    assert outcome.returncode == 0, outcome.stderr
    assert "Table 3" in outcome.stdout
    return desk / "unbroken"


def test_it_makes_every_file(unbroken):
    assert {path.name for path in unbroken.iterdir()} >= {*TABLES, "index.html", "study.toml", "study.jsonl"}
    assert len(records(unbroken, "finished")) == len(set(records(unbroken, "finished"))) == 7
    page = (unbroken / "index.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "A tiny study" in page
    assert page.count("<svg") == 5  # the claims; depth here and in the paper; training and validation by epoch


def test_the_report_says_the_same_again(unbroken, capsys):
    before = {name: (unbroken / name).read_text() for name in (*TABLES, "index.html")}
    main(["study", "--report", "--out", str(unbroken), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert {name: (unbroken / name).read_text() for name in before} == before
    assert report["claims"] == json.loads(before["claims.json"])
    table_6 = next(table for table in report["tables"] if table["table"] == 6)
    fused = read_result(unbroken / "fusions" / "A+B-seed0.dense.one.npz")
    assert table_6["rows"][0]["top1_error"] == [fused.error_rates.top1_error]


@pytest.mark.heavy
def test_each_step_shared_by_two_processes(desk, unbroken):
    out = without_b(unbroken, "shared")
    outcome = run(desk, "shared", "--processes", "2")
    assert outcome.returncode == 0, outcome.stderr
    config = json.loads((out / "runs" / "B-seed0" / "config.json").read_text())
    assert config["provenance"]["grown_from"].endswith("A-seed0")
    again = records(out, "finished")[7:]
    assert len(again) == len(set(again)) == 5  # B, its tests, and the fusions
    assert {path.name for path in (out / "runs").iterdir()} == {"A-seed0", "B-seed0"}


@pytest.mark.heavy
def test_killed_at_five_moments(desk, unbroken):
    out = desk / "killed"
    moments = random.Random(0)
    kills = 0
    for _ in range(5):
        process = subprocess.Popen(
            command(desk, "killed"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment(),
            start_new_session=True,
        )  # fmt: skip
        begun = len(records(out, "begun")) if (out / RECORDS).exists() else 0
        end = time.monotonic() + 120
        while process.poll() is None and not ((out / RECORDS).exists() and len(records(out, "begun")) > begun):
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(
            moments.uniform(0, 1)
        )  # less than two steps take on a fast machine: five kills are not to reach the end
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    outcome = run(desk, "killed")
    assert outcome.returncode == 0, outcome.stderr
    assert kills >= 3
    for name in TABLES:
        assert (out / name).read_text() == (unbroken / name).read_text(), name
    finished = records(out, "finished")
    assert sorted(finished) == sorted(set(finished))  # what was finished has not been done again


def test_what_is_done_is_not_done_again(desk, unbroken):
    before = (unbroken / RECORDS).read_text()
    outcome = run(desk, "unbroken")
    assert outcome.returncode == 0
    assert "7 steps, 0 to do" in outcome.stderr
    assert (unbroken / RECORDS).read_text() == before


def test_only_one_at_once(desk, unbroken):
    with writing_folder(unbroken):
        outcome = run(desk, "unbroken")
    assert outcome.returncode == 1
    assert "is being written by process" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_another_description_does_not_overwrite(desk, unbroken):
    other = desk / "other.toml"
    other.write_text(TEXT.replace("epochs = 2", "epochs = 3"))
    outcome = run(desk, "unbroken", file="other.toml")
    assert outcome.returncode == 2
    assert "was made by a different command than in this description" in outcome.stderr
    assert "epochs = 2" in (unbroken / "study.toml").read_text()


def test_a_network_that_was_grown_from_a_lost_one_is_not_carried_on(desk, unbroken):
    out = desk / "orphan"
    shutil.copytree(unbroken, out)
    shutil.rmtree(out / "runs" / "A-seed0")
    before = (out / RECORDS).read_text()
    outcome = run(desk, "orphan")
    assert outcome.returncode == 2
    assert "B-seed0 started from weights that are gone or were trained anew since" in outcome.stderr
    assert (out / "runs" / "B-seed0" / "model.safetensors").is_file()
    assert (out / RECORDS).read_text() == before


def test_the_training_images_must_stay_the_same(desk, unbroken):
    lines = (unbroken / "outcomes.jsonl").read_text().splitlines()
    tests = [json.loads(line) for line in lines if '"tests/' in line and ".both." not in line]
    assert len(tests) == 3 and len({line["trained_on"] for line in tests}) == 1
    added = desk / "data" / "red" / "added.png"
    shutil.copy(next((desk / "data" / "red").iterdir()), added)
    try:
        outcome = run(desk, "unbroken")
    finally:
        added.unlink()
    assert outcome.returncode == 2
    assert f"and {desk / 'data'} have different training images; restore the data" in outcome.stderr


def test_a_step_that_fails_is_named_and_the_others_go_on(desk, unbroken):
    text = TEXT.replace(
        'networks = "B"\ngrow_from', 'networks = "B"\nsettings = { learning_rate = 1e6 }\ngrow_from'
    )
    (desk / "wild.toml").write_text(text + '[[test]]\nnetworks = "A"\nviews = "centre"\n')
    without_b(unbroken, "wild")
    begun = len(records(unbroken, "begun"))
    outcome = run(desk, "wild", file="wild.toml")
    assert outcome.returncode == 1
    assert "the first is runs/B-seed0: ended with exit code 1: the loss is" in outcome.stderr
    assert "tests/A-seed0.centre.36.npz" in records(desk / "wild", "finished")
    assert "fusions/A+B-seed0.dense.one.npz" not in records(desk / "wild", "begun")[begun:]
    assert (desk / "wild" / "index.html").exists()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.heavy), signal.SIGTERM])
def test_a_signal_to_it_alone_ends_the_step_which_saves_its_state(desk, number):
    process = subprocess.Popen(
        command(desk, f"ended{number}"),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    end = time.monotonic() + 120
    step = desk / f"ended{number}" / "runs" / "A-seed0"
    while not (step / "journal.jsonl").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert (step / STATE).is_file()
    assert not is_written(step)
    assert "stopped; `verydeep study" in said
    assert "Traceback" not in said
