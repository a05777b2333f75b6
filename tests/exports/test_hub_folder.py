"""The folder for the Hub: read back by our own commands, and its card by the Hub's own library."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from huggingface_hub import ModelCard

from verydeep.api.new import new
from verydeep.cli import main
from verydeep.evaluation.results import Evaluation, Facts, MemberFacts, write_result
from verydeep.exports.card import last_part
from verydeep.exports.hub_folder import without_paths
from verydeep.model import load
from verydeep.run_folder import read_config, read_model, write_model

EPOCH = {"train_loss": 1.0, "train_error": 50.0, "best": True, "images_per_second": 9.0}


@pytest.fixture
def run(tmp_path):
    """A run of the kind that training leaves, on a data set whose path nobody else is to know."""
    path = tmp_path / "secret place" / "run"
    new("A", path, width=0.05, num_classes=3, window=32, batch_norm=True)
    config, tensors = read_model(path)
    config.provenance.update(
        command="verydeep train '/home/me/secret place/flowers' /home/me/run",
        data={"name": "/home/me/secret place/flowers", "num_images": 1234, "split": "a fifth of each class"},
        recipe={"epochs": 3, "batch_size": 64},
        recipe_name="photos",
        grown_from="secret place/A",
        source="secret place/vgg.pth",
        earlier={"recipe": {"epochs": 70}, "recipe_name": "paper", "data": {"name": "/home/me/trees"}},
        processor="a machine of mine",
    )
    write_model(path, config, tensors)
    errors = (61.5, 33.25, 40.0)
    lines = [
        {"step": 10 * epoch, "epoch": epoch, "validation_error": error, **EPOCH}
        for epoch, error in enumerate(errors)
    ]
    steps = [{"step": 0, "epoch": 0, "loss": 1.0, "error": 50.0, "rate": 0.1, "seconds": 1.0, "wait": 0.0}]
    (path / "journal.jsonl").write_text("\n".join(json.dumps(line) for line in steps + lines) + "\n")
    return path


def result(path, configuration="A", classes=("0", "1", "2")):
    """A test of four images, of which one is named rightly."""
    posteriors = np.full((4, len(classes)), 0.1)
    posteriors[:, 0] = 0.8
    member = MemberFacts("/home/me/run", configuration, 0.05, True, 1, (36, 36), "dense", (36, 40), True)
    facts = Facts((member,), "/home/me/secret place/flowers", "held-out", tuple(classes), 1.0)
    write_result(path, Evaluation(facts, tuple("abcd"), np.array([0, 1, 2, 1]), posteriors))
    return path


def export(run, folder, *more):
    main(["export", str(run), "--out", str(folder), "--to", "hub", *map(str, more)])
    return folder


def test_the_folder_is_a_model(run, tmp_path, photographs):
    folder = export(run, tmp_path / "folder")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for one in (folder, folder / "model.safetensors"):
        np.testing.assert_array_equal(load(one).posterior([photographs[0]]), load(run).posterior([photographs[0]]))


def test_what_tells_of_the_machine_stays_here(run, tmp_path):
    folder = export(run, tmp_path / "folder", "--results", result(tmp_path / "r.npz"))
    for name in ("README.md", "config.json"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not re.search(r"secret|/home|a machine of mine|verydeep train", text), name
        assert "flowers" in text and "trees" in text
    assert read_config(folder).provenance["grown_from"] == "A"


def test_the_hubs_own_library_reads_the_card(run, tmp_path):
    folder = export(
        run,
        tmp_path / "f",
        "--results",
        result(tmp_path / "r.npz"),
        "--licence",
        "CC-BY-4.0",
        "--name",
        "me/flowers",
    )
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "verydeep"
    assert card.data.pipeline_tag == "image-classification"
    told = card.data.eval_results[0]
    assert (told.metric_type, told.metric_value, told.dataset_name) == ("accuracy", 25.0, "flowers")
    assert told.dataset_split == "held-out"
    assert "| flowers, held-out | 4 | dense, Q = 36, 40, mirror images | 75.00 % |" in card.text
    assert "33.25 % (epoch 2 of 3)" in card.text
    assert "1,234 images; a fifth of each class" in card.text
    first, last = card.text.index("Recipe paper: epochs 70"), card.text.index("Recipe photos: epochs 3")
    assert first < card.text.index("Grown from: A") < last
    assert "verydeep predict hf:me/flowers image.jpg" in card.text
    assert read_config(folder).provenance["licence"] == "CC-BY-4.0"


def test_a_licence_of_ones_own_and_none(run, tmp_path):
    card = ModelCard.load(export(run, tmp_path / "own", "--licence", "For my friends: only") / "README.md")
    assert (card.data.license, card.data.license_name) == ("other", "For my friends: only")
    card = ModelCard.load(export(run, tmp_path / "none") / "README.md")
    assert card.data.license is None
    assert "licence of these weights is unknown" in card.text


def test_without_journal_and_results_no_figure_is_told(tmp_path):
    new("A", tmp_path / "run", width=0.05, num_classes=3, window=32)
    text = (export(tmp_path / "run", tmp_path / "folder") / "README.md").read_text()
    assert "No test of these weights is known." in text
    assert "error" not in text


@pytest.mark.parametrize("other", [{"configuration": "D"}, {"classes": ("a", "b", "c")}])
def test_results_of_another_model_are_refused(run, tmp_path, other):
    with pytest.raises(SystemExit) as ended:
        export(run, tmp_path / "folder", "--results", result(tmp_path / "r.npz", **other))
    assert ended.value.code == 2
    assert not (tmp_path / "folder").exists()


def test_a_folder_that_is_there_is_kept(run, tmp_path):
    folder = export(run, tmp_path / "folder")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit):
        export(run, folder, "--licence", "MIT")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("fact", "public"),
    [
        ("/home/me/data", "data"),
        ("~/data/", "data"),
        (r"C:\Users\me\data", "data"),
        ("../data", "data"),
        ("s3://bucket/data?token=secret", "data"),
        ("runs/photos", "runs/photos"),
        ("torchvision:vgg16", "torchvision:vgg16"),
        ("the data's own train/ and val/", "the data's own train/ and val/"),
        ({"a": ["/b/c", 1, None]}, {"a": ["c", 1, None]}),
        (
            {"data": {"name": "clients/secret/photos", "split": "train/ and val/"}},
            {"data": {"name": "photos", "split": "train/ and val/"}},
        ),
        ({"started_from": "runs/secret/first"}, {"started_from": "first"}),
        ({"source": "hf:owner/name@v1"}, {"source": "hf:owner/name@v1"}),
        ({"source": "timm/vgg16.tv_in1k"}, {"source": "timm/vgg16.tv_in1k"}),
        ({"started_from": "tiny-imagenet"}, {"started_from": "tiny-imagenet"}),
    ],
)
def test_paths_are_told_by_their_last_part(fact, public):
    assert without_paths(fact) == public


def test_the_card_of_a_network_of_features(tmp_path):
    new("A", tmp_path / "run", width=0.05, num_classes=0)
    card = ModelCard.load(export(tmp_path / "run", tmp_path / "folder") / "README.md")
    assert card.data.pipeline_tag == "image-feature-extraction"
    assert "8 weight layers" in card.text
    assert "verydeep extract folder image.jpg --layers pool5" in card.text
    assert "predict" not in card.text and "class scores" not in card.text
    assert "at least 32 pixels" in card.text


def test_a_name_is_never_empty():
    assert last_part("/") == "/"
    assert last_part("photos") == "photos"
