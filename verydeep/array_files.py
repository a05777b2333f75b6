"""NumPy's files, `.npy` and `.npz`. They appear whole, and are checked before memory is taken for them.

Anybody may have written them. A header says how long an array is. It is compared with the type that is wanted and
with the bytes that are there, and nothing is unpickled.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import UsageError, few, printable
from verydeep.files import write_whole

ArrayType = tuple[str | np.dtype[Any], int]
"""Type and number of axes: letters of NumPy's kinds, `iu` for whole numbers, or one type."""

MAGIC = b"\x93NUMPY"
MOST_HEADER_BYTES = 10_000
MOST_AXES = 8
PIECE_BYTES = 1 << 20
SPARE_BYTES, TIMES = 1 << 27, 100  # memory that an archive may take: this, and so many times its size
STRING_BYTES = 64  # that Python takes for a string, beside its letters
_HEADER = re.compile(
    r"\{'descr': (?P<type>'[<>|=][fiuUb][0-9]{1,9}'|\[.*\]), 'fortran_order': (?P<order>True|False), "
    r"'shape': \((?P<shape>[0-9, ]*)\), \} *\n?"
)


class _Header(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: str
    size: int  # of the header itself

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def read_array(path: Path, wanted: ArrayType, *, mapped: bool = False) -> NDArray[Any]:
    """Read an `.npy` file.

    Args:
        path: of the file.
        wanted: type and number of axes.
        mapped: map it into memory, where it takes what is looked at.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file, is cut short, or holds an array of another kind.

    """
    with path.open("rb") as file, _in_a_sentence():
        header = _read_header(file, wanted)
        here = file.seek(0, 2) - header.size
        if here != header.num_bytes:
            raise ValueError(f"it has {here} bytes of numbers; its header announces {header.num_bytes}")
        if mapped:
            array = np.memmap(path, header.dtype, "r", header.size, header.shape, header.order)  # type: ignore[call-overload]
            return np.asarray(array)
        file.seek(header.size)
        return _read_numbers(file, header)


def read_arrays(
    path: Path, wanted: Mapping[str, ArrayType] | Callable[[str], ArrayType]
) -> dict[str, NDArray[Any]]:
    """Read arrays of an `.npz` file.

    Args:
        path: of the file.
        wanted: type and number of axes of each array that is read, by its name; or a function that tells them, for
            all arrays that are there.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file, is damaged, lacks one, or holds arrays of another kind or of more memory
            than such a file may take.

    """
    with path.open("rb") as file, _in_a_sentence(), zipfile.ZipFile(file) as archive:
        if callable(wanted):
            wanted = {name.removesuffix(".npy"): wanted(name.removesuffix(".npy")) for name in archive.namelist()}
        members = {name: _member(archive, f"{name}.npy") for name in wanted}
        headers = {}
        for name, member in members.items():
            with archive.open(member) as content, _of(name):
                headers[name] = header = _read_header(content, wanted[name])
                if member.file_size - header.size != header.num_bytes:
                    raise ValueError(f"{member.file_size} bytes, which do not fit its shape {header.shape}")
        if sum(map(_memory, headers.values())) > SPARE_BYTES + TIMES * path.stat().st_size:
            raise ValueError("it does not fit in memory")
        arrays = {}
        for name, header in headers.items():
            with archive.open(members[name]) as content, _of(name):
                content.read(header.size)
                arrays[name] = _read_numbers(content, header)
        return arrays


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as an `.npy` file, whole.

    Raises:
        DiskError: it cannot be written.

    """

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    write_whole(path, write)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> None:
    """Write arrays by their names as an `.npz` file, whole.

    Raises:
        DiskError: it cannot be written.

    """

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            (np.savez_compressed if compressed else np.savez)(file, **arrays)  # type: ignore[arg-type]

    write_whole(path, write)


def refuse_to_replace(path: Path, own: Set[str], others: str = "") -> None:
    """Make sure that an `.npz` file which is there was written by the command that is to write it anew.

    Args:
        path: of the file; it need not be there, and may be a pipe, which is not read.
        own: names of arrays that the command always writes.
        others: regular expression of the names of all others that it writes.

    Raises:
        UsageError: it holds other arrays, which would be lost.

    """
    try:
        if not path.is_file():
            return
        with _in_a_sentence(), zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, ValueError):  # it has no arrays to lose
        return
    if names and not (own <= set(names) and all(name in own or re.fullmatch(others, name) for name in names)):
        raise UsageError(
            f"`out` {path} holds arrays that this command does not write ({printable(few(names), 200)}) and that "
            "would be lost; choose another name, or remove it"
        )


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """A file within an archive, of the two kinds that NumPy writes."""
    try:
        member = archive.getinfo(name)
    except KeyError:
        there = few([one.removesuffix(".npy") for one in archive.namelist()]) or "none"
        what = printable(name.removesuffix(".npy"), 60)
        raise ValueError(f"it has no array {what}; its arrays: {printable(there, 200)}") from None
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{printable(name, 60)} is compressed by a method that NumPy does not use")
    return member


def _memory(header: _Header) -> int:
    """Bytes that an array takes, and its words as Python's strings."""
    if header.dtype.kind != "U":
        return header.num_bytes
    return 2 * header.num_bytes + STRING_BYTES * prod(header.shape)


def _read_header(file: IO[bytes], wanted: ArrayType) -> _Header:
    start = file.read(8)
    if len(start) < 8 or not start.startswith(MAGIC) or start[6] not in (1, 2, 3):
        raise ValueError("it is not a NumPy array")
    digits = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(digits), "little")
    if length > MOST_HEADER_BYTES:
        raise ValueError(f"its header would be {length} bytes long")
    match = _HEADER.fullmatch(file.read(length).decode("latin1"))
    if not match:
        raise ValueError("its header is not NumPy's")
    shape = tuple(int(side) for side in match["shape"].split(",") if side.strip())
    dtype, axes = _type_of(match["type"], wanted[0]), wanted[1]
    if len(shape) > MOST_AXES or axes not in (-1, len(shape)):
        raise ValueError(f"its shape is {printable(shape, 60)}, of {len(shape)} axes; {axes} are expected")
    return _Header(dtype, shape, "F" if match["order"] == "True" else "C", 8 + digits + length)


def _type_of(written: str, wanted: str | np.dtype[Any]) -> np.dtype[Any]:
    """The type of numbers that a header names, if it is wanted."""
    if isinstance(wanted, np.dtype):
        if written != repr(np.lib.format.dtype_to_descr(wanted)):
            raise ValueError(f"it holds {printable(written, 60)} and not {wanted}")
        return wanted
    try:
        dtype = np.dtype(written.strip("'"))
    except TypeError:
        dtype = np.dtype("V")
    if dtype.kind not in wanted or not dtype.itemsize:
        raise ValueError(f"it holds {printable(written, 60)}, which is not the expected type")
    return dtype


def _read_numbers(file: IO[bytes], header: _Header) -> NDArray[Any]:
    """Read an array into where it stays; an archive's checksum is compared at its end."""
    array = np.empty(prod(header.shape), header.dtype)
    target, done = array.view(np.uint8).data, 0
    while piece := file.read(PIECE_BYTES):
        if done + len(piece) > len(target):
            raise ValueError("it is longer than its header says")
        target[done : done + len(piece)] = piece
        done += len(piece)
    if done < len(target):
        raise ValueError("it ends early")
    return array.reshape(header.shape, order=header.order)  # type: ignore[call-overload, no-any-return]


@contextmanager
def _of(name: str) -> Iterator[None]:
    """Say which array of an archive something is wrong with."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{printable(name, 60)}: {error}") from None


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """Turn whatever a damaged archive makes its reader raise into one kind of error."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OverflowError) as error:
        raise ValueError(printable(error) or type(error).__name__) from None
