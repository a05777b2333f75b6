"""A new form of data is one module and one entry of the table: every command then reads it."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sample_images import class_folders

from verydeep.cli import main
from verydeep.images import in_memory
from verydeep.images.sources import SOURCES, open_data

MODULE = '''
"""Images in class folders in a zip file."""

import zipfile
from dataclasses import dataclass

import numpy as np

from verydeep.images.data import UNDIVIDED, Data
from verydeep.images.decode import Encoded
from verydeep.images.image_set import ImageSource, ImageSet


def recognizes(location):
    return location.endswith(".zip")


def open_data(location):
    with zipfile.ZipFile(location) as archive:
        members = tuple(sorted(name for name in archive.namelist() if not name.endswith("/")))
    classes = tuple(sorted({name.split("/")[0] for name in members}))
    labels = np.array([classes.index(name.split("/")[0]) for name in members])
    return Data({"train": ImageSet(members, labels, classes, Zipped(location, members))}, UNDIVIDED)


@dataclass(frozen=True)
class Zipped(ImageSource):
    path: str
    members: tuple

    def __len__(self):
        return len(self.members)

    def encoded(self, number):
        with zipfile.ZipFile(self.path) as archive:
            return Encoded(f"{self.members[number]} in {self.path}", archive.read(self.members[number]))

    def select(self, numbers):
        return Zipped(self.path, tuple(self.members[number] for number in numbers))

    def join(self, other):
        return Zipped(self.path, self.members + other.members)
'''

TINY = [
    *("--config", "A", "--width", "0.05", "--window", "32", "--train-scale", "32:40"),
    *("--epochs", "1", "--batch-size", "4", "--workers", "2"),
]


@pytest.fixture
def folder(tmp_path) -> Path:
    return class_folders(tmp_path / "data", {"cat": 6, "dog": 7})


@pytest.fixture
def zipped(tmp_path, folder, monkeypatch) -> Path:
    """The folder's images as a form of data of its own."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "zipped_images.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setattr("verydeep.images.sources.SOURCES", [*SOURCES, import_module("zipped_images")])
    yield Path(shutil.make_archive(str(tmp_path / "images"), "zip", folder))
    del sys.modules["zipped_images"]


@pytest.fixture
def printed(capsys):
    def command(*words: object) -> str:
        capsys.readouterr()
        main([*map(str, words)])
        return capsys.readouterr().out

    return command


def test_what_a_source_gives_follows_from_its_bytes(folder, zipped):
    expected, found = open_data(str(folder)), open_data(str(zipped))
    for part in ("train", "held_out", "all"):
        one, other = getattr(expected, part), getattr(found, part)
        assert (one.names, one.class_names, one.fingerprint) == (other.names, other.class_names, other.fingerprint)
        for number in range(len(one)):
            assert one.source.read(number, 16) == other.source.read(number, 16)
            assert one.source.size(number) == other.source.size(number)
        np.testing.assert_array_equal(one.source.hashes(lambda n: None), other.source.hashes(lambda n: None))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("keep_bytes", [in_memory.KEEP_BYTES, 0])
def test_commands_read_it(tmp_path, folder, zipped, printed, monkeypatch, keep_bytes):
    monkeypatch.setattr(in_memory, "KEEP_BYTES", keep_bytes)
    weights, rates, predictions = [], [], []
    for data in (folder, zipped):
        run = tmp_path / f"run of {data.name}"
        printed("train", data, run, *TINY)
        weights.append(load_file(run / "model.safetensors"))
        rates.append(json.loads(printed("evaluate", run, data, "--json")))
        lines = list(csv.reader(printed("predict", tmp_path / "run of data", data).splitlines()))
        predictions.append([[line[0].removeprefix(f"{folder}/"), *line[1:]] for line in lines])
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        np.testing.assert_array_equal(tensor, weights[1][name])
    for name in ("top1_error", "top5_error", "num_images", "confusion", "class_names"):
        assert rates[0][name] == rates[1][name]
    assert sum(map(sum, rates[0]["confusion"])) == rates[0]["num_images"] == 2
    assert len(predictions[0]) == 1 + 13
    assert predictions[0] == predictions[1]


def test_shards_are_made_of_it(tmp_path, folder, zipped, printed):
    contents = []
    for data in (folder, zipped):
        out = tmp_path / f"shards of {data.name}"
        packed = json.loads(printed("shard", data, "--out", out, "--json"))
        assert (packed["images"], packed["shards"], packed["unreadable"]) == (13, 2, 0)
        contents.append([path.read_bytes() for path in sorted(out.rglob("*.tar"))])
    assert contents[0] == contents[1]
