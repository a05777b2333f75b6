r"""File and class names that are not UTF-8, or are written in two ways; output that is not UTF-8.

The rule for a byte that is not UTF-8: `caf\xe9`, with a backslash, in every output.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_images import class_folders, cut, save, smooth

from verydeep.api.new import new
from verydeep.cli import main
from verydeep.errors import DataError, ImageError, VerydeepError, as_text
from verydeep.evaluation.results import read_result
from verydeep.files import json_text
from verydeep.images import decode
from verydeep.images.image_set import Arrays, ImageSet
from verydeep.images.sources import open_data

TINY = "--recipe photos --config A --width 0.06 --window 32 --train-scale 36:36 --epochs 1 --batch-size 4"
LATIN = os.fsdecode(b"caf\xe9")  # é of Latin-1
SHIFT_JIS = os.fsdecode(b"\x94\x4c")  # a cat in Shift JIS, whose second byte is a letter
CONTENT = ("--metric", "content", "--layers", "relu1_1")
NAMES = {LATIN: r"caf\xe9", SHIFT_JIS: r"\x94L"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two classes and five images of each, of which folders and files have such names."""
    root = class_folders(tmp_path_factory.mktemp("data"), {LATIN: 5, SHIFT_JIS: 5})
    for name in NAMES:
        (root / name / "0.jpg").rename(root / name / f"{name}.jpg")
    return root


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    main(["train", str(data), str(path), *TINY.split()])
    return path


def lines_of(capfd, *words: object) -> str:
    capfd.readouterr()
    main(list(map(str, words)))
    out = capfd.readouterr().out
    out.encode()  # whatever is printed is UTF-8
    return out


def wanted_names(data: Path) -> set[str]:
    return {os.fsencode(path.relative_to(data)).decode(errors="backslashreplace") for path in data.rglob("*.jpg")}


@given(st.binary(max_size=30).filter(lambda name: b"\0" not in name))
def test_a_name_is_text_by_the_one_rule(name):
    text = as_text(os.fsdecode(name))
    assert text == name.decode("utf-8", "backslashreplace")
    assert as_text(text) == text
    assert json.loads(json_text({"name": os.fsdecode(name)}).encode()) == {"name": text}
    assert str(VerydeepError(os.fsdecode(name))) == text


@given(st.text(st.characters(), max_size=10))
def test_other_lone_surrogates_are_written_too(text):
    as_text(text).encode()
    json_text([text, {text: text}]).encode()


def test_training_holds_out_the_same_images_again(data, run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert sorted(config["class_names"]) == sorted(NAMES.values())
    held_out = json.loads((run / "split.json").read_text(encoding="utf-8"))["held_out"]
    again = open_data(str(data), held_out=frozenset(held_out))
    assert "the model's training held out" in again.split
    assert sorted(again.held_out.names) == sorted(held_out)
    assert set(again.all.names) == wanted_names(data)


def test_results_are_fused_and_reported_by_name(data, run, tmp_path, capfd):
    files = [tmp_path / f"{number}.npz" for number in range(2)]
    for number, file in enumerate(files):
        scales = str(36 + 4 * number)
        out = lines_of(capfd, "evaluate", run, data, "--part", "all", "--out", file, "--scales", scales, "--json")
        assert set(json.loads(out)["per_class"]) == set(NAMES.values())
    assert set(read_result(files[0]).names) == wanted_names(data)
    lines_of(capfd, "fuse", *files, "--out", tmp_path / "fused.npz")
    assert set(read_result(tmp_path / "fused.npz").names) == wanted_names(data)
    page = tmp_path / "page.html"
    lines_of(capfd, "report", tmp_path / "fused.npz", "--page", page)
    assert r"caf\xe9" in page.read_text(encoding="utf-8")
    image = next((data / LATIN).iterdir())
    for words in (
        ("visualize", run, data / LATIN / f"{LATIN}.jpg", "--steps", 0),
        ("compare", image, data / LATIN / f"{LATIN}.jpg", "--model", run, *CONTENT),
    ):
        lines_of(capfd, *words, "--page", page)
        assert r"caf\xe9.jpg" in page.read_text(encoding="utf-8")


def test_features_have_the_names(data, run, tmp_path, capfd):
    for ending in ("npz", "parquet"):
        out = tmp_path / f"f.{ending}"
        lines_of(capfd, "extract", run, data, "--layers", "relu7", "--out", out)
        if ending == "npz":
            names = np.load(out)["names"].tolist()
        else:
            names = pytest.importorskip("pyarrow.parquet").read_table(out)["name"].to_pylist()
        assert {name.removeprefix(f"{data}/") for name in names} == wanted_names(data)


def test_shards_have_the_names(data, run, tmp_path, capfd):
    shards = tmp_path / os.fsdecode(b"sh\xe4rds")
    lines_of(capfd, "shard", data, "--out", shards)
    found = open_data(str(shards))
    assert set(found.all.names) == wanted_names(data)
    assert set(found.class_names) == set(NAMES.values())
    assert found.train.fingerprint == open_data(str(data)).train.fingerprint
    lines_of(capfd, "evaluate", run, shards)


def test_predict_prints_and_draws_them(data, run, tmp_path, capfd):
    out = lines_of(capfd, "predict", run, data, "--json", "--maps", tmp_path / "maps")
    names = [json.loads(line)["image"].removeprefix(f"{data}/") for line in out.splitlines()]
    assert set(names) == wanted_names(data)
    assert list((tmp_path / "maps").glob("caf_xe9-*.png"))
    rows = list(csv.DictReader(io.StringIO(lines_of(capfd, "predict", run, data))))
    assert {row["image"].removeprefix(f"{data}/") for row in rows} == wanted_names(data)


def test_an_unreadable_one_is_named_in_the_run(data, tmp_path, capfd):
    copied = tmp_path / LATIN
    shutil.copytree(data, copied)
    cut(copied / LATIN / f"{LATIN}.jpg", 0.2)
    run = tmp_path / os.fsdecode(b"run\xff")
    lines_of(capfd, "train", copied, run, *TINY.split(), "--max-unreadable", "1")
    (line,) = (run / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["name"] == r"caf\xe9/caf\xe9.jpg"
    assert r"caf\xe9.jpg: damaged" in json.loads(line)["reason"]
    lines_of(capfd, "evaluate", run, copied, "--part", "all", "--max-unreadable", "1")
    with pytest.raises(ImageError, match=r"caf\\xe9\.jpg: damaged"):
        decode.read(copied / LATIN / f"{LATIN}.jpg")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "utf-8"])
def test_output_of_another_encoding(encoding, tmp_path):
    image = save(tmp_path / "ж.png", smooth(40, 36))
    model = tmp_path / "m"
    new("A", model, width=0.06, num_classes=2, window=32)
    config = json.loads((model / "config.json").read_text())
    names = ["Straße", "猫"]
    (model / "config.json").write_text(json.dumps({**config, "class_names": names}))

    def said(*words: object) -> str:
        outcome = subprocess.run(
            [sys.executable, "-m", "verydeep", *map(str, words)],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout.decode(encoding)

    table = said("predict", model, image)
    assert ("█" if encoding in ("utf-8", "cp437") else "#") in table
    assert ("猫" if encoding == "utf-8" else "\\u732b") in table
    (line,) = said("predict", model, image, "--json").splitlines()
    assert {one["class"] for one in json.loads(line)["predictions"]} == set(names)
    assert json.loads(line)["image"] == str(image)


FORMS = ("NFC", "NFD")


def in_form(form: str, *names: str) -> dict[str, int]:
    return {unicodedata.normalize(form, name): 5 for name in names}


@pytest.mark.parametrize("train", FORMS)
@pytest.mark.parametrize("val", FORMS)
def test_parts_whose_names_are_written_in_two_ways(train, val, tmp_path):
    class_folders(tmp_path / "train", in_form(train, "café", "naïve", "zebra"))
    class_folders(tmp_path / "val", in_form(val, "café", "zebra"))
    found = open_data(str(tmp_path))
    names = [unicodedata.normalize("NFC", found.class_names[label]) for label in found.held_out.labels]
    assert names == [unicodedata.normalize("NFC", name.split("/")[1]) for name in found.held_out.names]


@pytest.mark.parametrize("form", FORMS)
def test_a_model_knows_its_classes_and_its_split_in_either_form(form, tmp_path):
    other = FORMS[1 - FORMS.index(form)]
    first = open_data(str(class_folders(tmp_path / "a", in_form(form, "café", "Ångström"))))
    copied = open_data(
        str(class_folders(tmp_path / "b", in_form(other, "Ångström", "café"))),
        held_out=frozenset(first.held_out.names),
    )
    relabelled = copied.held_out.relabel(first.class_names)
    for name, label in zip(relabelled.names, relabelled.labels, strict=True):
        folder = name.split("/")[0]
        assert unicodedata.normalize(form, folder) == first.class_names[label]
    assert {unicodedata.normalize(form, name) for name in copied.held_out.names} == set(first.held_out.names)


def test_what_looks_the_same_twice_is_refused(tmp_path):
    class_folders(tmp_path, {**in_form("NFC", "café"), **in_form("NFD", "café")})
    with pytest.raises(DataError, match="two classes called"):
        open_data(str(tmp_path))


def test_a_model_with_two_classes_of_one_name_is_not_guessed_at():
    images = ImageSet(("a",), np.zeros(1, np.int64), ("crane",), Arrays((smooth(8, 8),)))
    with pytest.raises(DataError, match="the model has two classes called 'crane'"):
        images.relabel(("crane", "dog", "crane"))
    assert images.relabel(("dog", "dog", "crane")).labels.tolist() == [2]


@pytest.mark.parametrize(("mine", "models"), [("Cat", "cat"), ("STRASSE", "straße"), ("É", "é")])
def test_names_that_differ_in_case_are_told(mine, models):
    images = ImageSet(("a",), np.zeros(1, np.int64), (mine,), Arrays((smooth(8, 8),)))
    with pytest.raises(DataError, match=f"'{mine}' and '{models}' differ in upper and lower case alone"):
        images.relabel((models, "dog"))


def test_parts_that_differ_in_case_are_told(tmp_path):
    class_folders(tmp_path / "train", {"cat": 2, "dog": 2})
    class_folders(tmp_path / "val", {"Cat": 2, "dog": 2})
    with pytest.raises(DataError, match="'Cat' and 'cat' differ in upper and lower case alone"):
        open_data(str(tmp_path))
