"""What people do with weights and folders beyond the examples: neighbours, full disks, numbers of NumPy's."""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import verydeep
from verydeep.api.new import new
from verydeep.cli import main
from verydeep.commands.special import command
from verydeep.errors import ModelError, UsageError
from verydeep.images.color import Preprocessing
from verydeep.run_folder import CONFIG, TRAINING_NAMES, WEIGHTS, read_model, read_training_names
from verydeep.weights.checkpoint import NotWeightsError
from verydeep.weights.features import open_features
from verydeep.weights.files import sandbox
from verydeep.weights.writing import feeding

TIMMS = {
    "architecture": "vgg16",
    "pretrained_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "label_names": ["quokka", "wombat", "dingo"],
    },
}


@pytest.fixture
def run(tmp_path) -> Path:
    new("D", tmp_path / "run", width=0.06, num_classes=3)
    return tmp_path / "run"


def test_a_card_of_timm_belongs_to_its_own_weights(run, tmp_path):
    """A folder of downloads may have it beside anybody's files."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(TIMMS))
    for name, to, is_its in (("other.weights.h5", "keras", False), (WEIGHTS, "torchvision", True)):
        verydeep.export(run, out=folder / name, to=to)
        facts = verydeep.inspect(folder / name).to_dict()
        assert ("quokka" in str(facts)) is is_its, name
    with pytest.raises(ModelError, match="does not say how images are preprocessed"):
        verydeep.load(folder / "other.weights.h5")


def test_another_card_is_another_model(run, tmp_path, monkeypatch):
    """Its conversion that was kept has the old preprocessing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "theirs"
    folder.mkdir()
    verydeep.export(run, out=folder / WEIGHTS, to="torchvision")
    for mean in (0.5, 0.25):
        (folder / CONFIG).write_text(
            json.dumps(TIMMS | {"pretrained_cfg": {"mean": [mean] * 3, "std": [1, 1, 1]}})
        )
        assert open_features(folder)[0].preprocessing.mean == (255 * mean,) * 3


def test_what_a_reader_tells_is_bounded():
    header = (sandbox.MOST_HEADER_BYTES + 1).to_bytes(4, "little")
    reader, writer = os.pipe()
    os.write(writer, header)
    with os.fdopen(reader, "rb", buffering=0) as stream, pytest.raises(NotWeightsError, match="has more than"):
        next(sandbox._receive(stream, {}, 1))
    os.close(writer)


def test_a_long_configuration_of_keras_ends(tmp_path):
    """The process that reads it writes more than is taken from it: nobody waits for the other for ever."""
    with zipfile.ZipFile(tmp_path / "long.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({"name": "é" * 4_000_000}, ensure_ascii=False))
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"")
    code = "import sys; from verydeep.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(tmp_path / "long.keras")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["o.safetensors", "o.pth", "o.weights.h5"])
def test_a_full_disk_is_one_sentence(run, tmp_path, name, capsys):
    to = "keras" if name.endswith(".h5") else "torchvision"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(SystemExit) as ended:
            main(["export", str(run), "--to", to, "--out", str(tmp_path / name)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (said,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1 and "cannot be written" in said
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_numbers_of_numpy_are_numbers(tmp_path):
    labels = np.array([0, 1, 2])
    verydeep.new("A", tmp_path / "run", num_classes=labels.max() + 1, width=np.float32(0.0625), seed=np.int32(1))
    config, _ = read_model(tmp_path / "run")
    assert config.architecture.num_classes == 3 and config.architecture.width == 0.0625
    with pytest.raises(UsageError, match="`seed` is"):
        verydeep.new("A", tmp_path / "other", seed=2**70)


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)])
def test_channels_are_reversed_and_nothing_else(shape):
    """Of an image as transforms give it, and of a batch."""
    told = feeding("torchvision", Preprocessing(channels="BGR"))
    images = torch.rand(shape)
    wanted = images[[2, 1, 0]] if len(shape) == 3 else images[:, [2, 1, 0]]
    assert torch.equal(eval("images" + told[told.index(".flip") :]), wanted)


def test_damage_is_a_sentence(run, tmp_path, capsys):
    tensors = load_file(run / WEIGHTS)
    for shape in ([1] * 100, [0, 1 << 62, 1 << 62]):
        content = (run / WEIGHTS).read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        end = max(one["data_offsets"][1] for name, one in header.items() if name != "__metadata__")
        more = 0 if 0 in shape else 4
        header["extra"] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + more]}
        text = json.dumps(header).encode()
        damaged = tmp_path / f"{len(shape)}"
        shutil.copytree(run, damaged)
        whole = len(text).to_bytes(8, "little") + text + content[8 + length :] + bytes(more)
        (damaged / WEIGHTS).write_bytes(whole)
        with pytest.raises(ModelError, match="header cannot be read"):
            verydeep.load(damaged)
    truth = tmp_path / "truth"
    shutil.copytree(run, truth)
    save_file(tensors | {"conv1_1.weight": tensors["conv1_1.weight"] > 0}, truth / WEIGHTS)
    with pytest.raises(ModelError, match=r"conv1_1.weight has truth values in place of numbers"):
        verydeep.load(truth)
    fields = json.loads((run / CONFIG).read_text())
    fields["provenance"]["notes"] = 5
    (run / CONFIG).write_text(json.dumps(fields))
    with pytest.raises(ModelError, match="notes"):
        verydeep.inspect(run)
    with gzip.open(run / TRAINING_NAMES, "wt") as file:
        file.write('"a"\n' * 1000)
    content = bytearray((run / TRAINING_NAMES).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (run / TRAINING_NAMES).write_bytes(content)
    assert read_training_names(run) is None


def test_no_answer_is_no(monkeypatch, capsys):
    def ended(question: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    with pytest.raises(UsageError, match="nothing was sent"):
        command("push").run(["run", "a/b"])


def test_names_of_classes_in_a_list_are_those_of_a_file(run, tmp_path):
    verydeep.export(run, out=tmp_path / "o.safetensors", to="torchvision")
    for names, said in ((["a", "a", "b"], "are both called 'a'"), (["a", "", "b"], "has an empty name")):
        with pytest.raises(UsageError, match=said):
            verydeep.convert(tmp_path / "o.safetensors", tmp_path / "again", class_names=names)
