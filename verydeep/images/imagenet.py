"""The 1000 classes of ILSVRC-2012: their names, the WordNet numbers of its folders, and its validation labels."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from verydeep.errors import DataError

NUM_CLASSES = 1000


@cache
def _classes() -> dict[str, str]:
    from importlib.resources import files  # not above: most models have other classes

    text = (files("verydeep.images") / "imagenet_classes.txt").read_text(encoding="utf-8")
    return dict(line.split(" ", 1) for line in text.splitlines())


def class_names() -> tuple[str, ...]:
    """Short English names in the order of the WordNet numbers, which is the order of every library's scores."""
    return tuple(_classes().values())


def wordnet_numbers() -> tuple[str, ...]:
    """Names of ImageNet's class folders, `n01440764` first, in their order."""
    return tuple(_classes())


def named(numbers: Iterable[str]) -> tuple[str, ...] | None:
    """Names of classes given by WordNet numbers; None if one is not among the thousand."""
    names = tuple(_classes().get(number) for number in numbers)
    return None if None in names else names  # type: ignore[return-value]


def words(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of classes for people: where all are WordNet numbers of the thousand, their English names."""
    return named(class_names) or class_names


def validation_classes(root: Path, folder: Path, class_names: tuple[str, ...]) -> dict[str, str]:
    """The class of each validation image, by its name without the ending, from the list that ImageNet comes with.

    Args:
        root: folder with the list, `LOC_val_solution.csv` or `val.txt`.
        folder: of the images, for messages.
        class_names: of the training part, by which `val.txt` numbers them.

    Raises:
        DataError: there is no list, or it is not of its form.

    """
    if (root / "LOC_val_solution.csv").is_file():
        return _from_csv(root / "LOC_val_solution.csv")
    if (root / "val.txt").is_file():
        return _from_text(root / "val.txt", class_names)
    raise DataError(
        f"{folder} has no class folders, and no list of labels lies beside it: sort the images into class "
        f"folders, or put LOC_val_solution.csv or val.txt into {root}"
    )


def _from_csv(file: Path) -> dict[str, str]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            read = list(csv.DictReader(lines))
        rows = [(Path(row["ImageId"]).stem, row["PredictionString"].split()[0]) for row in read]
    except (KeyError, IndexError, AttributeError, ValueError, TypeError, csv.Error):
        raise DataError(
            f"{file} is not the list of labels that ImageNet comes with: it wants the columns ImageId and "
            "PredictionString, whose first word is the class folder's name"
        ) from None
    return _listed(file, rows)


def _listed(file: Path, rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Class names by the names of images.

    Raises:
        DataError: an image has two classes.

    """
    listed: dict[str, str] = {}
    for name, class_name in rows:
        if listed.setdefault(name, class_name) != class_name:
            raise DataError(f"{file} has two classes for {name}; keep one of them")
    return listed


def _from_text(file: Path, class_names: tuple[str, ...]) -> dict[str, str]:
    rows: list[tuple[str, str]] = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        name, _, number = line.strip().rpartition(" ")
        if not (number.isascii() and number.isdecimal()):
            raise DataError(f"{file} has the line {line!r}; each wants a file name and a class number")
        if int(number) >= len(class_names):
            raise DataError(
                f"{file} has the class number {number}, and the training part has {len(class_names)} classes, "
                "numbered from 0; give the folder with all classes, or the list of these alone"
            )
        rows.append((Path(name).stem, class_names[int(number)]))
    return _listed(file, rows)
