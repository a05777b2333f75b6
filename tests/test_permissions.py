"""What cannot be read or written: one sentence that names it, for a user whom permissions bind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from unprivileged import may_be_denied, run

from verydeep.cli import main

SMALL = ["--config", "A", "--width", "0.05", "--window", "32", "--train-scale", "36:40", "--epochs", "1"]
SMALL += ["--batch-size", "4", "--batch-norm", "--color-shift", "0"]
IMAGE, MODEL, CONFIG = "data/cat/0.png", "run/model.safetensors", "run/config.json"

READ = [
    (IMAGE, ["predict", "run", IMAGE]),
    ("data/cat", ["predict", "run", "data/cat"]),
    (MODEL, ["predict", "run", IMAGE]),
    (CONFIG, ["predict", "run", IMAGE]),
    ("run", ["predict", "run", IMAGE]),
    ("run/classifier.safetensors", ["predict", "run", IMAGE]),
    (IMAGE, ["evaluate", "run", "data", "--part", "all"]),
    ("data/cat", ["evaluate", "run", "data", "--part", "all"]),
    ("data", ["evaluate", "run", "data"]),
    ("run/split.json", ["evaluate", "run", "data"]),
    ("run/training_images.npy", ["evaluate", "run", "data"]),
    (IMAGE, ["extract", "run", "data/cat", "--layers", "fc7", "--out", "new.npz"]),
    (IMAGE, ["train", "data", "new", *SMALL]),
    ("data/cat", ["train", "data", "new", *SMALL]),
    (MODEL, ["train", "data", "new", "--from", "run"]),
    ("run/state.pt", ["train", "data", "run", "--resume"]),
    ("run/journal.jsonl", ["train", "data", "run", "--resume"]),
    (CONFIG, ["train", "data", "run", "--resume"]),
    (IMAGE, ["transfer", "run", "data"]),
    (IMAGE, ["visualize", "run", IMAGE, "--page", "new.html", "--steps", "0"]),
    (IMAGE, ["style", "run", IMAGE, "data/cat/1.png", "--out", "new.png", "--steps", "1"]),
    ("run/journal.jsonl", ["watch", "run"]),
    ("run", ["watch", "run"]),
    ("result.npz", ["report", "result.npz"]),
    ("result.npz", ["fuse", "result.npz", "other.npz"]),
    (MODEL, ["convert", MODEL, "new"]),
    (MODEL, ["inspect", MODEL]),
    ("run", ["inspect", "run"]),
    (MODEL, ["export", "run", "--to", "onnx", "--out", "new.onnx"]),
    (CONFIG, ["describe", "run"]),
    (IMAGE, ["shard", "data", "--out", "new"]),
    ("data/cat", ["shard", "data", "--out", "new"]),
    ("study.toml", ["study", "study.toml", "--out", "new"]),
]
WRITTEN = [
    ["predict", "run", IMAGE, "--maps", "locked/maps"],
    ["predict", "run", IMAGE, "--maps", "locked"],
    ["evaluate", "run", "data", "--out", "locked/new.npz"],
    ["extract", "run", "data/cat", "--layers", "fc7", "--out", "locked/a/new.npz"],
    ["train", "data", "locked/run", *SMALL],
    ["visualize", "run", IMAGE, "--page", "locked/new.html", "--steps", "0"],
    ["style", "run", IMAGE, "data/cat/1.png", "--out", "locked/new.png", "--steps", "1"],
    ["watch", "run", "--out", "locked/new.png"],
    ["report", "result.npz", "--page", "locked/new.html"],
    ["report", "result.npz", "--out", "locked/new.md"],
    ["fuse", "result.npz", "result.npz", "--out", "locked/new.npz"],
    ["convert", MODEL, "locked/run"],
    ["export", "run", "--to", "onnx", "--out", "locked/new.onnx"],
    ["export", "run", "--to", "hub", "--out", "locked/new"],
    ["new", "A", "locked/run", "--width", "0.05", "--window", "32"],
    ["shard", "data", "--out", "locked/new"],
    ["study", "digits", "--out", "locked/new"],
    ["bench", "run", "--chart", "locked/new.png"],
    ["bench", "run", "--out", "locked/new.md"],
]

pytestmark = pytest.mark.skipif(not may_be_denied(), reason="this user reads and writes everything")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Data, a run that was trained on it, and a result."""
    folder = tmp_path_factory.mktemp("permissions")
    for name in ("cat", "dog"):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(5):
            image = np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8)
            Image.fromarray(image).save(folder / "data" / name / f"{number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["train", "data", "run", *SMALL])
        main(["evaluate", "run", "data", "--out", "result.npz"])
    (folder / "run" / "classifier.safetensors").write_bytes(b"")
    (folder / "study.toml").write_text("")
    (folder / "locked").mkdir()
    return folder


@pytest.fixture
def denied(made, tmp_path, monkeypatch):
    """Run a command on a copy of which a part is denied; give its exit code and standard error."""
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    monkeypatch.chdir(copy)

    def run_denied(place: str, mode: int, words: list[str]) -> tuple[int, str]:
        if "classifier" not in place:
            (copy / "run" / "classifier.safetensors").unlink()
        (copy / place).chmod(mode)
        try:
            return run(words, tmp_path / "errors.txt")
        finally:
            (copy / place).chmod(0o700)

    return run_denied


def sentence(said: str) -> str:
    """The one sentence of failure, which advises nothing that would not help."""
    assert "Traceback" not in said
    assert "Errno" not in said
    assert "make room" not in said
    assert said.count("verydeep: ") == 1 or "could not be read" in said
    return said[said.index("verydeep: ") :]


@pytest.mark.parametrize(("place", "words"), READ, ids=lambda value: value if isinstance(value, str) else value[0])
def test_what_may_not_be_read(denied, place, words):
    code, said = denied(place, 0, words)
    assert code in (1, 2), said
    wanted = rf"{place}:? cannot be (read|listed): permission denied; change its permissions or run as its owner"
    assert re.search(wanted, sentence(said))


@pytest.mark.parametrize("words", WRITTEN, ids=" ".join)
def test_where_may_not_be_written(denied, words):
    code, said = denied("locked", 0o500, words)
    assert code == 1
    wanted = "locked cannot be written: permission denied; change its permissions or run as its owner"
    assert wanted in sentence(said)


def test_a_run_that_may_not_be_written_is_not_resumed(denied):
    code, said = denied("run", 0o500, ["train", "data", "run", "--resume"])
    assert code == 1
    assert sentence(said).startswith("verydeep: the run cannot be saved: run cannot be written: permission denied")


def test_a_run_that_may_not_be_written_gets_no_classifier(denied):
    code, said = denied("run", 0o500, ["transfer", "run", "data"])
    assert code == 1
    assert sentence(said).startswith("verydeep: run cannot be written: permission denied")


def test_an_image_that_may_be_left_out_is_named(denied):
    words = ["evaluate", "run", "data", "--part", "all", "--max-unreadable", "1"]
    code, said = denied(IMAGE, 0, words)
    assert (code, said.count(f"skipped: {IMAGE}: cannot be read: permission denied")) == (0, 1)


def test_a_cache_that_may_not_be_written_is_done_without(denied, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir(mode=0o500)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, said = run(["train", "data", "new", *SMALL, "--color-shift", "0.1"], tmp_path / "errors.txt")
    assert code == 0, said
    assert not list((tmp_path / "cache").iterdir())
