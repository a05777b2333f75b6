"""The pictures that a run could not read: named, and left out up to a limit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from verydeep.errors import DataError
from verydeep.files import Lines
from verydeep.images.pictures import Unreadable
from verydeep.training.journal import read_journal


@dataclass
class Skipped:
    """`skipped.jsonl` of a run: a line for each picture, with its name, why, and the step that wanted it.

    Attributes:
        path: of the file, which appears with the first picture.
        most: pictures that may be left out.

    """

    path: Path
    most: int
    _names: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._names)

    def read(self) -> None:
        """Take note of what an earlier part of the run left out."""
        self._names = {str(record["name"]) for record in read_journal(self.path) if "name" in record}

    def add(self, picture: Unreadable, step: int | None = None) -> bool:
        """Note a picture; tell whether it is a new one.

        Raises:
            DataError: they are more than may be left out.

        """
        if picture.name in self._names:
            return False
        self._names.add(picture.name)
        with Lines(self.path) as lines:
            line = {"name": picture.name, "reason": picture.reason, "step": step}
            lines.add(json.dumps(line, ensure_ascii=False))
        if len(self._names) > self.most:
            raise DataError(
                f"{len(self._names)} picture{'s' * (len(self._names) > 1)} cannot be read, the last is "
                f"{picture.reason}; remove them, or leave as many out by --max-unreadable"
            )
        return True
