"""Finished chunks on disk, so that long work resumes after an interruption."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from verydeep.chunks.plan import Chunk
from verydeep.errors import UsageError
from verydeep.files import json_text, read_json, write_json
from verydeep.images.image_set import Unreadable

Rows = TypeVar("Rows")
Worked = list[tuple[list[int], Rows]]
"""Numbers of images that could be read, and their rows, group by group."""


def beside(result: Path) -> Path:
    """The folder of finished chunks of a result that will be one file."""
    return result.with_name(result.name + ".parts")


class Parts(ABC, Generic[Rows]):
    """A folder with a file for each chunk that is finished. Each appears whole.

    Args:
        folder: where they are.
        key: what decides the result beside the content of the images: weights, names, how they are shown.

    Raises:
        UsageError: the folder has finished chunks of another.

    """

    noun = "test"  # what it is that is finished here
    suffix = ".npy"
    key_name = "test.json"
    takes_unreadable = False
    """Whether an image that cannot be read has its row too, and so is dealt with."""

    def __init__(self, folder: Path, key: dict[str, Any]) -> None:
        self.folder = folder
        self._key_file = self.folder / self.key_name
        # A folder without a finished chunk has nothing to resume, and is anybody's.
        if not self.begun():
            write_json(self._key_file, key)
            return
        begun, wanted = self._key(), json.loads(json_text(key))
        # What an earlier version did not note is taken to be the same.
        if not begun or not begun.items() <= wanted.items():
            raise UsageError(self.refusal([name for name in key if begun.get(name) != wanted[name]]))

    def _key(self) -> dict[str, Any]:
        """What decides the result that was begun; nothing where the file is damaged or gone."""
        try:
            key = read_json(self._key_file)
        except (FileNotFoundError, ValueError):
            return {}
        return key if isinstance(key, dict) else {}

    def begun(self) -> bool:
        """Whether there is a finished chunk."""
        return any(self._chunks())

    def _chunks(self) -> Iterator[Path]:
        return self.folder.glob(f"{'[0-9]' * 6}-{'[0-9a-f]' * 16}{self.suffix}")

    def refusal(self, others: Sequence[str]) -> str:
        """Why these parts cannot be taken; `others` are what differs in their key."""
        return (
            f"{self.folder} holds finished parts of another, interrupted {self.noun}; repeat its command to "
            "resume it, choose another `out`, or remove the folder"
        )

    def file(self, chunk: Chunk) -> Path:
        """Where a chunk is kept: under another name once its images are others, or have been changed."""
        return self.folder / f"{chunk.number:06d}-{chunk.content}{self.suffix}"

    @abstractmethod
    def read(self, chunk: Chunk) -> Rows | None:
        """What is kept of a chunk; None where it is not there, damaged, or lacks an image that cannot be read."""

    def unreadable(self, chunk: Chunk) -> Sequence[Unreadable]:
        """Images of a kept chunk that could not be read; none where such a chunk is not kept."""
        return ()

    @abstractmethod
    def write(self, chunk: Chunk, worked: Worked[Rows], lost: Sequence[Unreadable]) -> None:
        """Keep a chunk: the rows of the images that could be read, and those that could not."""

    def remove(self) -> None:
        """Forget them: the result is written. What is not of this work stays, and its folder with it."""
        for path in (self._key_file, *self._chunks(), *self.folder.glob(".*.part")):
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):
            self.folder.rmdir()
