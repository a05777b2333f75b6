"""A format of one's own: a module and a row of the table are all that the rest needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import verydeep
from verydeep.configurations import Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.run_folder import read_model
from verydeep.weights.formats import FORMATS, Format

ARCHITECTURE = Architecture("A", 3, 0.05, 32)
MODULE = """
import numpy as np
from verydeep.weights.checkpoint import NotWeightsError
from verydeep.weights.recognize import Layer, Layers


def read(path, facts):
    with path.open("rb") as file:
        facts["made by"] = file.readline().decode().strip()
        if "somebody" not in facts["made by"]:
            raise NotWeightsError("was made by nobody")
        while header := file.readline().split():
            shape = [int(size) for size in header]
            numbers = np.frombuffer(file.read(4 * int(np.prod(shape))), "<f4").reshape(shape)
            yield f"{file.tell()}", numbers, "float32"


def read_layers(checkpoint):
    tensors = list(checkpoint.tensors.values())
    layers = [Layer(*pair) for pair in zip(tensors[::2], tensors[1::2])]
    notes = [f"made by {checkpoint.facts['made by']}"]
    return Layers(layers[:-3], layers[-3:], flattened=True, notes=notes)
"""


@pytest.fixture(params=[False, True], ids=["here", "in the sandbox"])
def mine(tmp_path, monkeypatch, request) -> Path:
    """A file of a format that this package does not have, and its row in the table."""
    (tmp_path / "my_format.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    row = Format(
        "My own",
        (".mine",),
        "my_format",
        ("my_format",),
        lambda start, path: start.startswith(b"MINE"),
        sandboxed=request.param,
    )
    monkeypatch.setitem(FORMATS, "mine", row)
    random = np.random.default_rng(0)
    path = tmp_path / "vgg.mine"
    with path.open("wb") as file:
        file.write(b"MINE, by somebody\n")
        for shape in ARCHITECTURE.tensors.values():
            file.write((" ".join(map(str, shape)) + "\n").encode())
            file.write(random.normal(0, 0.1, shape).astype("<f4").tobytes())
    return path


def test_a_format_is_a_module_and_a_row_of_the_table(mine, tmp_path, photographs, capfd):
    facts = verydeep.inspect(mine).to_dict()
    assert (facts["kind"], facts["layout"], facts["dtypes"]) == ("My own", "my_format", ["float32"])
    assert facts["configuration"] == "A"
    verydeep.convert(mine, tmp_path / "run", preprocessing="oxford", class_names=["a", "b", "c"])
    config, tensors = read_model(tmp_path / "run")
    assert config.architecture == ARCHITECTURE
    assert list(tensors) == sorted(ARCHITECTURE.tensors)
    expected = np.random.default_rng(0).normal(0, 0.1, ARCHITECTURE.tensors["conv1_1.weight"]).astype("<f4")
    np.testing.assert_array_equal(tensors["conv1_1.weight"], expected)
    assert "note: made by MINE, by somebody" in capfd.readouterr().err
    posterior = verydeep.load(tmp_path / "run").posterior([photographs[0][:64, :64]])
    assert posterior.shape == (1, 3)


def test_its_errors_name_it(mine, tmp_path):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(ModelError, match=r"of a kind that can be read \(safetensors, .*, My own\)"):
        verydeep.inspect(tmp_path / "x.txt")
    (tmp_path / "nobodys.mine").write_bytes(b"MINE, by nobody\n")
    with pytest.raises(ModelError, match=r"nobodys\.mine was made by nobody$"):
        verydeep.inspect(tmp_path / "nobodys.mine")
    with pytest.raises(UsageError, match="holds one network"):
        verydeep.inspect(mine, tensors="ema")


def test_what_weights_do_not_carry_is_given_when_they_are_opened(mine):
    from verydeep.weights.opening import open_source

    with pytest.raises(ModelError, match="does not say how images are preprocessed and what its 3 classes are"):
        open_source(mine)
    (mine.parent / "names.txt").write_text("x\ny\nz\n")
    for given, names in (
        (["x", "y", "z"], ("x", "y", "z")),
        (mine.parent / "names.txt", ("x", "y", "z")),
        ("numbers", ("0", "1", "2")),
    ):
        config, _ = open_source(mine, "matconvnet", given)
        assert config.class_names == names
        assert config.preprocessing.channels == "RGB"
    preprocessing = verydeep.Preprocessing((1, 2, 3), (4, 5, 6), "BGR")
    assert open_source(mine, preprocessing, "numbers")[0].preprocessing == preprocessing
    with pytest.raises(UsageError, match="no preprocessing is called 'torch'; there are torchvision, oxford"):
        open_source(mine, "torch", "numbers")
    with pytest.raises(UsageError, match="`class_names` names 2 classes, the weights have 3"):
        open_source(mine, "oxford", ["x", "y"])


def test_a_model_of_ours_has_what_belongs_to_it(tmp_path):
    from verydeep.weights.opening import open_source

    verydeep.new("A", tmp_path / "run", num_classes=3, width=0.05, window=32)
    for given in ({"preprocessing": "oxford"}, {"class_names": "numbers"}):
        with pytest.raises(UsageError, match="is a verydeep model, which includes this already; leave it out"):
            open_source(tmp_path / "run", **given)
