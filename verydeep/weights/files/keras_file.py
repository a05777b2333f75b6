"""Keras's files: HDF5 of Keras 2 and 3, and `.keras`, a zip with such a file in it. Runs in the process apart.

Tensors are called `layer/number`, layers in the order of the network.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from verydeep.weights.files.raw import NotWeightsError, Tensor

MOST_DEPTH, MOST_LAYERS = 8, 1000
WEIGHTS_MEMBER = "model.weights.h5"
PIECE_BYTES = 1 << 20
ORDER = ("conv2d", "batch_normalization", "dense")


def read(path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Give the tensors of every layer."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if WEIGHTS_MEMBER not in archive.namelist():
                raise NotWeightsError(f"is a zip file without {WEIGHTS_MEMBER}, so it is no Keras file")
            member = archive.getinfo(WEIGHTS_MEMBER)
            with _member(path, archive, member) as content, h5py.File(content, "r") as file:
                yield from _layers(file, facts)
    else:
        with h5py.File(path, "r") as file:
            yield from _layers(file, facts)


def _layers(file: h5py.File, facts: dict[str, Any]) -> Iterator[Tensor]:
    group = file.get("model_weights", file)
    if "layer_names" in group.attrs:
        facts["form"] = "Keras 2"
        yield from _keras_2(group)
    else:
        facts["form"] = "Keras 3"
        yield from _keras_3(file)


def _keras_2(group: h5py.Group) -> Iterator[Tensor]:
    """Every layer and every tensor stand in the order that an attribute names."""
    layers = _names(group, "layer_names")
    for layer in layers[:MOST_LAYERS]:
        for number, name in enumerate(_names(group[layer], "weight_names")):
            yield from _tensor(group, group[layer][name], f"{layer}/{number}")


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Names that a group lists; a long list is split among numbered attributes."""
    if attribute in group.attrs:
        values = list(group.attrs[attribute])
    else:
        parts = (f"{attribute}{number}" for number in range(MOST_LAYERS))
        values = [value for part in parts if part in group.attrs for value in group.attrs[part]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _keras_3(file: h5py.File) -> Iterator[Tensor]:
    """Layers are numbered within their class: `layers/conv2d_3/vars/0`."""
    found = dict(_variables(file, "", MOST_DEPTH))
    by_layer: dict[tuple[int, int, str], list[tuple[int, h5py.Dataset]]] = {}
    for name, dataset in found.items():
        matched = re.fullmatch(
            r"(?:layers|_layer_checkpoint_dependencies)/([a-z0-9_]+?)(?:_(\d+))?/vars/(\d+)", name
        )
        if matched is None:
            raise NotWeightsError(f"has {name}: its layers are not one after the other, so it is no VGG network")
        kind, layer, part = matched.groups()
        place = ORDER.index(kind) if kind in ORDER else len(ORDER)
        key = (place, int(layer or 0), f"{kind}_{layer}" if layer else kind)
        by_layer.setdefault(key, []).append((int(part), dataset))
    for (_, _, layer), parts in sorted(by_layer.items()):
        for number, dataset in sorted(parts, key=lambda part: part[0]):
            yield from _tensor(file, dataset, f"{layer}/{number}")


def _variables(group: h5py.Group, path: str, depth: int) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset below a group, but the optimizer's."""
    if depth == 0 or len(group) > MOST_LAYERS:
        raise NotWeightsError("has too many groups within each other to be a network's weights")
    for name in group:
        item = group[name]
        if isinstance(item, h5py.Dataset):
            yield path + name, item
        elif path or "optimizer" not in name:
            yield from _variables(item, f"{path}{name}/", depth - 1)


def _tensor(home: h5py.Group, dataset: Any, name: str) -> Iterator[Tensor]:
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu" or dataset.external:
        raise NotWeightsError(f"has {name}, which is not an array of numbers")
    if dataset.file != home.file:
        raise NotWeightsError(f"has {name} in another file; give that file")
    yield name, dataset[()], dataset.dtype.name


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> io.RawIOBase | io.BytesIO:
    """A file within a zip, to be read in any order."""
    if member.compress_type != zipfile.ZIP_STORED:
        return io.BytesIO(archive.read(member))
    with archive.open(member) as stored:  # read through once, which compares the zip's checksum
        while stored.read(PIECE_BYTES):
            pass
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        lengths = file.read(4)
    names = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
    return _Part(path, member.header_offset + 30 + names, member.file_size)


class _Part(io.RawIOBase):
    """The bytes of a file from `start` on."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb")
        self._start, self._size, self._at = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        count = self._file.readinto(wanted)
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
