"""A file -> its tensors, named and lying as they do in it. What kind of file it is, its first bytes decide."""

from __future__ import annotations

from pathlib import Path

from verydeep.errors import ModelError
from verydeep.safetensors_file import read_header, read_tensors, type_name
from verydeep.weights.files.raw import Raw

HDF5, ZIP, MATLAB = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"MATLAB"
PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
KINDS = {
    "safetensors": "safetensors",
    "torch": "PyTorch",
    "hdf5": "Keras HDF5",
    "keras": "Keras",
    "matlab": "MATLAB",
    "caffe": "Caffe",
    "onnx": "ONNX",
}
"""Every kind of file that can be read, and what people call it."""


def kind_of(path: Path) -> str:
    """Tell a file's kind, one of `KINDS`.

    Raises:
        ModelError: it is none of them, or cannot be read.

    """
    if not path.is_file():
        raise ModelError(f"{path} is not a file")
    with path.open("rb") as file:
        start = file.read(512)
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return "safetensors"
    if start.startswith(HDF5):
        return "hdf5"
    if start.startswith(MATLAB):
        return "matlab"
    if start.startswith(ZIP):
        return "keras" if path.suffix == ".keras" else "torch"
    if start.startswith(PICKLE):
        return "torch"
    if path.suffix in (".caffemodel", ".onnx"):
        return "caffe" if path.suffix == ".caffemodel" else "onnx"
    raise ModelError(
        f"{path} is not a model: it is "
        + (
            "empty"
            if not start
            else f"not a file of weights of a kind that can be read ({', '.join(KINDS.values())})"
        )
    )


def read(path: Path) -> Raw:
    """Read a file.

    Raises:
        ModelError: it is damaged, or holds what is not weights; the message names it.
        VerydeepError: a library that reads it is not installed; the message says which extra has it.

    """
    kind = kind_of(path)
    if kind == "safetensors":
        header = read_header(path)
        dtypes = {name: type_name(entry.dtype) for name, entry in header.entries.items()}
        return Raw(kind, read_tensors(path), dtypes, {"metadata": header.metadata})
    if kind == "caffe":
        from verydeep.weights.files.caffe import read_caffe

        return read_caffe(path)
    if kind == "onnx":
        from verydeep.weights.files.onnx import read_onnx

        return read_onnx(path)
    from verydeep.weights.files.apart import read_apart

    return read_apart(path, kind)
