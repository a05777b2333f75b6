"""NumPy's files of strangers: checked before memory is taken."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from verydeep.array_files import read_array, read_arrays
from verydeep.errors import ModelError
from verydeep.evaluation.results import Evaluation, Facts, MemberFacts, read_result, write_result

FACTS = Facts(
    (MemberFacts("runs/A", "A", 1.0, False, 10, (256, 256), "dense", (256,), True),),
    "photos",
    "val",
    ("a", "b"),
    1.0,
)


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 4)), np.zeros((3, 4), np.float32).T, np.arange(5), np.zeros((0, 2)), np.array(["a", "bc"])],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_what_numpy_writes_is_read(array, mapped, tmp_path):
    np.save(tmp_path / "a.npy", array)
    if array.size or not mapped:
        found = read_array(tmp_path / "a.npy", ("fiU", array.ndim), mapped=mapped)
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype
    np.savez_compressed(tmp_path / "a.npz", x=array)
    np.testing.assert_array_equal(read_arrays(tmp_path / "a.npz", {"x": ("fiU", array.ndim)})["x"], array)


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def of(dtype: str, shape: str) -> bytes:
    return header(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}")


CRAFTED = {
    "no array": (b"PK\x03\x04", "not a NumPy array"),
    "more than there is": (of("'<f8'", "(1099511627776,)"), "announces"),
    "objects": (of("'|O'", "(1,)") + b"cos\nsystem\n", "header"),
    "another type": (of("'<i8'", "(1,)") + bytes(8), "not the expected type"),
    "no type": (of("'<f3'", "(1,)") + bytes(3), "not the expected type"),
    "too many axes": (of("'<f8'", "(1, 1)") + bytes(8), "2 axes"),
    "a program": (of("__import__('os')", "(1,)"), "header"),
    "brackets": (header("(" * 5000), "header"),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_header_is_not_believed(name, tmp_path):
    content, said = CRAFTED[name]
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_array(tmp_path / "a.npy", ("f", 1))


def write(path: Path, **changes: np.ndarray) -> Path:
    arrays = {"names": np.array(["x"]), "labels": np.array([0]), "posteriors": np.array([[0.5, 0.5]])}
    write_result(path, Evaluation(FACTS, ("x",), arrays["labels"], arrays["posteriors"]))
    with np.load(path) as archive:
        whole = {name: archive[name] for name in archive.files}
    np.savez_compressed(path, **(whole | changes))
    return path


@pytest.mark.heavy
def test_zeros_do_not_fill_the_memory(tmp_path):
    """390 kB of names were 1.3 GB once unpacked."""
    path = write(tmp_path / "a.npz", names=np.zeros(80_000_000, "U1"))
    assert path.stat().st_size < 400_000
    tracemalloc.start()
    with pytest.raises(ModelError, match="fit in memory"):
        read_result(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_member_that_is_longer_than_it_says(tmp_path):
    file = io.BytesIO()
    np.save(file, np.zeros(4))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", file.getvalue() + bytes(8))
    with pytest.raises(ValueError, match="do not fit its shape"):
        read_arrays(tmp_path / "a.npz", {"x": ("f", 1)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"names": np.array(["\ud800"])}, "names is"),
        ({"posteriors": np.array([[2.0, -1.0]])}, "not probabilities"),
        ({"posteriors": np.array([["a", "b"]])}, "not the expected type"),
        ({"labels": np.array([5])}, "labels from 5 to 5"),
        ({"facts": np.array("[" * 100_000)}, "nests too deeply"),
        ({"facts": np.array('{"members": [], "data": 1}')}, "lacks"),
    ],
)
def test_a_result_is_refused_in_a_sentence(changes, said, tmp_path):
    path = write(tmp_path / "a.npz", **changes)
    with pytest.raises(ModelError, match=said) as error:
        read_result(path)
    assert str(path) in str(error.value)
    assert str(error.value).isprintable()
