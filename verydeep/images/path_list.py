"""Paths of images, packed: of ten million they take a gigabyte of memory, as objects of Python several."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import ImageError, UsageError, as_text, near_path, refusal
from verydeep.images import decode
from verydeep.images.image_set import Files, ImageSource

END = b"\0"  # of a path; no path has it
BLOCK = 1 << 24  # bytes that are looked at together


@dataclass(frozen=True, eq=False)
class PathList(ImageSource):
    """Images on disk, by their paths. None is looked at before its turn.

    Attributes:
        packed: the paths as the system has them, each with a zero byte at its end.

    """

    packed: bytes = field(repr=False)

    @staticmethod
    def of(paths: Iterable[Path]) -> PathList:
        """Pack paths."""
        return PathList(b"".join(os.fsencode(path) + END for path in paths))

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """Where each path ends."""
        view = np.frombuffer(self.packed, np.uint8)
        found = [first + np.flatnonzero(view[first : first + BLOCK] == 0) for first in range(0, len(view), BLOCK)]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def path(self, number: int) -> Path:
        """The path of image `number`."""
        return Path(os.fsdecode(self._encoded_path(number)))

    def _encoded_path(self, number: int) -> bytes:
        start = int(self._ends[number - 1]) + 1 if number else 0
        return self.packed[start : int(self._ends[number])]

    def name(self, number: int) -> str:
        """Its path as text."""
        return as_text(os.fsdecode(self._encoded_path(number)))

    def encoded(self, number: int) -> decode.Encoded:
        """Read the file."""
        return self._file(number).encoded(0)

    def read(self, number: int, smallest_side: int | None = None) -> Image.Image:
        """Decode the file."""
        return self._file(number).read(0, smallest_side)

    def size(self, number: int) -> tuple[int, int]:
        """Read it from the file's header."""
        return self._file(number).size(0)

    def stamp(self, number: int) -> str:
        """Length of the file, and when it was last changed."""
        return self._file(number).stamp(0)

    def select(self, numbers: Sequence[int]) -> Self:
        """Keep these paths."""
        return type(self)(b"".join(self._encoded_path(number) + END for number in numbers))

    def join(self, other: Self) -> Self:
        """These paths, and then the others."""
        return type(self)(self.packed + other.packed)

    def fingerprint(self) -> str:
        """A digest of the paths, as `ImageSet.fingerprint` makes it of names without labels."""
        digest = sha256()
        for first in range(0, len(self.packed), BLOCK):
            block = self.packed[first : first + BLOCK]
            if first + BLOCK >= len(self.packed):
                block = block[:-1]  # nothing follows the last
            begun = b"" if first else b"\n"
            digest.update(begun + block.replace(END, b"\t-1\n"))
        digest.update(b"\t-1" * bool(self.packed))
        return digest.hexdigest()[:16]

    def _file(self, number: int) -> Files:
        return Files((self.path(number),))


def read_path_list(file: Path) -> PathList:
    """Read a text file that has the path of an image on each line. Empty lines are passed over.

    Raises:
        ImageError: there is no such file, it cannot be read, or names no images.
        UsageError: it is no text.

    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{file}: no such file, where a list of images is wanted{near_path(file)}") from None
    except OSError as error:
        raise ImageError(refusal(file, "read", error)) from None
    if END in content:
        raise UsageError(f"{file} is not a list of images: it has zero bytes; give a text file with a path a line")
    content = content.removeprefix(BOM_UTF8)  # which Windows' editors write, and no path begins with
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    if not content.endswith(b"\n"):
        content += b"\n"
    packed = content.replace(b"\n", END)
    del content
    while END + END in packed:
        packed = packed.replace(END + END, END)
    packed = packed.removeprefix(END)
    if not packed:
        raise ImageError(f"{file}: no images in this list; write a path on each line")
    return PathList(packed)
