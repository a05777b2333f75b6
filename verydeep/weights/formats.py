"""The formats that weights come in, and how a file's format is told.

A new format is a module that reads it and a row of `FORMATS`. It has two functions, or two modules have
one each:

`read(path, facts)` gives the tensors of a file; `verydeep.weights.checkpoint.Reader` says how.
`read_layers(checkpoint)` gives a network's `Layers`, and None where tensors have another library's names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from verydeep.errors import ModelError, few, printable
from verydeep.run_folder import WEIGHTS

START_BYTES = 512
MODEL_FILES = (WEIGHTS, "pytorch_model.bin")
"""What a model's weights are called in a folder of the Hub."""
_FILES, _LAYOUTS = "verydeep.weights.files", "verydeep.weights.layouts"
_STATE_DICTS = tuple(f"{_LAYOUTS}.{library}" for library in ("verydeep", "torchvision", "timm"))
_ZIP, _KERAS_MEMBER = b"PK\x03\x04", "model.weights.h5"
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        label: what people call it, in what `inspect` shows and in messages.
        endings: of the names of such files.
        reader: the module that has `read`.
        layouts: the modules that have `read_layers`, in the order in which they are tried. `inspect` shows the
            last part of a module's name.
        fits: whether a file is of this format, by its first bytes and its path; None where its ending alone tells.
        requires: the module that reads it and our extra that brings it.
        sandboxed: whether it is read in a process of its own, with bounded memory and time.
        holds_several: whether a file may hold several networks, by name.

    """

    label: str
    endings: tuple[str, ...]
    reader: str
    layouts: tuple[str, ...]
    fits: Callable[[bytes, Path], bool] | None = None
    requires: tuple[str, str] | None = None
    sandboxed: bool = False
    holds_several: bool = False


def _members(start: bytes, path: Path) -> list[str]:
    """Names of the files in a zip archive, with those that a `.keras` file has to hold; none in another file."""
    import zipfile  # not above: a model of ours is sooner opened without it

    if not start.startswith(_ZIP):
        return []
    if path.suffix == ".keras":
        return [_KERAS_MEMBER]
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{path} cannot be read; it is damaged ({printable(error)})") from None


def _is_safetensors(start: bytes, path: Path) -> bool:
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32


def _is_torch(start: bytes, path: Path) -> bool:
    return start.startswith(_PICKLES) or any(name.endswith("/data.pkl") for name in _members(start, path))


FORMATS: dict[str, Format] = {
    "safetensors": Format(
        "safetensors",
        (".safetensors",),
        f"{_FILES}.safetensors",
        _STATE_DICTS,
        _is_safetensors,
        holds_several=True,
    ),
    "torch": Format(
        "PyTorch",
        (".pth", ".pt", ".bin"),
        f"{_FILES}.torch_file",
        _STATE_DICTS,
        _is_torch,
        sandboxed=True,
        holds_several=True,
    ),
    "hdf5": Format(
        "Keras HDF5",
        (".h5",),
        f"{_FILES}.keras_file",
        (f"{_LAYOUTS}.keras",),
        lambda start, path: start.startswith(b"\x89HDF\r\n\x1a\n"),
        ("h5py", "weights"),
        sandboxed=True,
    ),
    "keras": Format(
        "Keras",
        (".keras",),
        f"{_FILES}.keras_file",
        (f"{_LAYOUTS}.keras",),
        lambda start, path: _KERAS_MEMBER in _members(start, path),
        ("h5py", "weights"),
        sandboxed=True,
    ),
    "matlab": Format(
        "MATLAB",
        (".mat",),
        f"{_FILES}.matlab_file",
        (f"{_LAYOUTS}.matconvnet",),
        lambda start, path: start.startswith(b"MATLAB"),
        ("scipy", "weights"),
        sandboxed=True,
    ),
    "caffe": Format("Caffe", (".caffemodel",), f"{_FILES}.caffe", (f"{_LAYOUTS}.caffe",)),
    "onnx": Format("ONNX", (".onnx",), f"{_FILES}.onnx", (f"{_LAYOUTS}.onnx",)),
}
"""Every format that can be read, in the order in which they are tried. `inspect` and messages have the labels."""

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


def format_of(path: Path) -> str:
    """Tell a file's format, a key of `FORMATS`, from its content; from its ending where the content does not tell.

    Raises:
        ModelError: it is of none of them, or cannot be read.

    """
    if not path.is_file():
        raise ModelError(f"{path} is not a file")
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    for name, one in FORMATS.items():
        if one.fits and one.fits(start, path):
            return name
    what = _other(start, path)
    by_ending = [name for name, one in FORMATS.items() if one.fits is None and path.suffix in one.endings]
    if what is None and by_ending:
        return by_ending[0]
    labels = ", ".join(one.label for one in FORMATS.values())
    raise ModelError(
        f"{path} is not a model: it is {what or f'not a file of weights of a kind that can be read ({labels})'}"
    )


def _other(start: bytes, path: Path) -> str | None:
    """What a file is that is of no format here; None where it is not known."""
    if start.startswith(_ZIP):
        return _other_archive(_members(start, path))
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


def _other_archive(names: list[str]) -> str:
    if names and all(name.endswith(".npy") for name in names):
        return (
            "an archive of NumPy's (.npz), whose array names have no standard; save them by "
            "torchvision's names as safetensors: safetensors.numpy.save_file(arrays, 'weights.safetensors')"
        )
    held = printable(few(names, 3, quoted=False) or "nothing", 100)
    return f"a zip archive of {held}; unpack it and give the file of weights in it"
