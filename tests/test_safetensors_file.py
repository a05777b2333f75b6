"""Our reader of safetensors files beside the package's own."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from verydeep.errors import ModelError
from verydeep.safetensors_file import read_header, read_tensors

TYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
tensors = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__" and name.isprintable()),
    st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 4), max_size=4)),
    max_size=6,
)


@given(tensors, st.dictionaries(st.text(max_size=5).filter(str.isprintable), st.text(max_size=5), max_size=2))
def test_it_reads_what_the_package_reads(wanted, metadata):
    random = np.random.default_rng(0)
    content = {name: random.integers(0, 2, shape).astype(dtype) for name, (dtype, shape) in wanted.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        save_file(content, path, metadata=metadata or None)
        ours, theirs = read_tensors(path), load_file(path)
        assert read_header(path).metadata == metadata
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        assert ours[name].shape == tensor.shape
        assert np.array_equal(ours[name], tensor)
        assert ours[name].flags.writeable


def test_bfloat16_is_float32(tmp_path):
    numbers = torch.randn(1000).to(torch.bfloat16)
    save_torch({"a": numbers}, tmp_path / "a.safetensors")
    assert np.array_equal(read_tensors(tmp_path / "a.safetensors")["a"], numbers.float().numpy())


def test_a_file_that_is_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.ones((2, 3), np.float32), "b": np.ones(2, np.float64)}, path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="is not a complete safetensors file"):
            read_tensors(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ModelError, match="is not a complete safetensors file"):
        read_tensors(path)


@pytest.mark.parametrize("shape", [[0, 1 << 39, 1 << 39], [1 << 40, 0], [0] * 33])
def test_an_empty_tensor_of_impossible_axes_is_refused(shape, tmp_path):
    """NumPy multiplies the axes that are not 0, though no number is stored."""
    header = json.dumps({"x": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelError, match="is not a complete safetensors file"):
        read_tensors(tmp_path / "a.safetensors")
