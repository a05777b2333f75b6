"""Folders named by WordNet numbers, as ImageNet has them: a model that learns from them answers in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import verydeep
from verydeep.run_folder import CONFIG, read_config

FOLDERS = {"n01443537": "goldfish", "n07753592": "banana", "n02123045": "tabby"}
SMALL = {"recipe": "digits", "width": 0.05, "batch_size": 8}


@pytest.fixture
def data(tmp_path) -> Path:
    random = np.random.default_rng(0)
    for folder in FOLDERS:
        (tmp_path / "data" / folder).mkdir(parents=True)
        for number in range(5):
            image = Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8))
            image.save(tmp_path / "data" / folder / f"{number}.png")
    return tmp_path / "data"


def test_the_model_has_the_words(data, tmp_path, capsys):
    words = tuple(FOLDERS[folder] for folder in sorted(FOLDERS))
    run = tmp_path / "run"
    verydeep.train(data, run, epochs=1, **SMALL)
    assert read_config(run).class_names == words
    assert "'goldfish'" in capsys.readouterr().err
    assert len(verydeep.evaluate(run, data).labels) == 3
    verydeep.train(data, run, resume=True, epochs=2)
    fine_tuned = tmp_path / "fine-tuned"
    verydeep.train(data, fine_tuned, start_from=run, epochs=1)
    assert read_config(fine_tuned).provenance["new_layers"] == []
    verydeep.transfer(run, data, out=tmp_path / "quick", layer="relu7")
    assert verydeep.load(tmp_path / "quick").class_names == words


def test_a_run_that_has_the_numbers_is_resumed(data, tmp_path):
    """Runs of before kept them."""
    run = tmp_path / "run"
    verydeep.train(data, run, epochs=1, **SMALL)
    config = json.loads((run / CONFIG).read_text())
    config["class_names"] = sorted(FOLDERS)
    (run / CONFIG).write_text(json.dumps(config))
    verydeep.train(data, run, resume=True, epochs=2)
    assert len(verydeep.evaluate(run, data).labels) == 3


def test_other_folders_keep_their_names(data, tmp_path):
    (data / "n99999999").mkdir()
    for file in (data / "n01443537").iterdir():
        (data / "n99999999" / file.name).write_bytes(file.read_bytes())
    verydeep.train(data, tmp_path / "run", epochs=1, **SMALL)
    assert read_config(tmp_path / "run").class_names == (*sorted(FOLDERS), "n99999999")
