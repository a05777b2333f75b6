"""`benchmarks/mean_of_weights.py`: which models have a mean, and what it keeps of their trainings."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sample_images import class_folders

import verydeep
from verydeep.api.bench import random_model
from verydeep.configurations import Architecture
from verydeep.errors import ModelError
from verydeep.images.color import Preprocessing
from verydeep.images.sources import open_data
from verydeep.run_folder import (
    ModelConfig,
    read_model,
    read_split,
    read_training_images,
    write_model,
    write_training_images,
)
from verydeep.run_folder.split import write_split

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import mean_of_weights

CONFIG, TENSORS = random_model(Architecture("A", 2, 1 / 32, 32))
CONFIG = replace(CONFIG, class_names=("cat", "dog"))


def model(path: Path, hashes=None, held_out=(), config: ModelConfig = CONFIG, add: float = 0.0) -> str:
    write_model(path, config, {name: tensor + np.float32(add) for name, tensor in TENSORS.items()})
    if hashes is not None:
        write_training_images(path, np.array(hashes, np.uint64))
    if held_out:
        write_split(path, "for a test", held_out)
    return str(path)


def test_the_mean_knows_what_any_of_its_models_was_trained_on(tmp_path):
    photos = class_folders(tmp_path / "photos", {"cat": 4, "dog": 4})
    images = open_data(str(photos)).all
    hashes, names = images.source.hashes(lambda count: None), images.names
    first = model(tmp_path / "first", hashes[:3], names[3:])
    second = model(tmp_path / "second", hashes[1:6], [names[0], *names[6:]], add=1.0)
    mean_of_weights.write_mean([first, second], tmp_path / "mean")
    assert set(read_training_images(tmp_path / "mean")) == set(hashes[:6])
    assert read_split(tmp_path / "mean") == set(names[6:])
    tensors = read_model(tmp_path / "mean")[1]
    np.testing.assert_allclose(tensors["fc8.bias"], TENSORS["fc8.bias"] + 0.5, rtol=1e-6)
    result = verydeep.evaluate(tmp_path / "mean", photos)
    assert set(result.names) == set(names[6:])
    assert result.facts.num_trained_on == 6


def test_names_tell_it_where_a_model_kept_no_hashes(tmp_path):
    first = model(tmp_path / "first", [1, 2], ["cat/1.jpg", "dog/1.jpg"])
    older = model(tmp_path / "older", None, ["dog/1.jpg", "dog/2.jpg"])
    mean_of_weights.write_mean([first, older], tmp_path / "mean")
    assert read_training_images(tmp_path / "mean") is None
    assert read_split(tmp_path / "mean") == {"dog/1.jpg"}
    other = model(tmp_path / "other", None, ["cat/1.jpg"])
    with pytest.raises(ModelError, match="no image was held out by all of the models"):
        mean_of_weights.write_mean([older, other], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_notes_are_added_to_those_that_are_there(tmp_path):
    noted = replace(CONFIG, provenance={"notes": ["from a friend"], "licence": "MIT"})
    models = [model(tmp_path / name, config=noted) for name in "ab"]
    mean_of_weights.write_mean(models, tmp_path / "mean")
    provenance = read_model(tmp_path / "mean")[0].provenance
    assert provenance["notes"][0] == "from a friend"
    assert provenance["notes"][1].startswith("weights: the mean of 2 networks'")
    assert provenance["licence"] == "MIT"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_names": ("dog", "cat")}, "differ in their class names"),
        ({"preprocessing": Preprocessing((1.0, 2.0, 3.0))}, "differ in their preprocessing"),
        ({}, "mean exists and is not empty"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys, change, said):
    if not change:
        model(tmp_path / "mean")
    models = [model(tmp_path / "a"), model(tmp_path / "b", config=replace(CONFIG, **change))]
    monkeypatch.setattr(sys, "argv", ["mean_of_weights.py", *models, "--out", str(tmp_path / "mean")])
    with pytest.raises(SystemExit) as ended:
        mean_of_weights.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "mean").exists() == (not change)
