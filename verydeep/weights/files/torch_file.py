"""PyTorch's files, of either form, by a reader of our own: nothing in them is run. Runs in the sandbox.

A file of today is a zip: `NAME/data.pkl` is a pickle that describes tensors, `NAME/data/KEY` their numbers. A file
of before 1.6 is a row of pickles, with the numbers behind them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from verydeep.safetensors_file import widened
from verydeep.weights.checkpoint import NotWeightsError, Tensor
from verydeep.weights.choice import choose
from verydeep.weights.files.pickled import Placeholder, Storage, StoredTensor, Unpickler

MAGIC = 0x1950A86A20F9469CFC6C
MOST_DEPTH, MOST_ENTRIES = 20, 1_000_000
MODULE_PARTS = ("_parameters", "_buffers", "_modules")
"""Where an `nn.Module` that was saved whole has its tensors."""
Numbers = Callable[[Storage], bytes | memoryview]


def read(path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Give the tensors of the VGG network in a checkpoint."""
    zipped = zipfile.is_zipfile(path)
    with zipfile.ZipFile(path) if zipped else path.open("rb") as file:
        content, numbers, order = _in_zip(file) if zipped else _in_row(file, path)  # type: ignore[arg-type]
        yield from _chosen(content, lru_cache(maxsize=1)(numbers), order, facts)


def _chosen(content: Any, numbers: Numbers, order: str, facts: dict[str, Any]) -> Iterator[Tensor]:
    tensors = dict(_tensors(content, "", MOST_DEPTH, [MOST_ENTRIES]))
    if not tensors:
        raise NotWeightsError(_without_tensors(content))
    choice = choose({name: tensor.shape for name, tensor in tensors.items()}, facts.pop("network", None))
    facts.update(choice.facts)
    for stored, name in choice.names.items():
        tensor = tensors[stored]
        yield name, _array(tensor, numbers(tensor.storage), order, stored), tensor.dtype


def _in_zip(archive: zipfile.ZipFile) -> tuple[Any, Numbers, str]:
    names = archive.namelist()
    description = next((name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")), None)
    if description is None:
        raise NotWeightsError("is a zip archive without PyTorch's data.pkl")
    root = description.removesuffix("data.pkl")
    if f"{root}constants.pkl" in names:
        raise NotWeightsError(
            "is a TorchScript archive, a program; save the weights alone: "
            "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
        )
    with archive.open(description) as file:
        content = Unpickler(file).load()
    big = f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big"
    return content, lambda storage: archive.read(f"{root}data/{storage.key}"), ">" if big else "<"


def _in_row(file: IO[bytes], path: Path) -> tuple[Any, Numbers, str]:
    if (first := Unpickler(file).load()) != MAGIC:
        raise NotWeightsError(_other_pickle(path, first))
    _, system = (Unpickler(file).load() for _ in range(2))
    described = Unpickler(file)
    content = described.load()
    keys = Unpickler(file).load()
    size = path.stat().st_size
    dtypes, places = described.dtypes, {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little") * _itemsize(dtypes.get(str(key), "uint8"))
        places[str(key)] = (file.tell(), count)
        if count > size - file.tell():
            raise NotWeightsError("ends within its numbers; it is damaged")
        file.seek(count, 1)
    little = not isinstance(system, dict) or system.get("little_endian", True)

    def numbers(storage: Storage) -> bytes:
        start, count = places[storage.key]
        file.seek(start)
        return file.read(count)

    return content, numbers, "<" if little else ">"


def _tensors(value: Any, name: str, depth: int, left: list[int]) -> Iterator[tuple[str, StoredTensor]]:
    """Every tensor in nested dictionaries, lists and networks, its name joined by points."""
    left[0] -= 1
    if not depth or left[0] < 0:
        raise NotWeightsError("has too many things within each other to be a checkpoint")
    if isinstance(value, StoredTensor):
        yield name, _checked(value, name)
        return
    for key, item in _items(value):
        if isinstance(item, StoredTensor | Mapping | list | tuple):
            yield from _tensors(item, f"{name}.{key}" if name else str(key), depth - 1, left)


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    """What a dictionary, a list or a saved module holds; a module's tensors are called as in its state dict."""
    if isinstance(value, list | tuple):
        return enumerate(value)
    if isinstance(value, Placeholder) and isinstance(value.attributes, Mapping):
        parts = [value.attributes.get(part) for part in MODULE_PARTS]
        return chain.from_iterable(part.items() for part in parts if isinstance(part, Mapping))
    return value.items() if isinstance(value, Mapping) else ()


def _checked(tensor: StoredTensor, name: str) -> StoredTensor:
    """Make sure that a tensor is described by numbers; a pickle may have set anything in it."""
    shape, strides = tensor.shape, tensor.strides
    fits = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)
    if not fits or any(type(number) is not int or number < 0 for number in (tensor.offset, *shape, *strides)):
        raise NotWeightsError(f"has {name} of shape {shape}; it is damaged")
    return tensor


def _array(tensor: StoredTensor, numbers: bytes | memoryview, order: str, name: str) -> NDArray[Any]:
    if tensor.dtype != "bfloat16" and tensor.dtype not in np.sctypeDict:
        raise NotWeightsError(f"has {name} in {tensor.dtype}; save the network in float32")
    dtype = np.dtype("u2" if tensor.dtype == "bfloat16" else tensor.dtype).newbyteorder(order)  # type: ignore[arg-type]
    flat = np.frombuffer(numbers, dtype, len(numbers) // dtype.itemsize)
    pairs = zip(tensor.shape, tensor.strides, strict=True)
    if not prod(tensor.shape):
        return np.empty(tensor.shape, np.float32)
    if tensor.offset + sum((size - 1) * stride for size, stride in pairs) >= flat.size:
        raise NotWeightsError(f"has fewer numbers than {name} of shape {tensor.shape} takes; it is damaged")
    strides = [stride * dtype.itemsize for stride in tensor.strides]
    array = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
    if tensor.dtype == "bfloat16":
        return widened(array)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _itemsize(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize if dtype in np.sctypeDict else 1


def _without_tensors(content: Any) -> str:
    """What a file without a state dict is."""
    for value in (content, *(content.values() if isinstance(content, Mapping) else ())):
        if isinstance(value, Placeholder) and "_rebuild" in value.name:
            return "has sparse or quantised tensors alone; save the network in float32"
    what = content.name if isinstance(content, Placeholder) else type(content).__name__
    return f"holds no tensors by name (but a {what}), so it is not a state dict"


def _other_pickle(path: Path, content: Any) -> str:
    if path.suffix in (".pdparams", ".pdopt") or (
        isinstance(content, dict) and "StructuredToParameterName@@" in content
    ):
        return (
            "is a file of PaddlePaddle, which is not read; save its arrays as safetensors: "
            "safetensors.numpy.save_file({name: value.numpy() for name, value in paddle.load(FILE).items()}, "
            "'weights.safetensors')"
        )
    return "is a pickle that PyTorch did not write, so it is not a state dict"
