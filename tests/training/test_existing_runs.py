"""Runs that are there already: resumed, extended, and told what has changed in their data."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rich.console import Console
from sample_images import class_folders, save, smooth

import verydeep
from verydeep import bars
from verydeep.cli import main
from verydeep.errors import UsageError
from verydeep.reports import watched
from verydeep.run_folder import (
    CONFIG,
    LAST_WEIGHTS,
    PREVIOUS_STATE,
    SPLIT,
    STATE,
    TRAINING_IMAGES,
    TRAINING_NAMES,
    WEIGHTS,
    read_training_names,
)
from verydeep.training.display import HEADINGS, display
from verydeep.training.journal import EpochRecord, StepRecord
from verydeep.training.recipe import Recipe
from verydeep.training.state import write_state

SMALL = ["--recipe", "digits", "--width", "0.03", "--batch-size", "8", "--warmup-epochs", "1"]
PLATEAU = ["--schedule", "plateau", "--patience", "1"]
STEPS = ["--schedule", "steps", "--milestones", "1", "3"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A desk with data and a run of one epoch that has finished."""
    desk = tmp_path_factory.mktemp("desk")
    class_folders(desk / "data", {"blue": 10, "green": 10})
    main(["train", str(desk / "data"), str(desk / "run"), *SMALL, "--epochs", "1"])
    return desk


@pytest.fixture
def desk(begun, tmp_path, monkeypatch) -> Path:
    shutil.copytree(begun, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


def train(*words: object) -> None:
    main(["train", *map(str, words)])


def refused(capsys, *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        train(*words)
    return ended.value.code, capsys.readouterr().err.strip().splitlines()[-1]


def test_a_new_run_on_an_old_one_is_told_how_that_goes_on(desk, capsys):
    said = (
        "run is a run that has finished (epochs: 1); add more with `verydeep train data run --resume --epochs 2`"
    )
    assert refused(capsys, "data", "run", *SMALL) == (2, f"verydeep: {said}, or choose another name")
    config = json.loads((desk / "run" / CONFIG).read_text())
    config["provenance"]["recipe"]["epochs"] = 3
    (desk / "run" / CONFIG).write_text(json.dumps(config))
    said = "run is a run that has not finished; resume it with `verydeep train data run --resume`"
    assert refused(capsys, "data", "run", *SMALL) == (2, f"verydeep: {said}, or choose another name")
    (desk / "other").mkdir()
    (desk / "other" / "thesis.tex").touch()
    said = "verydeep: other exists and is not empty; choose another name"
    assert refused(capsys, "data", "other", *SMALL) == (2, said)


def test_what_was_ended_before_it_began_is_no_run(desk):
    for name in (CONFIG, STATE, WEIGHTS, LAST_WEIGHTS, "journal.jsonl"):
        (desk / "run" / name).unlink()
    shutil.rmtree(desk / "run" / "tensorboard", ignore_errors=True)
    (desk / "run" / f".{CONFIG}.0a1b2c3d.part").touch()
    train("data", "run", *SMALL, "--epochs", "1")
    assert (desk / "run" / WEIGHTS).is_file()
    assert not list((desk / "run").glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule", [PLATEAU, pytest.param(STEPS, marks=pytest.mark.heavy)], ids=["plateau", "steps"]
)
def test_an_extended_run_is_the_unbroken_one(desk, capsys, schedule):
    train("data", "whole", *SMALL, *schedule, "--epochs", "4")
    train("data", "parts", *SMALL, *schedule, "--epochs", "2")
    train("data", "parts", "--resume", "--epochs", "4")
    assert "4 epochs instead of 2, as in a run that had this number from its start" in capsys.readouterr().err
    for name in (LAST_WEIGHTS, WEIGHTS):
        assert (desk / "parts" / name).read_bytes() == (desk / "whole" / name).read_bytes()
    provenance = json.loads((desk / "parts" / CONFIG).read_text())["provenance"]
    assert (provenance["recipe"]["epochs"], provenance["epochs_before"]) == (4, [2])
    train("data", "parts", "--resume")  # as long as it is now
    assert json.loads((desk / "parts" / CONFIG).read_text())["provenance"] == provenance


def test_a_longer_cosine_is_said_to_be_another_run(desk, capsys):
    train("data", "run", "--resume", "--epochs", "3", "--json")
    printed = capsys.readouterr()
    assert "3 epochs instead of 1, at the rates of the longer cosine from here on: the rate rises" in printed.err
    assert json.loads(printed.out)["epochs"] == 3
    said = "verydeep: --epochs 2 is less than the 3 of the run; it can only be raised"
    assert refused(capsys, "data", "run", "--resume", "--epochs", "2") == (2, said)


@pytest.mark.parametrize(
    ("added", "removed", "told"),
    [
        (["red/1.jpg", "red/2.jpg"], "", ["1 class added ('red'), 2 training images added ('red/"]),
        (["blue/new.jpg"], "", ["begun: 1 training image added ('blue/new.jpg'); restore it"]),
        ([f"blue/{n}.png" for n in range(15)], "", ["15 training images added ('blue/0.png', ", "and 12 more)"]),
        (["yellow/1.jpg", "yellow/2.jpg"], "green", ["1 class removed ('green')", "8 training images removed ("]),
    ],
)
def test_what_has_changed_in_the_data_is_told(desk, capsys, added, removed, told):
    for number, name in enumerate(added):
        save(desk / "data" / name, smooth(40, 36, seed=number))
    if removed:
        shutil.rmtree(desk / "data" / removed)
    code, said = refused(capsys, "data", "run", "--resume", "--epochs", "2")
    assert code == 1
    assert "verydeep: the data has changed since run was begun: " in said
    for part in told:
        assert part in said
    assert said.endswith("for example with this one's weights: `verydeep train data NEW-RUN --from run`")


def test_an_old_run_says_in_general_that_its_images_are_others(desk, capsys):
    assert len(read_training_names(desk / "run")) == 16
    (desk / "run" / TRAINING_NAMES).unlink()
    save(desk / "data" / "blue" / "new.jpg")
    code, said = refused(capsys, "data", "run", "--resume")
    assert code == 1
    assert "its images or their classes differ; restore it" in said


def test_another_validation_set_is_told(desk, capsys):
    """The best error so far is of the images that were held out."""
    held_out = json.loads((desk / "run" / SPLIT).read_text())["held_out"][0]
    (desk / "data" / held_out).unlink()
    code, said = refused(capsys, "data", "run", "--resume", "--epochs", "2")
    assert code == 1
    assert f"begun: 1 validation image removed ('{held_out}'); restore it" in said


def test_a_run_without_a_state_is_not_trained_anew(desk, capsys):
    """Its journal and its best model would be lost."""
    train("data", "run", "--resume", "--epochs", "2")
    for name in (STATE, PREVIOUS_STATE):
        (desk / "run" / name).unlink(missing_ok=True)
    before = {path.name: path.read_bytes() for path in (desk / "run").iterdir() if path.is_file()}
    code, said = refused(capsys, "data", "run", "--resume", "--epochs", "4")
    assert code == 2
    assert "has a trained model and no state to resume from" in said
    assert said.endswith("`verydeep train data NEW-RUN --from run`")
    assert before == {path.name: path.read_bytes() for path in (desk / "run").iterdir() if path.is_file()}


def test_a_run_keeps_its_recipe(desk, capsys):
    code, said = refused(capsys, "data", "run", "--recipe", "photos", "--resume")
    assert code == 2
    assert "was begun with recipe digits, and is resumed with it; leave --recipe out" in said


def test_milestones_in_a_list_are_those_of_the_run(desk):
    settings = {"recipe": "digits", "width": 0.03, "batch_size": 8, "schedule": "steps", "milestones": [1, 3]}
    verydeep.train("data", "steps", epochs=1, **settings)
    again = verydeep.train("data", "steps", resume=True, epochs=2, schedule="steps", milestones=[1, 3])
    assert again.epochs == 2
    again = verydeep.train("data", "steps", resume=True, epochs=3, milestones=[1, 3])
    assert again.epochs == 3
    with pytest.raises(UsageError, match="milestones cannot be changed"):
        verydeep.train("data", "steps", resume=True, epochs=4, milestones=[1, 2])
    with pytest.raises(UsageError, match="no setting of a recipe is called 'milestone'"):
        verydeep.train("data", "steps", resume=True, milestone=[1, 3])


def test_a_run_does_not_count_as_finished_before_its_files_are_there(desk, monkeypatch):
    seen = []

    def write_state_and_look(run: Path, state: object) -> None:
        seen.append(watched.open_run(run).headline().state)
        write_state(run, state)

    monkeypatch.setattr("verydeep.training.loop.write_state", write_state_and_look)
    train("data", "new", *SMALL, "--epochs", "2")
    assert len(seen) == 2
    assert "finished" not in seen
    assert watched.open_run(desk / "new").headline().state == "finished"


def test_a_restart_of_torchrun_resumes_its_own_run_alone(desk, capsys, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    monkeypatch.setattr("verydeep.api.train.launched_at", lambda: time.time() + 1)  # after the run had ended
    assert "is a run that has finished (epochs: 1)" in refused(capsys, "data", "run", *SMALL, "--epochs", "2")[1]
    monkeypatch.setattr("verydeep.api.train.launched_at", lambda: time.time() - 3600)
    train("data", "run", *SMALL, "--epochs", "2")
    assert "2 epochs instead of 1" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's /proc")
def test_the_time_of_a_launch_is_that_of_the_parent():
    child = "from verydeep.distributed import launched_at; print(launched_at())"
    parent = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    before = time.time()
    environment = {**os.environ, "TORCHELASTIC_RUN_ID": "any"}
    done = subprocess.run(
        [sys.executable, "-c", parent], env=environment, capture_output=True, text=True, check=True
    )
    assert before - 2 < float(done.stdout) < time.time() + 2


@pytest.mark.parametrize("columns", [80, 120])
def test_the_bar_has_the_numbers_of_the_epochs_line(monkeypatch, capsys, columns):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(bars, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=columns))
    with display(0, 4, 50, 64) as show:
        show(StepRecord(0, 0, 2.0, 50.0, 0.1, 0.5, 0.1))
        show(EpochRecord(50, 0, 2.0, 50.0, 44.0, True, 99.0))
        show(StepRecord(50, 1, 3.0, 60.0, 0.1, 0.5, 0.1))
        show(StepRecord(51, 1, 1.0, 40.0, 0.1, 0.5, 0.1))
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", capsys.readouterr().err).strip().splitlines()
    for words in ("epoch 2/4", "52/200", "loss 2.000", "error 50.0 %, val 44.0 %", "128/s"):
        assert words in lines[-1]
    assert any(line.endswith(HEADINGS) for line in lines)
    assert any(
        line.endswith("1/4       2.000         50.00 %           44.00 %        99  best so far") for line in lines
    )


def test_the_bar_of_a_resumed_epoch_has_the_steps_before_too(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(bars, "Console", lambda stderr: Console(stderr=stderr, force_terminal=True, width=120))
    before = [StepRecord(number, 0, 3.0, 60.0, 0.1, 0.5, 0.1) for number in range(3)]
    with display(3, 4, 50, 64, before) as show:
        show(StepRecord(3, 0, 1.0, 20.0, 0.1, 0.5, 0.1))
    assert "loss 2.500  error 50.0 %" in capsys.readouterr().err


@pytest.mark.parametrize("name", [SPLIT, TRAINING_IMAGES, TRAINING_NAMES])
def test_a_file_of_the_users_that_is_called_as_one_of_ours_stays(tmp_path, name):
    mine = tmp_path / "run" / name
    mine.parent.mkdir()
    mine.write_text('{"mine": 1}')
    with pytest.raises(UsageError, match="exists and is not empty"):
        verydeep.train("digits", mine.parent, recipe="digits")
    assert mine.read_text() == '{"mine": 1}'


def test_a_run_of_one_epoch_without_a_state_is_not_trained_anew(desk, capsys):
    (desk / "run" / STATE).unlink()
    before = {path.name: path.read_bytes() for path in (desk / "run").iterdir() if path.is_file()}
    for more in ([], ["--epochs", "2"]):
        code, said = refused(capsys, "data", "run", "--resume", *more)
        assert (code, "no state to resume from" in said) == (2, True)
    assert before == {path.name: path.read_bytes() for path in (desk / "run").iterdir() if path.is_file()}


def test_an_interval_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(UsageError, match="`save_seconds` is nan"):
        verydeep.train("digits", tmp_path / "run", save_seconds=float("nan"))


def test_a_recipe_with_lists_resumes_with_itself(tmp_path):
    data = class_folders(tmp_path / "photos", {"cat": 6, "dog": 6})
    recipe = Recipe(
        config="A",
        width=0.03,
        window=32,
        train_scale=[36, 40],
        schedule="steps",
        milestones=[1],
        epochs=2,
        batch_size=8,
    )
    assert (recipe.train_scale, recipe.milestones) == ((36, 40), (1,))
    verydeep.train(data, tmp_path / "run", recipe=recipe)
    assert verydeep.train(data, tmp_path / "run", recipe=recipe, resume=True).epochs == 2
