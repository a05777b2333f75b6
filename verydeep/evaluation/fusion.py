"""Results -> their fusion: the mean of the posteriors of several networks or protocols. Section 4.4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from verydeep.errors import UsageError
from verydeep.evaluation.results import Evaluation
from verydeep.images.names import nfc
from verydeep.notes import note


def fuse(results: Iterable[Evaluation], paths: Sequence[Path]) -> Evaluation:
    """Average results of the same images, each with the same weight.

    Images and classes are matched by name; the first result's order is kept. Each result is added to the sum as
    it comes, so that few are in memory at a time.

    Args:
        results: at least two.
        paths: of the results, for the message where they do not match, and to be recorded.

    Raises:
        UsageError: there is one, one is given twice, or they are of other images, other classes or other labels.

    """
    if len(paths) < 2:
        raise UsageError("a fusion needs two results or more")
    files = [path.resolve() for path in paths]
    twice = next((path for path, file in zip(paths, files, strict=True) if files.count(file) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice} is given twice; give each result once")
    rest = iter(results)
    first = next(rest)
    total = first.posteriors.copy()
    first = replace(first, posteriors=total)
    facts = [first.facts]
    for result, path in zip(rest, paths[1:], strict=True):
        total += matched(result, path, first, paths[0]).posteriors
        facts.append(result.facts)
    total /= len(paths)
    data = first.facts.data
    other = next((one.data for one in facts if one.data != data), None)
    if other is not None:
        note(f"results of {data} and of {other} are combined; images with the same name must be the same images")
    fused = replace(
        first.facts,
        members=tuple(member for one in facts for member in one.members),
        seconds=sum(one.seconds for one in facts),
        fused=tuple(map(str, paths)),
    )
    return replace(first, facts=fused)


def matched(result: Evaluation, path: Path, first: Evaluation, first_path: Path) -> Evaluation:
    """Bring a result's images and classes into the order of the first.

    Raises:
        UsageError: they are of other images, other classes or other labels.

    """
    images = _places(result.names, first.names, "images", path, first_path)
    classes = _places(result.facts.class_names, first.facts.class_names, "classes", path, first_path)
    labels = np.argsort(classes)[result.labels[images]]
    differ = np.flatnonzero(labels != first.labels)
    if len(differ):
        raise UsageError(
            f"{path} and {first_path} have other labels for {len(differ)} images, such as "
            f"{first.names[differ[0]]!r}; they are not of the same data"
        )
    return Evaluation(first.facts, first.names, labels, result.posteriors[np.ix_(images, classes)])


def _places(
    names: Sequence[str], wanted: Sequence[str], what: str, path: Path, first_path: Path
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where the wanted names are among the names."""
    for where, several in ((path, names), (first_path, wanted)):
        twice = [name for name, count in Counter(map(nfc, several)).items() if count > 1]
        if twice:
            raise UsageError(
                f"{where} has two {what} called {twice[0]!r}, and {what} are matched by name; rename one and test "
                "the model again"
            )
    place_of = {nfc(name): place for place, name in enumerate(names)}
    missing = [name for name in wanted if nfc(name) not in place_of]
    extra = set(place_of) - set(map(nfc, wanted))
    if missing or extra:
        example = [*missing, *sorted(extra)][0]
        raise UsageError(
            f"{path} has {len(names)} {what} and {first_path} has {len(wanted)}, not the same ones (such as "
            f"{example!r}); only tests of the same {what} fuse"
        )
    return np.array([place_of[nfc(name)] for name in wanted], dtype=np.int64)
