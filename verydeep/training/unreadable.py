"""The images that a run could not read: named, and left out up to a limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from verydeep.files import Lines, json_text, read_json_lines
from verydeep.images.image_set import Unreadable, too_many


@dataclass
class UnreadableLog:
    """`skipped.jsonl` of a run: a line for each image, with its name, why, and the step that wanted it.

    Attributes:
        path: of the file, which appears with the first image.
        most: images that may be left out.

    """

    path: Path
    most: int
    _images: dict[str, Unreadable] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self._images)

    def read(self) -> None:
        """Take note of what an earlier part of the run has told, so that no image gets a second line.

        An image counts when it is met again: it may have been repaired.
        """
        for record in read_json_lines(self.path) if self.path.is_file() else ():
            if isinstance(name := record.get("name"), str):
                self._told.add(name)

    def add(self, image: Unreadable, step: int | None = None) -> bool:
        """Note an image; tell whether it is a new one.

        Raises:
            DataError: they are more than may be left out.

        """
        if image.name in self._images:
            return False
        self._images[image.name] = image
        new = image.name not in self._told
        if new:
            with Lines(self.path) as lines:
                lines.add(json_text({"name": image.name, "reason": image.reason, "step": step}))
        if len(self) > self.most:
            raise too_many(tuple(self._images.values()), begun=True)
        return new
