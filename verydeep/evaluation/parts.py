"""What long work has finished so far, chunk by chunk, so that it can go on after an interruption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.errors import UsageError
from verydeep.evaluation.plan import Chunk
from verydeep.evaluation.posterior import Posteriors
from verydeep.files import json_text, write_json, write_whole


class Parts:
    """A folder beside the result, with a file for each chunk that is finished. Each appears whole.

    Args:
        result: path of the result that is being made.
        key: what decides the result beside the content of the pictures: weights, names, how they are shown.
        option: of the command, which names the result.

    Raises:
        UsageError: the folder has finished chunks of another.

    """

    noun = "test"  # what it is that is finished here
    suffix = ".npy"

    def __init__(self, result: Path, key: dict[str, Any], option: str = "--out") -> None:
        self.folder = result.with_name(result.name + ".parts")
        self._key_file = self.folder / "test.json"
        # A folder without a finished chunk has nothing to go on with, and is anybody's.
        if not self._key_file.is_file() or not any(self.folder.glob(f"*{self.suffix}")):
            write_json(self._key_file, key)
        elif json.loads(self._key_file.read_text(encoding="utf-8")) != json.loads(json_text(key)):
            raise UsageError(
                f"{self.folder} is what another, interrupted {self.noun} has finished; go on with that one as it "
                f"was begun, choose another {option} file, or remove the folder"
            )

    def file(self, chunk: Chunk) -> Path:
        """Where a chunk is kept: under another name once its pictures are others, or have been changed."""
        return self.folder / f"{chunk.number:06d}-{chunk.content}{self.suffix}"

    def remove(self) -> None:
        """Forget them: the result is written."""
        shutil.rmtree(self.folder, ignore_errors=True)


class PosteriorParts(Parts):
    """Finished chunks of a test: each an array of its pictures' posteriors."""

    def read(self, chunk: Chunk, num_classes: int) -> Posteriors | None:
        """Posteriors of a chunk; None where they are not there or not whole."""
        try:
            posteriors = np.load(self.file(chunk), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        whole = posteriors.shape == (len(chunk.pictures), num_classes) and np.isfinite(posteriors).all()
        return posteriors if whole else None

    def write(self, chunk: Chunk, posteriors: Posteriors) -> None:
        """Keep a chunk's posteriors."""

        def save(aside: Path) -> None:
            with aside.open("wb") as file:
                np.save(file, posteriors)

        write_whole(self.file(chunk), save)
