"""The 1000 classes of ILSVRC-2012: their names, and the WordNet numbers that its folders are called by."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

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
