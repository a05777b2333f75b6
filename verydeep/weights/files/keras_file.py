"""Keras's files: HDF5 of Keras 2 and 3, and `.keras`, a zip with such a file in it. Runs in the sandbox.

Tensors are called `place/part`, layers in the file's order. A place is where a layer lies. In Keras 2's form it is
the name of the outermost layer and the layer's own name. In Keras 3's it is the classes of the models that the
layer is in, and its own, all numbered. `facts` have the form, the model's configuration as text, where the file
has it, and the names of all layers, also of those without weights.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import h5py

from verydeep.errors import printable
from verydeep.weights.checkpoint import NotWeightsError, Tensor

MOST_DEPTH, MOST_LAYERS = 10, 1000
WEIGHTS_MEMBER, CONFIG_MEMBER = "model.weights.h5", "config.json"
MOST_CONFIG_BYTES = 1 << 23
MOST_NAMES_BYTES = 1 << 20
PIECE_BYTES = 1 << 20
SPARE_BYTES, TIMES = 1 << 24, 20  # what tensors may take, beside the file's size: compressed zeros take more
ORDER = ("conv2d", "batch_normalization", "dense")
GROUPS = ("layers", "_layer_checkpoint_dependencies", "vars")  # between the classes' names
KERAS_2, KERAS_3 = "Keras 2", "Keras 3"


def read(path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Give the tensors of every layer."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if WEIGHTS_MEMBER not in archive.namelist():
                raise NotWeightsError(f"is a zip file without {WEIGHTS_MEMBER}, so it is not a Keras file")
            if CONFIG_MEMBER in archive.namelist():
                with archive.open(CONFIG_MEMBER) as config:
                    _configure(config.read(MOST_CONFIG_BYTES + 1), facts)
            member = archive.getinfo(WEIGHTS_MEMBER)
            _check_size(member.file_size, path.stat().st_size)
            with _member(path, archive, member) as content, h5py.File(content, "r") as file:
                yield from _within(_layers(file, facts), path.stat().st_size)
    else:
        with h5py.File(path, "r") as file:
            if "model_config" in file.attrs:
                _check_attribute(file, "model_config", MOST_CONFIG_BYTES)
                _configure(file.attrs["model_config"], facts)
            yield from _within(_layers(file, facts), path.stat().st_size)


def _configure(content: bytes | str, facts: dict[str, Any]) -> None:
    if len(content) > MOST_CONFIG_BYTES:
        raise NotWeightsError("has a configuration that is too long to be a network's")
    facts["config"] = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)


def _check_size(num_bytes: int, file_size: int) -> None:
    """Make sure that a file does not say that it holds far more than its size, as compressed zeros do."""
    if num_bytes > SPARE_BYTES + TIMES * file_size:
        raise NotWeightsError(f"cannot be read: {num_bytes:,} bytes in {file_size:,} would not fit in memory")


def _check_attribute(group: h5py.Group, name: str, most_bytes: int) -> None:
    attribute = group.attrs.get_id(name)
    if prod(attribute.shape) * attribute.dtype.itemsize > most_bytes:
        raise NotWeightsError(f"has {name} that is too long to be a network's")


def _within(stored: Iterator[tuple[str, h5py.Dataset]], file_size: int) -> Iterator[Tensor]:
    """Read tensors, which together may not be far more than the file."""
    total = 0
    for name, dataset in stored:
        total += dataset.nbytes
        _check_size(total, file_size)
        yield name, dataset[()], dataset.dtype.name


def _find(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """What lies in a group; links to elsewhere, in this file or another, are not followed."""
    item = group
    for name in filter(None, path.split("/")):
        if not isinstance(item, h5py.Group) or not _holds(item, name):
            raise NotWeightsError(f"has no {printable(path)}; it is damaged")
        if item.id.links.get_info(os.fsencode(name)).type != h5py.h5l.TYPE_HARD:
            raise NotWeightsError(f"has {printable(path)} as a link to elsewhere, which is not followed")
        item = item[name]
    return item


def _holds(group: h5py.Group, name: str) -> bool:
    """Whether there is a link of that name; h5py's own words for it follow the link."""
    return bool(group.id.links.exists(os.fsencode(name)))


def _layers(file: h5py.File, facts: dict[str, Any]) -> Iterator[tuple[str, h5py.Dataset]]:
    group = _find(file, "model_weights") if _holds(file, "model_weights") else file
    if "layer_names" in group.attrs:
        facts["form"] = KERAS_2
        yield from _keras_2(group, facts)
    else:
        facts["form"] = KERAS_3
        yield from _keras_3(file, facts)


def _keras_2(group: h5py.Group, facts: dict[str, Any]) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every layer and every tensor stand in the order that an attribute names."""
    layers = facts["layers"] = _names(group, "layer_names")[:MOST_LAYERS]
    seen = set()
    for layer in layers:
        home = _find(group, layer)
        for weight in _names(home, "weight_names"):
            name = f"{layer}/{_own_name(layer, weight)}"
            if name in seen:
                raise NotWeightsError(f"has {name} twice")
            seen.add(name)
            yield name, _numbers(_find(home, weight), name)


def _own_name(layer: str, weight: str) -> str:
    """Layer and part of a weight within a group: `vgg16/block1_conv1/kernel:0`, or `block1_conv1_W_1:0` of old."""
    *_, own, part = ["", layer, *weight.partition(":")[0].split("/")]
    old = re.fullmatch(r"(.+)_([Wb])(?:_\d+)?", part)
    return f"{old[1]}/{old[2]}" if old and "/" not in weight else f"{own}/{part}"


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Names that a group lists; a long list is split among numbered attributes."""
    numbered = [f"{attribute}{number}" for number in range(MOST_LAYERS)]
    values: list[Any] = []
    for part in [attribute] if attribute in group.attrs else numbered:
        if part in group.attrs:
            _check_attribute(group, part, MOST_NAMES_BYTES)
            values += list(group.attrs[part])
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _keras_3(file: h5py.File, facts: dict[str, Any]) -> Iterator[tuple[str, h5py.Dataset]]:
    """Layers are numbered within their class: `layers/conv2d_3/vars/0`, `layers/model/layers/conv2d/vars/0`."""
    by_layer: dict[tuple[Any, ...], list[tuple[int, h5py.Dataset]]] = {}
    places = set()
    for name, item in _items(file, "", MOST_DEPTH):
        *layer, part = [word for word in name.split("/") if word not in GROUPS] or [""]
        if not isinstance(item, h5py.Dataset):
            places.add("/".join([*layer, part]))
        elif "seed_generator" not in layer:
            if not layer or not part.isdigit() or not name.startswith(GROUPS[:2]):
                raise NotWeightsError(f"has {name}, which is no weight of a layer, so it is not a VGG network")
            by_layer.setdefault(tuple(layer), []).append((int(part), item))
    facts["layers"] = sorted(places - {""})
    for place, parts in sorted(by_layer.items(), key=lambda entry: [_rank(word) for word in entry[0]]):
        for number, dataset in sorted(parts, key=lambda part: part[0]):
            name = f"{'/'.join(place)}/{number}"
            yield name, _numbers(dataset, name)


def _rank(word: str) -> tuple[int, str, int]:
    """Where a layer comes among others: convolutions before FC layers, each by its number."""
    kind, _, number = word.rpartition("_")
    if not number.isdigit():
        kind, number = word, "0"
    return (ORDER.index(kind) if kind in ORDER else len(ORDER), kind, int(number))


def _items(group: h5py.Group, path: str, depth: int) -> Iterator[tuple[str, h5py.Dataset | h5py.Group]]:
    """Every dataset and group below a group, but the optimizer's."""
    if depth == 0 or len(group) > MOST_LAYERS:
        raise NotWeightsError("has too many groups within each other to be a network's weights")
    for name in group:
        item = _find(group, name)
        if path or "optimizer" not in name:
            yield path + name, item
            if not isinstance(item, h5py.Dataset):
                yield from _items(item, f"{path}{name}/", depth - 1)


def _numbers(dataset: Any, name: str) -> h5py.Dataset:
    """An array of numbers that lie in this file."""
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.dtype.kind not in "fiu":
        raise NotWeightsError(f"has {name}, which is not an array of numbers")
    if dataset.external or dataset.is_virtual:
        raise NotWeightsError(f"has {name} in another file, which is not read; save the weights as one file")
    return dataset


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
