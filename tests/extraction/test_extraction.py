"""Features of many images in a file: what they are, that nothing is lost or changed, and in how much memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_images import class_folders, cut

import verydeep
from verydeep.api.new import new
from verydeep.cli import main
from verydeep.errors import ModelError, UsageError
from verydeep.extraction.archive import read_features
from verydeep.images.views import rescale

pytest.importorskip("verydeep._native")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Images of two shapes, one after the other in turns."""
    folder = tmp_path_factory.mktemp("data")
    class_folders(folder, {"blue": 9, "red": 9})
    class_folders(folder, {"green": 9}, size=(33, 50))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "B"
    new("B", path, width=0.06, num_classes=3, window=32)
    return path


def extract(*words: object) -> tuple[list[str], dict[str, np.ndarray], dict]:
    main(["extract", *map(str, words)])
    return read_features(Path(words[words.index("--out") + 1]))


def gram(maps: np.ndarray) -> np.ndarray:
    return np.einsum("cij,dij->cd", maps.astype(np.float64), maps) / maps.size


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("pool", ["mean", "max", "gram"])
def test_a_row_is_what_the_layer_gives_for_the_image(run, data, tmp_path, pool, engine, capsys):
    layers = ("relu2_2", "fc7")
    words = (run, data, "--layers", *layers, "--pool", pool, "--engine", engine, "--scales", 40)
    names, arrays, facts = extract(*words, "--out", tmp_path / "f.npz")
    assert "27 images, relu2_2" in capsys.readouterr().out
    assert names == sorted(str(path) for path in data.rglob("*.jpg"))
    assert (facts["pool"], facts["scale"], facts["layers"]) == (pool, 40, list(layers))
    tap = verydeep.features(run, layers, engine="native")
    summary = {"mean": lambda m: m.mean((1, 2)), "max": lambda m: m.max((1, 2)), "gram": gram}[pool]
    for number in (0, 10, 26):
        image = np.asarray(rescale(Image.open(names[number]), 40))
        for layer, maps in tap(image[None]).items():
            assert np.allclose(arrays[layer][number], summary(maps[0]), rtol=1e-4, atol=1e-5), layer
    assert not list(tmp_path.glob("*.parts"))


def test_whole_maps_want_one_shape(run, data, tmp_path):
    words = (run, data, "--layers", "conv1_1", "pool2", "--pool", "none", "--out", tmp_path / "f.npz")
    with pytest.raises(SystemExit) as ended:
        main(["extract", *map(str, words)])
    assert ended.value.code == 2
    names, arrays, _ = extract(*words, "--crop")
    assert arrays["conv1_1"].shape == (27, 4, 32, 32)
    image = np.asarray(rescale(Image.open(names[20]), 37))
    top, left = round((image.shape[0] - 32) / 2), round((image.shape[1] - 32) / 2)
    tap = verydeep.features(run, ["conv1_1"], engine="native")
    wanted = tap(image[None, top : top + 32, left : left + 32])["conv1_1"]
    assert np.allclose(arrays["conv1_1"][20], wanted[0], atol=1e-5)


def test_parquet_has_the_same_numbers(run, data, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    words = (run, data, "--layers", "relu1_2", "fc7", "--pool", "gram")
    names, arrays, facts = extract(*words, "--out", tmp_path / "f.npz")
    main(["extract", *map(str, words), "--out", str(tmp_path / "f.parquet")])
    table = parquet.read_table(tmp_path / "f.parquet")
    assert table["name"].to_pylist() == names
    assert json.loads(table.schema.metadata[b"verydeep"]) == facts
    for layer in ("relu1_2", "fc7"):
        shape = json.loads(table.schema.field(layer).metadata[b"shape"])
        rows = np.stack(table[layer].to_numpy()).reshape(len(names), *shape)
        assert np.array_equal(rows, arrays[layer])


def start(*words: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "verydeep", "extract", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.mark.slow
def test_killed_and_gone_on_with_and_shared_out_it_is_the_same_file(run, tmp_path):
    """Of several hundred images, so that there are several chunks; killed when the first is there."""
    data = class_folders(tmp_path / "data", {"blue": 400, "red": 400}, size=(64, 64))
    words = (run, data, "--layers", "relu5_2", "--scales", 96)
    whole, killed, shared = (tmp_path / f"{name}.npz" for name in ("whole", "killed", "shared"))
    main(["extract", *map(str, words), "--out", str(whole)])
    first = start(*words, "--out", killed)
    parts = tmp_path / "killed.npz.parts"
    while not list(parts.glob("*.npz")):
        time.sleep(0.005)
        assert first.poll() is None, first.communicate()
    first.send_signal(signal.SIGKILL)
    first.communicate()
    done = {part: part.stat().st_mtime_ns for part in parts.glob("*.npz")}
    assert 0 < len(done) < 4
    assert not killed.exists()
    with pytest.raises(SystemExit):  # of another extraction it is refused
        main(["extract", *map(str, words), "--pool", "max", "--out", str(killed)])
    again = start(*words, "--out", killed)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert "800 images" in out
    assert killed.read_bytes() == whole.read_bytes()
    together = start(*words, "--out", shared, "--processes", 2)
    out, err = together.communicate(timeout=120)
    assert (together.returncode, err) == (0, "")
    assert shared.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_what_cannot_be_read_is_named_and_left_out_if_it_may_be(run, tmp_path, capsys):
    data = class_folders(tmp_path / "data", {"blue": 3, "red": 3})
    broken = cut(data / "blue" / "1.jpg")
    words = (run, data, "--layers", "pool3", "--out", tmp_path / "f.npz")
    with pytest.raises(SystemExit) as ended:
        main(["extract", *map(str, words)])
    assert ended.value.code == 1
    assert str(broken) in capsys.readouterr().err
    names, arrays, _ = extract(*words, "--max-unreadable", 1)
    assert str(broken) not in names
    assert len(names) == len(arrays["pool3"]) == 5
    assert "skipped:" in capsys.readouterr().err


def test_without_the_image_that_cannot_be_read_the_same_command_goes_on(run, tmp_path):
    data = class_folders(tmp_path / "data", {"blue": 3})
    broken = cut(data / "blue" / "1.jpg")
    words = (run, data, "--layers", "pool3", "--out", tmp_path / "f.npz")
    with pytest.raises(SystemExit):
        main(["extract", *map(str, words)])
    broken.unlink()
    names, _, _ = extract(*words)
    assert len(names) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "f.npz"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layers", "relu9_9"], "configuration B has no layer 'relu9_9'; did you mean"),
        (["--layers", "relu1_1", "--scales", "0"], "needs both sides to be at least 1"),
        (["--layers", "fc7", "--scales", "20"], "needs both sides to be at least 32"),
        (["--layers", "relu1_1", "--crop", "--scales", "20"], "smaller than the network's window of 32 pixels"),
        (["--layers", "relu1_1", "--max-unreadable", "-1"], "must be 0 or more"),
    ],
)
def test_wrong_requests_are_one_sentence(run, data, tmp_path, capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        main(["extract", str(run), str(data), *words, "--out", str(tmp_path / "f.npz")])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_file_has_a_kind_that_can_be_written(run, data, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["extract", str(run), str(data), "--layers", "pool1", "--out", str(tmp_path / "f.csv")])
    assert ended.value.code == 2
    assert "has to end with .npz or .parquet" in capsys.readouterr().err
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["extract", str(run), str(data), "--layers", "pool1", "--out", str(tmp_path / "folder.npz")])
    assert ended.value.code == 2
    assert "is a folder; name a file" in capsys.readouterr().err
    (tmp_path / "other.npz").write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"is not an \.npz file of `verydeep extract`"):
        read_features(tmp_path / "other.npz")


def test_arrays_of_others_are_not_replaced(tmp_path):
    """A result of the same name, and a user's own arrays; neither a result by features."""
    result, features, own = (tmp_path / name for name in ("result.npz", "features.npz", "own.npz"))
    data = class_folders(tmp_path / "data", {"cat": 1, "dog": 1})
    evaluate = partial(verydeep.evaluate, "cifar10", data, part="all")
    evaluate(out=result)
    verydeep.extract("cifar10", [data], layers=["relu7"], out=features)
    np.savez(own, names=np.arange(3), facts=np.arange(3), precious=np.arange(3))
    np.savez(own.with_name("named.npz"), mine=np.arange(3))
    before = {path: path.read_bytes() for path in tmp_path.glob("*.npz")}
    for path in (result, own, own.with_name("named.npz")):
        with pytest.raises(UsageError, match="holds arrays that this command does not write"):
            verydeep.extract("cifar10", [data], layers=["relu7"], out=path)
    for path in (features, own):
        with pytest.raises(UsageError, match="would be lost; choose another name, or remove it"):
            evaluate(out=path)
    assert before == {path: path.read_bytes() for path in tmp_path.glob("*.npz")}
    with pytest.raises(ModelError, match="no array labels; its arrays: 'names', 'relu7', 'facts'"):
        verydeep.report([features])
    evaluate(out=result)  # its own are made anew
    verydeep.extract("cifar10", [data], layers=["relu6"], out=features)
    assert list(read_features(features)[1]) == ["relu6"]
    os.mkfifo(tmp_path / "pipe.npz")
    with subprocess.Popen(["cat", tmp_path / "pipe.npz"], stdout=subprocess.PIPE) as cat:
        verydeep.extract("cifar10", [data], layers=["relu6"], out=tmp_path / "pipe.npz")
        assert cat.communicate(timeout=60)[0] == features.read_bytes()
    damaged = bytearray(result.read_bytes())
    damaged[damaged.index(b"PK\1\2") + 6] = 99  # a version of zip's that nobody has
    result.write_bytes(damaged)
    evaluate(out=result)


@pytest.mark.heavy
@pytest.mark.slow
def test_twice_the_images_take_no_more_memory(run, tmp_path):
    """A layer of 4 x 96 x 96 numbers, all kept: 147 KB an image, 29 MB and 118 MB in all."""
    data = class_folders(tmp_path / "data", {"blue": 200}, size=(96, 96))
    more = class_folders(tmp_path / "more", {"blue": 800}, size=(96, 96))
    code = (
        "import resource, sys; from verydeep.cli import main; main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for images in (data, more):
        words = ["extract", run, images, "--layers", "relu1_2", "--pool", "none", "--scales", 96]
        words += ["--out", tmp_path / "f.npz"]
        command = [sys.executable, "-c", code, *map(str, words)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peaks.append(int(out.splitlines()[-1]) / 1024)
    assert peaks[1] < peaks[0] + 40, peaks
