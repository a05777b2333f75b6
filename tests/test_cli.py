"""The command line as a person and a program meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from without_torch import WITHOUT_TORCH

import verydeep
from verydeep.api.new import new
from verydeep.cli import COMMANDS, SPINS, main
from verydeep.commands.words import EXAMPLES


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "verydeep", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_and_version_are_quick(arguments):
    """In under 0.3 s: the quickest of five, as the machine may be busy."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        result = run(*arguments)
        seconds.append(time.perf_counter() - start)
        assert result.returncode == 0
        assert not result.stderr
    assert min(seconds) < 0.3
    assert verydeep.__version__ in result.stdout or all(name in result.stdout for name in COMMANDS)


def test_commands_let_waiting_threads_of_torch_sleep_sooner(capsys, monkeypatch):
    monkeypatch.setenv(SPINS, "")  # so that it is put back as it was
    monkeypatch.delenv(SPINS)
    main(["describe", "D", "--json"])
    assert os.environ[SPINS] == "20000"
    monkeypatch.setenv(SPINS, "5")  # the user's own wish
    main(["describe", "D", "--json"])
    assert os.environ[SPINS] == "5"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: verydeep {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_the_terminal(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    example = shown[shown.index("Example: ") :].split("\n\n")[0]
    assert example.replace(" \\\n", "").split()[1:] == EXAMPLES[name].split()


def test_the_help_of_train_shows_the_recipe_that_is_named(capsys):
    for recipe, size in (("paper", "224"), ("cifar10", "32")):
        with pytest.raises(SystemExit):
            main(["train", "--recipe", recipe, "--help"])
        words = capsys.readouterr().out.split("--window INT")[1].split("--batch-norm")[0]
        assert f"(default: {size})" in " ".join(words.replace("│", " ").split())


def test_describe_json(capsys):
    main(["describe", "D", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["configuration"] == "D"
    assert facts["parameters"] == 138_357_544
    assert round(facts["multiply_adds"] / 1e9, 2) == 15.47
    assert facts["stages"][2]["stack_weights"] == 27 * 256**2
    assert facts["stages"][2]["single_filter_weights"] == 49 * 256**2
    assert len(facts["layers"]) == 13 + 5 + 3


def test_describe_for_people(capsys):
    main(["describe", "C", "--width", "0.5", "--num-classes", "10"])
    out = capsys.readouterr().out
    assert "conv3_3" in out
    assert "convolution 1x1" in out
    assert "19 C²" in out


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "small model ✓"
    new("A", path, width=0.05, num_classes=3, window=32)
    return path


@pytest.fixture
def data(tmp_path) -> Path:
    """Class folders of the model's three classes."""
    random = np.random.default_rng(0)
    for name in ("0/a.png", "0/b.png", "1/a.png", "1/b.png", "2/a.png", "2/b.png"):
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(file)
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path) -> Path:
    random = np.random.default_rng(0)
    for name in ("one.png", "deep/two three.png", "ünï.png"):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(file)
    return tmp_path / "images"


def test_predicting_one_image_gives_a_table(model, folder, capsys):
    main(["predict", str(model), str(folder / "one.png"), "--top", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all("%" in line for line in lines)


def test_predicting_a_folder_gives_csv_and_maps(model, folder, tmp_path, capsys):
    main(["predict", str(model), str(folder), "--top", "2", "--maps", str(tmp_path / "maps")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "image,class_1,probability_1,class_2,probability_2"
    assert [line.split(",")[0] for line in lines[1:]] == [
        str(folder / name) for name in ("deep/two three.png", "one.png", "ünï.png")
    ]
    best = [line.split(",")[1] for line in lines[1:]]
    wanted = {f"{stem}-{name}.png" for stem, name in zip(("two three", "one", "ünï"), best, strict=True)}
    assert {path.name for path in (tmp_path / "maps").iterdir()} == wanted
    with Image.open(tmp_path / "maps" / f"one-{best[1]}.png") as sheet:
        assert sheet.width > 900


def test_predicting_by_pattern_gives_json_lines(model, folder, capsys):
    main(["predict", str(model), str(folder / "*.png"), "--json"])
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(objects) == 2
    for answer in objects:
        assert sum(entry["probability"] for entry in answer["predictions"]) == pytest.approx(1)
        assert {entry["class"] for entry in answer["predictions"]} == {"0", "1", "2"}


def run_without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["predict", "evaluate", "train", "new"])
def test_without_torch_it_says_what_to_install(command, model, folder, data, tmp_path):
    arguments = {
        "predict": [str(model), str(folder / "one.png"), "--engine", "torch"],
        "evaluate": [str(model), str(data), "--engine", "torch"],
        "train": ["digits", str(tmp_path / "run"), "--recipe", "digits"],
        "new": ["A", str(tmp_path / "run")],
    }[command]
    result = run_without_torch(command, *arguments)
    assert result.returncode == 1
    assert "needs torch, which is not installed; run: pip install 'verydeep[train]'" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_native_engine_predicts_and_tests_without_torch(model, folder, data):
    pytest.importorskip("verydeep._native")
    assert "%" in run_without_torch("predict", str(model), str(folder / "one.png")).stdout
    assert "top-1 error" in run_without_torch("evaluate", str(model), str(data)).stdout


def test_describe_needs_no_torch():
    assert "138,357,544" in run_without_torch("describe", "D").stdout
