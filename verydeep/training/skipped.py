"""The pictures that a run could not read: named, and left out up to a limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from verydeep.files import Lines, json_text
from verydeep.images.pictures import Unreadable, too_many
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
    _pictures: dict[str, Unreadable] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self) -> None:
        """Take note of what an earlier part of the run left out."""
        for record in read_journal(self.path):
            if "name" in record:
                picture = Unreadable(str(record["name"]), str(record.get("reason")))
                self._pictures[picture.name] = picture

    def add(self, picture: Unreadable, step: int | None = None) -> bool:
        """Note a picture; tell whether it is a new one.

        Raises:
            DataError: they are more than may be left out.

        """
        if picture.name in self._pictures:
            return False
        self._pictures[picture.name] = picture
        with Lines(self.path) as lines:
            line = {"name": picture.name, "reason": picture.reason, "step": step}
            lines.add(json_text(line))
        if len(self) > self.most:
            raise too_many(tuple(self._pictures.values()))
        return True
