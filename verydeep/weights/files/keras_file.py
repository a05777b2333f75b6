"""Keras's files: HDF5 of Keras 2 and 3, and `.keras`, a zip with such a file in it. Runs in the sandbox.

Tensors are called `place/part`, layers in the file's order. A place is where a layer lies. In Keras 2's form it is
the name of the outermost layer and the layer's own name. In Keras 3's it is the classes of the models that the
layer is in, and its own, all numbered. `facts` have the form, the model's configuration as text, where the file
has it, and the names of all layers, also of those without weights.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from verydeep.weights.checkpoint import NotWeightsError, Tensor

MOST_DEPTH, MOST_LAYERS = 10, 1000
WEIGHTS_MEMBER, CONFIG_MEMBER = "model.weights.h5", "config.json"
MOST_CONFIG_BYTES = 1 << 23
PIECE_BYTES = 1 << 20
ORDER = ("conv2d", "batch_normalization", "dense")
GROUPS = ("layers", "_layer_checkpoint_dependencies", "vars")  # between the classes' names
KERAS_2, KERAS_3 = "Keras 2", "Keras 3"


def read(path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Give the tensors of every layer."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if WEIGHTS_MEMBER not in archive.namelist():
                raise NotWeightsError(f"is a zip file without {WEIGHTS_MEMBER}, so it is no Keras file")
            if CONFIG_MEMBER in archive.namelist():
                with archive.open(CONFIG_MEMBER) as config:
                    _configure(config.read(MOST_CONFIG_BYTES + 1), facts)
            member = archive.getinfo(WEIGHTS_MEMBER)
            with _member(path, archive, member) as content, h5py.File(content, "r") as file:
                yield from _layers(file, facts)
    else:
        with h5py.File(path, "r") as file:
            if "model_config" in file.attrs:
                _configure(file.attrs["model_config"], facts)
            yield from _layers(file, facts)


def _configure(content: bytes | str, facts: dict[str, Any]) -> None:
    if len(content) > MOST_CONFIG_BYTES:
        raise NotWeightsError("has a configuration that is too long to be a network's")
    facts["config"] = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)


def _layers(file: h5py.File, facts: dict[str, Any]) -> Iterator[Tensor]:
    group = file.get("model_weights", file)
    if "layer_names" in group.attrs:
        facts["form"] = KERAS_2
        yield from _keras_2(group, facts)
    else:
        facts["form"] = KERAS_3
        yield from _keras_3(file, facts)


def _keras_2(group: h5py.Group, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Every layer and every tensor stand in the order that an attribute names."""
    layers = facts["layers"] = _names(group, "layer_names")[:MOST_LAYERS]
    seen = set()
    for layer in layers:
        for weight in _names(group[layer], "weight_names"):
            name = f"{layer}/{_own_name(layer, weight)}"
            if name in seen:
                raise NotWeightsError(f"has {name} twice")
            seen.add(name)
            yield from _tensor(group, group[layer][weight], name)


def _own_name(layer: str, weight: str) -> str:
    """Layer and part of a weight within a group: `vgg16/block1_conv1/kernel:0`, or `block1_conv1_W_1:0` of old."""
    *_, own, part = ["", layer, *weight.partition(":")[0].split("/")]
    old = re.fullmatch(r"(.+)_([Wb])(?:_\d+)?", part)
    return f"{old[1]}/{old[2]}" if old and "/" not in weight else f"{own}/{part}"


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Names that a group lists; a long list is split among numbered attributes."""
    if attribute in group.attrs:
        values = list(group.attrs[attribute])
    else:
        parts = (f"{attribute}{number}" for number in range(MOST_LAYERS))
        values = [value for part in parts if part in group.attrs for value in group.attrs[part]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _keras_3(file: h5py.File, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Layers are numbered within their class: `layers/conv2d_3/vars/0`, `layers/model/layers/conv2d/vars/0`."""
    by_layer: dict[tuple[Any, ...], list[tuple[int, h5py.Dataset]]] = {}
    places = set()
    for name, item in _items(file, "", MOST_DEPTH):
        *layer, part = [word for word in name.split("/") if word not in GROUPS] or [""]
        if not isinstance(item, h5py.Dataset):
            places.add("/".join([*layer, part]))
        elif "seed_generator" not in layer:
            if not layer or not part.isdigit() or not name.startswith(GROUPS[:2]):
                raise NotWeightsError(f"has {name}, which is no weight of a layer, so it is no VGG network")
            by_layer.setdefault(tuple(layer), []).append((int(part), item))
    facts["layers"] = sorted(places - {""})
    for place, parts in sorted(by_layer.items(), key=lambda entry: [_rank(word) for word in entry[0]]):
        for number, dataset in sorted(parts, key=lambda part: part[0]):
            yield from _tensor(file, dataset, f"{'/'.join(place)}/{number}")


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
        item = group[name]
        if path or "optimizer" not in name:
            yield path + name, item
            if not isinstance(item, h5py.Dataset):
                yield from _items(item, f"{path}{name}/", depth - 1)


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
