"""Files that are damaged or made to harm: one sentence says so, nothing is run, written, or filled.

`benchmarks/fuzz.py` does the same with many more, of every kind.
"""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import time
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from mutants import mutants
from mutations import ENDINGS, crafted, write
from safetensors.numpy import save_file

from verydeep.api.inspect import inspect
from verydeep.cli import main
from verydeep.errors import ModelError, VerydeepError
from verydeep.weights.checkpoint import NotWeightsError
from verydeep.weights.files import onnx, sandbox
from verydeep.weights.files.protobuf import Message, WireError
from verydeep.weights.formats import FORMATS
from verydeep.weights.importing import import_weights
from verydeep.weights.source import locate

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5"),
]

HERE = ("safetensors", "caffe", "onnx")  # are read in this process, by readers of our own
COUNTS = dict.fromkeys(ENDINGS, 12) | dict.fromkeys(HERE, 300) | {"pytorch": 12, "old pytorch": 12}


SLOW = ("matconvnet", "keras 2", "keras 3", "old pytorch")


@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=pytest.mark.heavy) if one in SLOW else one for one in ENDINGS]
)
def test_damaged_files(kind, tmp_path):
    """Each is refused in a sentence, or can still be read: a flipped bit may lie within a number."""
    content = write(kind, tmp_path / f"whole{ENDINGS[kind]}").read_bytes()
    assert inspect(tmp_path / f"whole{ENDINGS[kind]}").to_dict()["configuration"] in "AD"
    refused = 0
    for way, damaged in mutants(content, COUNTS[kind]):
        path = tmp_path / f"damaged{ENDINGS[kind]}"
        path.write_bytes(damaged)
        try:
            inspect(path)
        except VerydeepError as error:
            refused += 1
            assert str(path) in str(error), way
            assert len(str(error)) < 1000, way
            assert "\n" not in str(error), way
    assert refused > 0.5 * COUNTS[kind]
    assert len(list(tmp_path.iterdir())) == 2


CRAFTED = {
    "pickle.pth": "holds more than tensors",
    "old_pickle.pth": "holds more than tensors",
    "bare_pickle.pt": "holds more than tensors",
    "whole_network.pth": "holds more than tensors",
    "loop.pth": "too many things within each other",
    "nested.safetensors": "header cannot be read",
    "huge.safetensors": "header cannot be read",
    "overlapping.safetensors": "is not where",
    "negative.safetensors": "header cannot be read",
    "long_header.safetensors": "header would be",
    "nested.caffemodel": "without weights",
    "huge.caffemodel": "would have shape",
    "nested.onnx": "it has no graph",
    "huge.h5": "fit in memory",
    "bomb.h5": "fit in memory",
    "loop.h5": "too many groups",
    "elsewhere.h5": "a link to elsewhere",
    "soft.h5": "a link to elsewhere",
    "raw.h5": "in another file",
    "virtual.h5": "in another file",
    "elsewhere_2.h5": "a link to elsewhere",
    "weights_elsewhere.h5": "a link to elsewhere",
    "bomb.keras": "fit in memory",
    "outside.keras": "without model.weights.h5",
    "huge.mat": "cannot be read",
    "newer.mat": "version 7.3",
}


@pytest.fixture(scope="module")
def harmful(tmp_path_factory) -> tuple[dict[str, Path], Path]:
    folder = tmp_path_factory.mktemp("harmful")
    return crafted(folder / "files", folder / "created"), folder


def processor_seconds() -> float:
    """What this process and those that it has waited for have computed."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


@pytest.mark.parametrize("name", CRAFTED)
def test_files_made_to_harm(name, harmful, capsys):
    files, folder = harmful
    assert files.keys() == CRAFTED.keys()
    start = processor_seconds()
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(files[name]), str(folder / "run"), "--preprocessing", "torchvision"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert str(files[name]) in said
    assert CRAFTED[name] in said
    assert ("damaged" in said) == (name == "huge.mat")
    assert said.count("\n") == 1
    assert processor_seconds() - start < 60
    assert {path.name for path in folder.iterdir()} == {"files"}


def test_a_changed_number_in_a_keras_file_is_seen(tmp_path, read_here):
    """The zip has a checksum, which HDF5 has not."""
    path = write("keras", tmp_path / "a.keras")
    content = bytearray(path.read_bytes())
    content[content.index(b"model.weights.h5") + 20_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(zipfile.BadZipFile, match="Bad CRC-32"):
        inspect(path)


def test_a_reader_that_crashes_is_an_error(tmp_path, monkeypatch):
    path = write("keras 2", tmp_path / "a.h5")
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -SEGV $$\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(ModelError, match=r"its reader crashed \(SIGSEGV\)"):
        inspect(path)


def test_a_reader_that_does_not_end_is_an_error(tmp_path, monkeypatch):
    path = write("keras 2", tmp_path / "a.h5")
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path / 'process'}\nexec sleep 100\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(sandbox, "SILENT_SECONDS", 0.5)
    with pytest.raises(ModelError, match=r"its reader gave nothing for 0\.5 seconds"):
        inspect(path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "process").read_text()), 0)


READERS = {
    "sleeps": ("time.sleep(100)", r"its reader gave nothing for 2 seconds"),
    "spins": ("while True: pass", "its reader took more than 2 seconds of processor time"),
    "allocates": ("kept = bytearray(1 << 36)", "it does not fit in memory"),
    "dies": ("os.kill(os.getpid(), 9)", "its reader was killed, most often because memory ran out"),
    "is slow on a busy machine": ("for _ in range(3): time.sleep(0.8); yield 'a', np.ones(3, 'f4'), 'F32'", ""),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_has_processor_time_and_memory(kind, tmp_path, monkeypatch):
    """Not so many seconds of the clock, which a busy machine uses up: only a silent one is ended by it."""
    body, told = READERS[kind]
    lines = ["import os, time", "import numpy as np", "def read(path, facts):", f"    {body}", "    yield from ()"]
    (tmp_path / "some_reader.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sandbox, "MOST_SECONDS", 2)
    monkeypatch.setattr(sandbox, "SILENT_SECONDS", 20.0 if kind != "sleeps" else 2.0)
    (tmp_path / "file").write_bytes(b"x")
    tensors = sandbox.reader("some_reader")(tmp_path / "file", {})
    if told:
        with pytest.raises(NotWeightsError, match=told):
            list(tensors)
    else:
        assert len(list(tensors)) == 3


def test_the_reader_is_bounded(tmp_path):
    """In memory and time, and it writes no byte into any file."""
    code = (
        "from verydeep.weights.files.sandbox_process import bound\n"
        "bound(100_000_000, 60)\n"
        "try:\n    bytearray(200_000_000)\nexcept MemoryError:\n    print('no memory')\n"
        f"try:\n    open({str(tmp_path / 'a')!r}, 'w', buffering=1).write('x' * 10 + chr(10))\n"
        "except OSError as error:\n    print('no file')\n"
    )
    code = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + code
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.split("\n")[:2] == ["no memory", "no file"], result.stderr
    read_by_libraries = {name for name, one in FORMATS.items() if one.requires}
    assert {name for name, one in FORMATS.items() if one.sandboxed} == read_by_libraries | {"torch"}  # a pickle
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 0  # of this process, which is not bounded


def test_the_reader_takes_a_stricter_limit_as_it_is(tmp_path):
    """A hard limit of a cluster's job is no damage of the file."""
    code = (
        "import resource; from verydeep.weights.files.sandbox_process import bound\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000,) * 2)\n"
        "bound(100_000_000_000, 60)\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] == used + 50_000_000)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout == "True\n", result.stderr


def test_a_process_with_many_open_files_reads_too(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"conv1_1.weight": torch.zeros(4, 3, 3, 3)}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    try:
        with ExitStack() as stack:
            for _ in range(1100):
                stack.enter_context(Path(os.devnull).open())
            [(name, tensor, _)] = sandbox.reader("verydeep.weights.files.torch_file")(path, {})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (name, tensor.shape) == ("conv1_1.weight", (4, 3, 3, 3))


def test_a_file_of_thousands_of_networks_is_refused_at_once(tmp_path):
    tensors = {f"a{number}.conv1_1.weight": np.zeros((0, 3, 3, 3), np.float32) for number in range(4000)}
    save_file(tensors, tmp_path / "a.safetensors")
    start = processor_seconds()
    with pytest.raises(ModelError, match="has 4,000 networks; name one of them by `tensors`"):
        import_weights(locate(tmp_path / "a.safetensors"))
    assert processor_seconds() - start < 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x20" + b"\x80" * 5 + b"\x01", "more than 4 bytes"),  # field 4 is a varint of 2^35
        (b"\x21" + b"\x01" * 8, "more than 4 bytes"),  # and 8 bytes
    ],
)
def test_numbers_of_other_sizes_are_damage(content, said):
    with pytest.raises(WireError, match=said):
        Message(memoryview(content)).floats(4, "<f4")


def test_an_attribute_of_no_number_is_damage():
    with pytest.raises(WireError, match="holds no number"):
        onnx._value(Message(memoryview(b"\x12\x00")), None)  # field 2 is empty bytes


def test_a_file_that_is_none(tmp_path):
    os.mkfifo(tmp_path / "a.pth")
    with pytest.raises(ModelError, match="is not a file"):
        inspect(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"")
    with pytest.raises(ModelError, match="it is empty"):
        inspect(tmp_path / "b.pth")
    (tmp_path / "c.pth").write_text("weights")
    with pytest.raises(ModelError, match="of a kind that can be read"):
        inspect(tmp_path / "c.pth")


@pytest.mark.parametrize(
    ("module", "kind", "extra"), [("h5py", "keras 2", "weights"), ("scipy", "matconvnet", "weights")]
)
def test_what_reads_a_file_is_named_where_it_is_missing(module, kind, extra, tmp_path, monkeypatch):
    path = write(kind, tmp_path / f"a{ENDINGS[kind]}")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else object())
    with pytest.raises(VerydeepError, match=rf"needs {module}, which is not installed.*verydeep\[{extra}\]"):
        inspect(path)
