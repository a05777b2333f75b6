"""`benchmarks/starting_points.py` and `fine_tuning.py`: what is done again, and that ways are compared fairly."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sample_images import class_folders

from verydeep.api.bench import random_model
from verydeep.cli import main
from verydeep.configurations import Architecture
from verydeep.evaluation.results import read_result
from verydeep.images.sources import open_data
from verydeep.run_folder import CONFIG, LAST_WEIGHTS, write_model, write_training_images

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import fine_tuning
import starting_points

TINY = ["--width", "0.02", "--window", "32", "--train-scale", "36"]


@pytest.fixture
def commands(monkeypatch):
    """Commands in the order in which they were run; a training begins its run."""
    run: list[list[str]] = []

    def run_command(*words: str, output: int | None = None) -> str:
        run.append([word for word in words if word != "--json"])
        if words[0] == "train":
            Path(words[2]).mkdir(parents=True, exist_ok=True)
            (Path(words[2]) / CONFIG).touch()  # as long before the first state
        return json.dumps({"answer": len(run)})

    monkeypatch.setattr(starting_points, "run_command", run_command)
    monkeypatch.setattr(fine_tuning, "run_command", run_command)
    return run


def test_a_command_is_run_again_only_if_it_changed(commands, tmp_path):
    run = tmp_path / "from-last.safetensors-0"
    words = ["train", "data", str(run), "--epochs", "5"]
    assert starting_points.timed(run, words)["answer"] == 1
    assert starting_points.timed(run, words)["answer"] == 1
    result = fine_tuning.beside(run, ".npz")
    result.touch()
    (run / "of-before").touch()
    assert starting_points.timed(run, [*words[:-1], "10"])["answer"] == 2
    assert not result.exists() and not (run / "of-before").exists()


def test_runs_of_names_with_points_have_files_of_their_own(commands, tmp_path):
    names = ["from-last.safetensors-0", "from-last.safetensors-pilot-1", "from-last.safetensors"]
    for name in names:
        starting_points.timed(tmp_path / name, ["train", "data", str(tmp_path / name)])
    assert len(commands) == 3
    assert len(list(tmp_path.glob("*.json"))) == 3
    assert len({fine_tuning.beside(tmp_path / name, ".npz") for name in names}) == 3


def test_an_interruption_leaves_nothing_that_passes_for_complete(commands, tmp_path, monkeypatch):
    run = tmp_path / "run"
    words = ["train", "data", str(run), "--epochs", "5"]
    starting_points.timed(run, words)

    def interrupted(*words: str, output: int | None = None) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(starting_points, "run_command", interrupted)
        starting_points.timed(run, [*words[:-1], "10"])
    assert starting_points.timed(run, words)["answer"] == 2


@pytest.mark.parametrize(("seconds", "epochs"), [((10.0, 30.0), 6), ((12.0, 12.0), 13), ((15.0, 12.0), 12)])
def test_epochs_are_counted_where_the_machine_was_busy_too(tmp_path, monkeypatch, seconds, epochs):
    told = iter(seconds)
    monkeypatch.setattr(starting_points, "timed", lambda run, words: {"seconds": next(told)})
    assert starting_points.epochs_within(1, tmp_path, tmp_path / "run", []) == epochs


def test_models_of_one_name_have_labels_of_their_own():
    models = ["a/last.safetensors", "b/last.safetensors", "cifar10", "cifar10", "scratch"]
    labels = starting_points.labels_of(models)
    assert list(labels) == models[:3] + models[4:]
    assert labels["cifar10"] == "cifar10" and labels["a/last.safetensors"] == "last.safetensors"
    assert len({*labels.values(), "scratch"}) == 5


@pytest.fixture
def photos(tmp_path) -> Path:
    class_folders(tmp_path / "photos/train", {"cat": 4, "dog": 4})
    return class_folders(tmp_path / "photos/val", {"cat": 2, "dog": 1}, (44, 40)).parent


@pytest.fixture
def model(tmp_path) -> Path:
    config, tensors = random_model(Architecture("B", 2, 1 / 32, 64))
    write_model(tmp_path / "model", replace(config, class_names=("x", "y")), tensors)
    return tmp_path / "model"


@pytest.fixture
def here(monkeypatch):
    """Commands are run in this process; trainings have an epoch, and from scratch tiny networks."""

    def run_command(*words: str, output: int | None = None) -> str:
        if words[0] == "train" and fine_tuning.AT_RANDOM[1] in words:
            words = (*words, *TINY)
        told = io.StringIO()
        with redirect_stdout(told):
            assert not main(list(words))
        return told.getvalue()

    monkeypatch.setattr(starting_points, "run_command", run_command)
    monkeypatch.setattr(fine_tuning, "run_command", run_command)
    monkeypatch.setattr(starting_points, "epochs_within", lambda *about: 1)


def test_ways_are_compared_by_their_last_weights_on_the_same_images(here, photos, model, tmp_path):
    rows = starting_points.measure(photos, tmp_path / "out", [str(model)], 0.001, 1)
    assert [row["way"] for row in rows] == ["transfer model", "from model", "from scratch"]
    for way in ("from-model", "from-scratch"):
        result = read_result(tmp_path / "out" / way / "seed-0.npz")
        assert result.facts.first.model == str(tmp_path / "out" / way / "seed-0" / LAST_WEIGHTS)
        assert result.facts.class_names == ("cat", "dog")
        assert len(result.names) == 3
    by_class = result.error_rates.per_class
    assert rows[-1]["error"] == pytest.approx((by_class[0] + by_class[1]) / 2)
    table = starting_points.as_table({"photos": rows}).splitlines()
    assert table[0] == "| data | transfer model | from model | from scratch |"
    assert table[2] == "| configuration | B, width 0.03125 | B, width 0.03125 | A, width 0.02 |"
    assert table[3] == "| window | 64 | 64 | 32 |"
    assert table[4].endswith("| 36 |")
    assert table[5].startswith("| photos | ")


def test_a_way_that_was_tested_on_fewer_images_is_refused(here, photos, model, tmp_path, monkeypatch):
    held_out = open_data(str(photos)).held_out
    write_training_images(model, held_out.source.hashes(lambda count: None)[:1])
    with pytest.raises(SystemExit, match=r"model was not tested on all held-out images of .*photos"):
        starting_points.measure(photos, tmp_path / "out", [str(model)], 0.001, 1)


def test_photographs_without_the_classes_are_refused_in_a_sentence(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["starting_points.py", str(photos), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        starting_points.main()
    assert ended.value.code == 2
    assert "photos lacks classes in train/ or val/: 'ant', 'bass'" in capsys.readouterr().err


def test_fine_tuning_resumes_a_run_that_has_no_state_yet(commands, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    for _ in range(2):
        fine_tuning.train(data, run, "--epochs", "2")
    assert commands == [["train", str(data), str(run), *more] for more in (["--epochs", "2"], ["--resume"])]


def test_fine_tuning_with_other_epochs_is_another_training(commands, tmp_path, monkeypatch):
    photos = class_folders(tmp_path / "photos", dict.fromkeys("abcd", 1))
    result = SimpleNamespace(error_rates=SimpleNamespace(top1_error=50.0))
    monkeypatch.setattr(fine_tuning, "tested", lambda model, data, results: result)
    for epochs in ("1", "2"):
        words = [str(photos), str(tmp_path / "out"), "--classes", "2", "--epochs", epochs, "--seeds", "1"]
        monkeypatch.setattr(sys, "argv", ["fine_tuning.py", *words])
        fine_tuning.main()
    assert [words[words.index("--epochs") + 1] for words in commands] == ["1"] * 3 + ["2"] * 3
    assert len({words[2] for words in commands}) == 6


def test_a_command_that_fails_ends_fine_tuning_with_its_exit_code(capfd):
    with pytest.raises(SystemExit) as ended:
        fine_tuning.run_command("train", "nowhere", "run", "--resume", "--from", "cifar10")
    assert ended.value.code == 2
    assert "Traceback" not in capfd.readouterr().err


def test_fine_tuning_with_too_many_classes_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fine_tuning.py", str(tmp_path / "nowhere"), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        fine_tuning.main()
    assert ended.value.code == 2
    assert "nowhere has 0 classes: --classes must be" in capsys.readouterr().err
