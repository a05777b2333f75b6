"""Scores that are NaN or infinite are the fault of the model, and never taken for images that cannot be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sample_images import class_folders, cut

import verydeep
from verydeep.api.new import new
from verydeep.cli import main
from verydeep.errors import ModelError, TrainingError
from verydeep.evaluation.posterior import softmax
from verydeep.evaluation.results import read_result
from verydeep.images.sources import open_data
from verydeep.inference import open_engine
from verydeep.linear.classifier import FeatureSpec
from verydeep.linear.features import features_of
from verydeep.run_folder import STATE
from verydeep.training.loop import Trainer

TINY = "--recipe photos --config A --width 0.06 --window 32 --train-scale 36:36 --epochs 2 --batch-size 4"
CLASSES = ("blue", "red")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return class_folders(tmp_path_factory.mktemp("data"), dict.fromkeys(CLASSES, 5))


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "A"
    new("A", path, width=0.06, num_classes=2, window=32)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "class_names": CLASSES}))
    return path


def scaled(sound: Path, folder: Path, factors: dict[str, float]) -> Path:
    """A copy of a model, some of whose tensors are multiplied; they stay finite."""
    shutil.copytree(sound, folder)
    tensors = load_file(folder / "model.safetensors")
    for name, factor in factors.items():
        tensors[name] = tensors[name] * np.float32(factor)
        assert np.isfinite(tensors[name]).all()
    save_file(tensors, folder / "model.safetensors")
    return folder


# All scores infinite, all NaN (infinity less infinity), and one class alone infinite in one direction.
OVERFLOWS = {
    "deep": {"fc6.weight": 1e25, "fc7.weight": 1e25},
    "early": {"conv1_1.weight": 1e20, "conv2_1.weight": 1e25},
    "last": {"fc7.weight": 1e30, "fc8.weight": 1e15},
}


@pytest.fixture(params=OVERFLOWS)
def broken(request, sound, tmp_path) -> Path:
    return scaled(sound, tmp_path / "broken", OVERFLOWS[request.param])


def failure(capfd, *words: object) -> str:
    """What a command that fails says; nothing goes to standard output."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capfd.readouterr()
    assert ended.value.code == 1
    assert said.out == ""
    assert "Warning" not in said.err
    return said.err.splitlines()[-1]


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_predict_and_evaluate_name_the_model(broken, data, tmp_path, capfd, engine):
    image, out = data / "red" / "0.jpg", tmp_path / "e.npz"
    for words in (
        ["predict", broken, image],
        ["predict", broken, data],
        ["predict", broken, data, "--json"],
        ["evaluate", broken, data, "--part", "all", "--json"],
        ["evaluate", broken, data, "--part", "all", "--max-unreadable", 10, "--out", out],
        ["evaluate", broken, data, "--part", "all", "--views", "ten"],
    ):
        said = failure(capfd, *words, "--engine", engine)
        assert said.startswith(f"verydeep: {broken}: the network's scores are NaN or infinite")
        assert "cannot be read" not in said
    assert not out.exists()


def test_an_ensemble_says_which_of_its_models_it_is(sound, broken, data, capfd):
    said = failure(capfd, "evaluate", sound, broken, data, "--part", "all")
    assert said.startswith(f"verydeep: {broken}: the network's scores are NaN or infinite")


def test_the_int16_engine_says_so_too(broken, data, capfd):
    assert "NaN or infinite" in failure(capfd, "predict", broken, data, "--precision", "int16")


def test_python_raises(broken, data):
    image = data / "red" / "0.jpg"
    model = verydeep.load(broken)
    for ask in (model.predict, lambda image: model.posterior([image]), model.score_map):
        with pytest.raises(ModelError, match="scores are NaN or infinite"):
            ask(image)


@pytest.mark.parametrize("pool", ["mean", "max", "gram", "none"])
def test_features_that_are_not_finite_are_not_written(sound, data, tmp_path, capfd, pool):
    model = scaled(sound, tmp_path / "m", OVERFLOWS["early"])
    out = tmp_path / "f.npz"
    said = failure(capfd, "extract", model, data, "--layers", "relu1_1", "conv3_1", "--out", out, "--pool", pool)
    assert "features of " in said
    assert "are NaN or infinite" in said
    assert not out.exists()


@pytest.mark.parametrize("words", [["transfer", "--scales", "32"], ["visualize", "--steps", "0"]])
def test_transfer_and_look_say_so(sound, data, tmp_path, capfd, words):
    model = scaled(sound, tmp_path / "m", OVERFLOWS["early"])
    shown = data if words[0] == "transfer" else data / "red" / "0.jpg"
    page = [] if words[0] == "transfer" else ["--page", tmp_path / "look.html"]
    assert "are NaN or infinite" in failure(capfd, words[0], model, shown, *words[1:], *page)
    assert not list(model.glob("classifier*"))
    assert not list(tmp_path.glob("*.html"))


def test_features_whose_squares_overflow_keep_their_direction(sound, data, tmp_path):
    """In float32 their length was infinite, and each row came out as zeros."""
    images = open_data(str(data)).all
    described = FeatureSpec("relu7", (32,), True, "stack")
    large = scaled(sound, tmp_path / "m", {"conv1_1.weight": 1e25, "conv1_1.bias": 1e25})
    wanted, found = (features_of(open_engine(model, ["relu7"]), images, described) for model in (sound, large))
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_unreadable_images_are_known_by_their_place(sound, data, tmp_path, capfd):
    copied = tmp_path / "data"
    shutil.copytree(data, copied)
    for lost in ("blue/0.jpg", "red/4.jpg"):
        cut(copied / lost, 0.2)
    out = tmp_path / "e.npz"
    words = ["evaluate", sound, copied, "--part", "all", "--max-unreadable", "2", "--out", out]
    main(list(map(str, words)))
    capfd.readouterr()
    result = read_result(out)
    assert sorted(result.names) == sorted(f"{c}/{n}.jpg" for c in CLASSES for n in range(5) if (c, n) not in (
        ("blue", 0), ("red", 4),
    ))  # fmt: skip
    for name, label, posterior in zip(result.names, result.labels, result.posteriors, strict=True):
        assert CLASSES[label] == name.split("/")[0]
        np.testing.assert_allclose(posterior, verydeep.load(sound).posterior([copied / name])[0], atol=1e-6)


@pytest.fixture(scope="module")
def result_file(sound, data, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("results") / "e.npz"
    main(["evaluate", str(sound), str(data), "--part", "all", "--out", str(path)])
    return path


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("NaN or infinite posteriors for 2 of 10", lambda a: a["posteriors"].__setitem__(slice(3, 5), np.nan)),
        ("NaN or infinite posteriors for 1 of 10", lambda a: a["posteriors"].__setitem__((9, 1), np.inf)),
        ("labels from -1 to 1", lambda a: a["labels"].__setitem__(0, -1)),
        ("labels from 0 to 2", lambda a: a["labels"].__setitem__(0, 2)),
    ],
)
def test_a_result_with_broken_numbers_is_refused(result_file, tmp_path, capfd, what, change):
    with np.load(result_file) as archive:
        arrays = dict(archive)
    change(arrays)
    broken = tmp_path / "broken.npz"
    np.savez(broken, **arrays)
    for words in (["fuse", result_file, broken], ["report", broken]):
        said = failure(capfd, *words)
        assert what in said
        assert "test the model again" in said


@pytest.mark.parametrize("rate", ["30", "1000"])
def test_a_training_that_diverges_in_its_last_step_says_so(data, tmp_path, capfd, rate):
    """An epoch of two steps: the second's loss is finite, and the weights after it are good for nothing."""
    run = tmp_path / "run"
    said = failure(capfd, "train", data, run, *TINY.split(), "--warmup-epochs", "0", "--learning-rate", rate)
    assert "diverged" in said
    assert "learning rate" in said
    assert "step" in said
    assert "cannot be read" not in said


def test_validation_with_scores_that_are_not_finite_names_step_and_rate(data, tmp_path, capfd, monkeypatch):
    """The weights are spoilt behind the loop's back after the last step of the first epoch."""
    step = Trainer._step

    def spoiling(self, batch, number, interrupted=False):
        outcome = step(self, batch, number, interrupted)
        if number == self.batches.steps_per_epoch - 1:
            with torch.no_grad():
                self.network.fc7.weight.mul_(1e30)
                self.network.fc8.weight.mul_(1e30)
        return outcome

    monkeypatch.setattr(Trainer, "_step", spoiling)
    run = tmp_path / "run"
    said = failure(capfd, "train", data, run, *TINY.split(), "--warmup-epochs", "0", "--learning-rate", "0.01")
    where = "at step 1 (epoch 1, learning rate 0.0085"
    assert f"the network's scores in validation are NaN or infinite {where}" in said
    assert "lower --learning-rate" in said
    assert not (run / STATE).exists()


def test_weights_that_are_not_finite_are_never_saved(data, tmp_path, monkeypatch):
    step = Trainer._step

    def spoiling(self, batch, number, interrupted=False):
        outcome = step(self, batch, number, interrupted)
        with torch.no_grad():
            self.network.fc8.bias[0] = float("inf")
        return outcome

    monkeypatch.setattr(Trainer, "_step", spoiling)
    run = tmp_path / "run"
    tiny = {"config": "A", "width": 0.06, "window": 32, "train_scale": (36, 36), "epochs": 2, "batch_size": 4}
    with pytest.raises(TrainingError, match="weights have become NaN or infinite at step 0"):
        verydeep.train(data, run, save_steps=1, **tiny)
    assert not (run / STATE).exists()


@pytest.mark.parametrize("scores", [[np.nan, 0], [np.inf, 0], [-np.inf, 0], [[0, 1], [np.inf, np.inf]]])
def test_a_softmax_of_what_is_not_finite_raises(scores):
    """One minus infinity alone would give a posterior that looks right."""
    with pytest.raises(ModelError, match="NaN or infinite"):
        softmax(np.array(scores, np.float32))
