"""A folder on disk -> its images, at any depth, and what was skipped there.

A file with an image's extension is an image: whether it can be read is seen when it is decoded. Any other file is
an image if its first bytes say so. Links to folders are followed; each folder is entered once, so that no link
leads round in a circle.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappop, heappush
from pathlib import Path

from verydeep.errors import DataError, as_text, printable, refusal
from verydeep.files import is_drawing
from verydeep.images.formats import EXTENSIONS, sniff

SYSTEM_FOLDERS = frozenset(
    {
        "@eadir",  # Synology: thumbnails, in folders that are called like the images
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "@__thumb",
        "__macosx",  # the Mac's zip files
        "$recycle.bin",  # Windows
        "system volume information",
        "lost+found",
        "lost.dir",  # Android
    }
)
"""Folders that systems make beside people's files, in lower case."""

MADE_HERE = (
    ("run folder", ("config.json", "model.safetensors")),
    ("run folder", ("config.json", "journal.jsonl")),
    ("study folder", ("study.toml", "study.jsonl")),
    ("folder of shards", ("shards.json",)),
    ("folder of part files", ("_verydeep.json",)),
)
"""Folders that this package makes, and the files by which they are known."""

UNFINISHED_RESULT = ".parts"  # ending of the folder in which a result is made

DRAWN = "image drawn by verydeep"
EXAMPLES = 3  # of each kind that are named


@dataclass
class Skipped:
    """What is in a folder and was not taken: how many of each kind, and the first few by name."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, path: Path) -> None:
        """Count a file or a folder."""
        self.counts[kind] += 1
        if self.counts[kind] <= EXAMPLES:
            self.examples[kind].append(as_text(path.name))

    def __str__(self) -> str:
        """One line: `2 hidden files (.DS_Store, ...), 1 video (clip.mp4)`; empty if nothing was skipped."""
        return ", ".join(map(self._kind, self.counts))

    def _kind(self, kind: str) -> str:
        count, examples = self.counts[kind], self.examples[kind]
        names = ", ".join(dict.fromkeys(map(printable, examples))) + ", ..." * (count > len(examples))
        return f"{count:,} {kind if count == 1 else _plural(kind)} ({names})"


@dataclass
class Listing:
    """One folder.

    Attributes:
        path: of the folder.
        images: directly in it, sorted.
        folders: directly in it, sorted, without the skipped ones.
        has_drawn: whether images that this package has drawn lie directly in it.

    """

    path: Path
    images: list[Path] = field(default_factory=list)
    folders: list[Listing] = field(default_factory=list)
    has_drawn: bool = False

    @cached_property
    def every_image(self) -> list[Path]:
        """Images in it at any depth, sorted."""
        # By their parts, as paths are compared, which itself takes ten times as long.
        return sorted((path for one in self.every_folder for path in one.images), key=lambda path: path.parts)

    @property
    def every_folder(self) -> list[Listing]:
        """The folder and those in it at any depth."""
        found = [self]
        for listing in found:
            found += listing.folders
        return found


def list_images(folder: Path, skipped: Skipped) -> Listing:
    """List a folder.

    Args:
        folder: to be searched.
        skipped: gets what is not taken.

    Raises:
        DataError: a folder cannot be read.

    """
    top = Listing(folder)
    entered = {_identity(folder)}
    waiting, links = [(top, False)], list[tuple[Path, Listing]]()  # the links are a heap
    named: Counter[tuple[int, int]] = Counter()  # the folders that links wait for
    while waiting or links:
        if waiting:
            listing, behind_link = waiting.pop()
        else:  # links come last: a folder that can be reached without one has its own name
            path, parent = heappop(links)
            here = _identity(path)
            named[here] -= 1
            if here in entered:
                skipped.add("link to a folder that is listed already", path)
                continue
            entered.add(here)
            listing, behind_link = Listing(path), True
            parent.folders.append(listing)
        for path in _list_one(listing, skipped):
            here = _identity(path)
            if path.is_symlink():
                heappush(links, (path, listing))
                named[here] += 1
            elif here in entered or (behind_link and named[here]):
                skipped.add("folder behind a link that is listed elsewhere", path)
            else:
                entered.add(here)
                listing.folders.append(Listing(path))
                waiting.append((listing.folders[-1], behind_link))
    for listing in top.every_folder:
        kept = [inside for inside in listing.folders if inside.every_image or not inside.has_drawn]
        listing.folders = sorted(kept, key=lambda inside: inside.path)
    return top


def _plural(noun: str) -> str:
    """`folder without images` -> `folders without images`."""
    head, *rest = re.split(r" (?=(?:of|to|beside|behind|without|drawn) )", noun, maxsplit=1)
    return " ".join([head if head.endswith("s") else f"{head}s", *rest])


def _list_one(listing: Listing, skipped: Skipped) -> list[Path]:
    """List the images of one folder, and give the folders in it that are to be entered."""
    folders: list[Path] = []
    try:
        with os.scandir(listing.path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(refusal(listing.path, "listed", error)) from None
    for entry in found:
        path = listing.path / entry.name
        try:
            is_folder = _is_folder(entry)
            hidden = "hidden file" if entry.name.startswith(".") else None
            reason = _why_not_entered(path) if is_folder else hidden or why_no_image(path, entry)
        except OSError as error:
            raise DataError(refusal(path, "read", error)) from None
        if reason is not None:
            skipped.add(reason, path)
            listing.has_drawn |= reason == DRAWN
        else:
            (folders if is_folder else listing.images).append(path)
    return folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_file(entry: os.DirEntry[str] | Path) -> bool:
    try:
        return entry.is_file()  # which the listing has told already, but for links
    except OSError:  # as above
        return False


def _why_not_entered(path: Path) -> str | None:
    if path.name.startswith("."):
        return "hidden folder"
    if path.name.lower() in SYSTEM_FOLDERS:
        return "folder of the system"
    for kind, files in MADE_HERE:
        if all((path / file).is_file() for file in files):
            return f"{kind} of verydeep"
    unfinished = path.suffix == UNFINISHED_RESULT and (path / "test.json").is_file()
    return "unfinished result of verydeep" if unfinished else None


def why_no_image(path: Path, entry: os.DirEntry[str] | Path) -> str | None:
    """Why a file is not taken for an image; None where it is. `entry` is the file too: a folder's is faster."""
    extension = path.suffix.lower()
    if not _is_file(entry):
        if entry.is_symlink():  # to nothing: an image that is missing is an error
            return None if extension in EXTENSIONS else "broken link"
        return "special file"
    if extension == ".png" and is_drawing(path):
        return DRAWN
    if extension in EXTENSIONS:
        return None
    kind = sniff(path)
    return None if kind.is_image else kind.name


def _identity(path: Path) -> tuple[int, int]:
    """What tells a folder from others, whatever name led to it."""
    try:
        facts = path.stat()
    except OSError as error:
        raise DataError(refusal(path, "listed", error)) from None
    return facts.st_dev, facts.st_ino
