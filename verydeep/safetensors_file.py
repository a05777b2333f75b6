"""A safetensors file -> arrays: a header of JSON, then the numbers, read straight into their arrays.

The safetensors package maps the file into memory and copies it, which takes twice the model's memory. This reads
each tensor once, into where it stays. Writing is the package's.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError, printable

MOST_HEADER_BYTES = 100_000_000  # the format's own bound
MOST_AXES = 32  # of a tensor that NumPy makes
MOST_NUMBERS = 1 << 40  # NumPy multiplies the axes that are not 0, of an empty tensor too
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # NumPy has no bfloat16: its bits, until `widened`
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def type_name(code: str) -> str:
    """What everybody else calls a type of numbers: F32 is float32."""
    return "bfloat16" if code == "BF16" else DTYPES[code].name


@dataclass(frozen=True)
class Entry:
    """A tensor as the header tells it; `start` and `end` count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """What a safetensors file says before its numbers."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    size: int  # of the header, its length included


def read_header(path: Path) -> Header:
    """Read names, shapes and types alone.

    Raises:
        ModelError: this is no whole safetensors file; the message says why.

    """
    with path.open("rb") as file:
        return _read_header(file, path)


def read_tensors(path: Path, only: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read tensors; bfloat16 becomes float32, which has all its numbers.

    Args:
        path: of the file.
        only: names of the tensors that are read, as far as they are there; None for all.

    Raises:
        ModelError: this is no whole safetensors file; the message says why.

    """
    with path.open("rb", buffering=0) as file:
        header = _read_header(file, path)
        return {
            name: _read_tensor(file, header, entry, path)
            for name, entry in header.entries.items()
            if only is None or name in only
        }


def _read_header(file: BinaryIO, path: Path) -> Header:
    file_size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MOST_HEADER_BYTES, file_size - 8):
        raise _damaged(path, f"its header would be {length} bytes long, the file has {file_size}")
    try:
        fields = json.loads(file.read(length))
        metadata = {str(key): str(value) for key, value in fields.pop("__metadata__", {}).items()}
        entries = {str(name): _entry(field) for name, field in fields.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise _damaged(path, f"its header cannot be read ({reason})") from None
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].start):
        if entry.start != end or entry.end - entry.start != _num_bytes(entry):
            raise _damaged(path, f"{name} is not where its shape requires")
        end = entry.end
    if end != file_size - 8 - length:
        raise _damaged(path, f"it has {file_size - 8 - length} bytes of numbers; its header announces {end}")
    return Header(entries, metadata, 8 + length)


def _entry(field: dict[str, Any]) -> Entry:
    if field["dtype"] not in DTYPES:
        raise ValueError(f"numbers of type {field['dtype']!r}")
    shape, (start, end) = field["shape"], field["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (*shape, start, end)):
        raise ValueError(f"shape {shape} at {start}:{end}")
    if len(shape) > MOST_AXES or prod(max(1, number) for number in shape) >= MOST_NUMBERS:
        raise ValueError(f"a shape of {len(shape)} axes, {printable(shape, 40)}")
    return Entry(field["dtype"], tuple(shape), start, end)


def _num_bytes(entry: Entry) -> int:
    return prod(entry.shape) * DTYPES[entry.dtype].itemsize


def _read_tensor(file: BinaryIO, header: Header, entry: Entry, path: Path) -> NDArray[Any]:
    tensor = np.empty(entry.shape, DTYPES[entry.dtype])
    target = tensor.reshape(-1).view(np.uint8).data
    file.seek(header.size + entry.start)
    done = 0
    while done < len(target):
        count = file.readinto(target[done:])  # type: ignore[attr-defined]
        if not count:
            raise _damaged(path, "it ended early")
        done += count
    return widened(tensor) if entry.dtype == "BF16" else tensor


def widened(bits: NDArray[Any]) -> NDArray[np.float32]:
    """The numbers of bfloat16's bits, whole numbers of 16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"{path} is not a complete safetensors file: {printable(why)}")
