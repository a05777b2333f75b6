"""A file -> its tensors, named and lying as they do in it. What kind of file it is, its first bytes decide."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from verydeep.errors import ModelError, UsageError, few, printable
from verydeep.safetensors_file import read_header, read_tensors, type_name
from verydeep.weights.choice import choose
from verydeep.weights.raw import NotWeightsError, Raw

HDF5, ZIP, MATLAB = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"MATLAB"
START_BYTES = 512
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
        start = file.read(START_BYTES)
    if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return "safetensors"
    if start.startswith(HDF5):
        return "hdf5"
    if start.startswith(MATLAB):
        return "matlab"
    if start.startswith(ZIP):
        return _kind_of_zip(path)
    if start.startswith(PICKLE):
        return "torch"
    what = _what(start, path)
    if what is None and path.suffix in (".caffemodel", ".onnx"):
        return "caffe" if path.suffix == ".caffemodel" else "onnx"
    what = what or f"not a file of weights of a kind that can be read ({', '.join(KINDS.values())})"
    raise ModelError(f"{path} is not a model: it is {what}")


def _kind_of_zip(path: Path) -> str:
    """Tell what a zip holds, by the names in it."""
    if path.suffix == ".keras":
        return "keras"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path} cannot be read; it is damaged ({printable(error)})") from None
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    if "model.weights.h5" in names:
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        raise ModelError(
            f"{path} is an archive of NumPy's (.npz), whose arrays have names that nobody agrees on; save them by "
            "torchvision's names as safetensors: safetensors.numpy.save_file(arrays, 'weights.safetensors')"
        )
    held = printable(few(names, 3, quoted=False) or "nothing", 100)
    raise ModelError(
        f"{path} is a zip archive of {held}, not a model; unpack it and give the file of weights in it"
    )


OTHERS = {
    b"\x1f\x8b": "compressed by gzip; unpack it first: gunzip FILE",
    b"BZh": "compressed by bzip2; unpack it first: bunzip2 FILE",
    b"\xfd7zXZ\0": "compressed by xz; unpack it first: unxz FILE",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first: unzstd FILE",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file; fetch the file: git lfs pull",
    b"\x93NUMPY": "one array of NumPy's (.npy), not the tensors of a network",
    b"GGUF": "a GGUF file, which no VGG network is published as; give the file that it was made from",
}
"""What people take for weights, by first bytes."""


def _what(start: bytes, path: Path) -> str | None:
    """What a file is that is none of `KINDS`; None where it is not known."""
    for first, what in OTHERS.items():
        if start.startswith(first):
            return what
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html", b"<?xml", b"<head")):
        return "a web page (HTML or XML): the download failed, or wants a login; fetch the file once more"
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it and give the file of weights in it"
    if start[4:8] == b"TFL3":
        return "a TensorFlow Lite model, which is not read; give the Keras file that it was made from"
    if re.search(r"\.ckpt|\.data-\d+-of-\d+$|\.index$|\.meta$|\.pb$", path.name):
        return (
            "a checkpoint or graph of TensorFlow's, which is not read; load it in Keras and save the weights: "
            "network.save_weights('vgg.weights.h5')"
        )
    return None if start else "empty"


def read(path: Path, network: str | None = None) -> Raw:
    """Read a file.

    Args:
        path: the file.
        network: which of the networks in a checkpoint to take, by the name that it has there.

    Raises:
        ModelError: it is damaged, or holds what is not weights; the message names it.
        UsageError: files of this kind hold one network, which has no name.
        VerydeepError: a library that reads it is not installed; the message says which extra has it.

    """
    kind = kind_of(path)
    if network is not None and kind not in ("safetensors", "torch"):
        raise UsageError(f"{path} holds one network; leave out the name {network}")
    if kind == "safetensors":
        return _read_safetensors(path, network)
    if kind == "caffe":
        from verydeep.weights.files.caffe import read_caffe

        return read_caffe(path)
    if kind == "onnx":
        from verydeep.weights.files.onnx import read_onnx

        return read_onnx(path)
    from verydeep.weights.files.apart import read_apart

    return read_apart(path, kind, network)


def _read_safetensors(path: Path, network: str | None) -> Raw:
    header = read_header(path)
    try:
        choice = choose({name: entry.shape for name, entry in header.entries.items()}, network)
    except NotWeightsError as error:
        raise ModelError(f"{path} {printable(error)}") from None
    tensors = read_tensors(path)
    return Raw(
        "safetensors",
        {name: tensors[stored] for stored, name in choice.names.items()},
        {name: type_name(header.entries[stored].dtype) for stored, name in choice.names.items()},
        {"metadata": header.metadata, **choice.facts},
    )
