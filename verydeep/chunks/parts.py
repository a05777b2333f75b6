"""Finished chunks on disk, so that long work resumes after an interruption."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from verydeep.chunks.plan import Chunk
from verydeep.errors import UsageError
from verydeep.files import json_text, read_json, write_json

Rows = TypeVar("Rows")


class Parts(ABC, Generic[Rows]):
    """A folder beside the result, with a file for each chunk that is finished. Each appears whole.

    Args:
        result: path of the result that is being made.
        key: what decides the result beside the content of the images: weights, names, how they are shown.

    Raises:
        UsageError: the folder has finished chunks of another.

    """

    noun = "test"  # what it is that is finished here
    suffix = ".npy"

    def __init__(self, result: Path, key: dict[str, Any]) -> None:
        self.folder = result.with_name(result.name + ".parts")
        self._key_file = self.folder / "test.json"
        # A folder without a finished chunk has nothing to resume, and is anybody's.
        if not self._key_file.is_file() or not any(self.folder.glob(f"*{self.suffix}")):
            write_json(self._key_file, key)
        elif self._key() != json.loads(json_text(key)):
            raise UsageError(
                f"{self.folder} holds finished parts of another, interrupted {self.noun}; repeat its command to "
                "resume it, choose another `out` file, or remove the folder"
            )

    def _key(self) -> Any:
        """What decides the result that was begun; None where the file is damaged."""
        try:
            return read_json(self._key_file)
        except ValueError:
            return None

    def file(self, chunk: Chunk) -> Path:
        """Where a chunk is kept: under another name once its images are others, or have been changed."""
        return self.folder / f"{chunk.number:06d}-{chunk.content}{self.suffix}"

    @abstractmethod
    def read(self, chunk: Chunk) -> Rows | None:
        """What is kept of a chunk; None where it is not there, damaged, or lacks an image that cannot be read."""

    @abstractmethod
    def write(self, chunk: Chunk, numbers: Sequence[int], rows: Rows) -> None:
        """Keep a chunk: a row for each of the images `numbers`, which could be read."""

    def remove(self) -> None:
        """Forget them: the result is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
