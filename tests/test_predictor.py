"""`verydeep.Predictor`: a row for each value of a column, whatever the value is, and in any process."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_images import class_folders, cut, save, smooth

import verydeep
from verydeep.api import predictor as module
from verydeep.api.new import new
from verydeep.errors import ModelError, UsageError
from verydeep.extraction.archive import read_features

pytest.importorskip("verydeep._native")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "B"
    new("B", path, width=0.06, num_classes=3, window=32)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    """Images of two shapes."""
    folder = class_folders(tmp_path_factory.mktemp("data"), {"blue": 5, "red": 5})
    class_folders(folder, {"green": 5}, size=(33, 50))
    return sorted(map(str, folder.rglob("*.jpg")))


def same(one: dict, other: dict) -> None:
    assert list(one) == list(other)
    assert one["classes"].tolist() == other["classes"].tolist()
    np.testing.assert_array_equal(one["probabilities"], other["probabilities"])
    assert one["reason"].tolist() == other["reason"].tolist()


def test_rows_are_what_the_model_answers(run, files):
    predictor = verydeep.Predictor(run, top=2)
    rows = predictor({"number": np.arange(15), "bytes": [Path(file).read_bytes() for file in files]})
    assert list(rows) == ["number", "classes", "probabilities", "reason"]
    assert rows["number"].tolist() == list(range(15))
    assert rows["reason"].tolist() == [""] * 15
    assert (rows["probabilities"].shape, rows["probabilities"].dtype) == ((15, 2), np.float32)
    expected = verydeep.load(run).predict(files, top=2)
    assert rows["classes"].tolist() == [[one.class_name for one in ranking] for ranking in expected]
    probabilities = [[one.probability for one in ranking] for ranking in expected]
    np.testing.assert_allclose(rows["probabilities"], probabilities, atol=1e-6)


def test_each_kind_of_image_is_taken_and_the_rest_has_a_reason(run, tmp_path):
    path = save(tmp_path / "image.png")
    content, pixels = path.read_bytes(), smooth(40, 36)
    good = [
        *(content, bytearray(content), np.bytes_(content), str(path), path, pixels, Image.fromarray(pixels)),
        *({"bytes": content, "path": None}, {"bytes": None, "path": str(path)}),
    ]
    bad = {
        "missing: the value is empty": None,
        "the value is empty": {"bytes": None, "path": None},
        "is a int; give": 3,
        "not a readable image: a text file": b"text",
        "an empty file": b"",
        "no such file": str(tmp_path / "none.jpg"),
        "must be uint8": pixels / 255,
        "damaged": cut(save(tmp_path / "cut.jpg")).read_bytes(),
    }
    column = [*good, *bad.values()]
    rows = verydeep.Predictor(run, top=1, column="image")({"image": column})
    assert list(rows) == ["classes", "probabilities", "reason"]
    assert rows["reason"][: len(good)].tolist() == [""] * len(good)
    for said, reason in zip(bad, rows["reason"][len(good) :], strict=True):
        assert said in reason
    assert len(set(map(tuple, rows["classes"][: len(good)]))) == 1
    assert np.ptp(rows["probabilities"][: len(good)]) < 1e-6
    assert rows["classes"][len(good) :].tolist() == [[""]] * len(bad)
    assert np.isnan(rows["probabilities"][len(good) :]).all()


def test_paths_stay_and_columns_of_no_rows_have_their_types(run, files):
    predictor = verydeep.Predictor(run, column="path")
    rows = predictor({"path": files})
    assert list(rows) == ["path", "classes", "probabilities", "reason"]
    assert rows["path"] == files
    nothing = predictor({"path": []})
    assert {name: (len(nothing[name]), np.asarray(nothing[name]).dtype.kind) for name in list(rows)[1:]} == {
        "classes": (0, "O"),
        "probabilities": (0, "f"),
        "reason": (0, "O"),
    }
    as_objects = predictor({"path": list(map(Path, files))})
    assert as_objects["path"] == list(map(Path, files))
    same({**as_objects, "path": files}, rows)
    content = verydeep.Predictor(run)
    columns = [list(content({"bytes": values})) for values in ([], [Path(files[0]).read_bytes()])]
    assert columns == [["classes", "probabilities", "reason"]] * 2
    batch = verydeep.Predictor(run)({"bytes": np.stack([smooth(40, 36)] * 3)})  # an array of a whole batch
    assert len(set(map(tuple, batch["classes"]))) == 1


@pytest.mark.parametrize("pool", ["mean", "max", "gram"])
def test_layers_are_what_extract_gives(run, files, tmp_path, pool):
    layers = ["relu3_2", "fc7"]
    verydeep.extract(run, files, layers=layers, out=tmp_path / "f.npz", pool=pool, scales=(40,))
    _, expected, _ = read_features(tmp_path / "f.npz")
    predictor = verydeep.Predictor(run, column="path", outputs=layers, pool=pool, scales=(40,))
    rows = predictor({"path": [*files, "none.jpg"]})
    assert list(rows) == ["path", *layers, "reason"]
    for layer in layers:
        np.testing.assert_allclose(rows[layer][:-1], expected[layer], rtol=1e-5, atol=1e-6)
        assert rows[layer].dtype == np.float32
        assert np.isnan(rows[layer][-1]).all()
    assert rows["reason"].tolist() == [""] * 15 + ["none.jpg: no such file"]


def test_a_pool_of_processes_gives_the_same(run, files):
    predictor = verydeep.Predictor(run, column="path", threads=1)
    batches = [{"path": files[first : first + 4]} for first in range(0, 15, 4)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for batch, rows in zip(batches, pool.map(predictor, batches), strict=True):
            same(rows, predictor(batch))


def test_only_its_arguments_are_sent_and_the_model_is_opened_once(run, files, monkeypatch, tmp_path):
    monkeypatch.chdir(run.parent)
    predictor = verydeep.Predictor(run.name, column="path")  # a path that is another from another folder
    sent = pickle.dumps(predictor)
    assert len(sent) < 1000
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "load", lambda *_, **__: pytest.fail("it is opened again"))
    same(pickle.loads(sent)({"path": files}), predictor({"path": files}))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer)({'path': [sys.argv[1]]})['classes'][0])"
    out = subprocess.run([sys.executable, "-c", code, files[0]], input=sent, capture_output=True, check=True)
    assert out.stdout.decode().strip() == str(predictor({"path": files[:1]})["classes"][0])
    assert "B" in repr(predictor)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"top": 0}, "`top` is 0; it must be at least 1"),
        ({"outputs": ["relu9_9"]}, "has no layer 'relu9_9'"),
        ({"outputs": []}, "`outputs` is empty"),
        ({"outputs": "relu7"}, "`outputs` is 'relu7'"),
        ({"outputs": ["fc7"], "scales": (32, 40)}, "outputs of layers use one scale"),
        ({"scales": (20,)}, "smaller than the network's window"),
        ({"threads": 0}, "threads"),
    ],
)
def test_what_is_wrong_is_told_when_it_is_made(run, more, said):
    with pytest.raises(UsageError, match=said):
        verydeep.Predictor(run, **more)


def test_a_missing_column_and_a_missing_model_are_one_sentence(run):
    with pytest.raises(UsageError, match=r"has no column 'bytes', only 'path', 'label'; set `column` to that of"):
        verydeep.Predictor(run)({"path": [], "label": []})
    with pytest.raises(ModelError, match="none"):
        verydeep.Predictor(run.parent / "none")
