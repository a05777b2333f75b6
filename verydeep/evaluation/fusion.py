"""Results -> their fusion: the mean of the posteriors of several networks or protocols. Section 4.4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from verydeep.errors import UsageError
from verydeep.evaluation.results import Evaluation, Facts
from verydeep.notes import note


def fuse(results: Sequence[Evaluation], paths: Sequence[Path]) -> Evaluation:
    """Average results of the same images, each with the same weight.

    Images and classes are matched by name; the first result's order is kept.

    Args:
        results: at least two.
        paths: of the results, for the message where they do not match, and to be recorded.

    Raises:
        UsageError: there is one, or they are of other images, other classes or other labels.

    """
    if len(results) < 2:
        raise UsageError("a fusion needs two results or more")
    first = results[0]
    in_order = [first] + [
        matched(result, path, first, paths[0]) for result, path in zip(results[1:], paths[1:], strict=True)
    ]
    facts = Facts(
        tuple(test for result in results for test in result.facts.members),
        first.facts.data,
        first.facts.part,
        first.facts.class_names,
        sum(result.facts.seconds for result in results),
        tuple(map(str, paths)),
        first.facts.num_unreadable,
        first.facts.num_trained_on,
    )
    other = next((result.facts.data for result in results if result.facts.data != first.facts.data), None)
    if other is not None:
        note(
            f"results of {first.facts.data} and of {other} are combined; images with the same name must be the "
            "same images"
        )
    posteriors = np.mean([result.posteriors for result in in_order], axis=0)
    return Evaluation(facts, first.names, first.labels, posteriors)


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
    return Evaluation(first.facts, first.names, labels, result.posteriors[images][:, classes])


def _places(
    names: Sequence[str], wanted: Sequence[str], what: str, path: Path, first_path: Path
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where the wanted names are among the names."""
    place_of = {name: place for place, name in enumerate(names)}
    missing = [name for name in wanted if name not in place_of]
    extra = set(names) - set(wanted)
    if missing or extra or len(place_of) < len(names) or len(set(wanted)) < len(wanted):
        example = next(iter(missing), None) or next(iter(sorted(extra)), "one that appears twice")
        raise UsageError(
            f"{path} has {len(names)} {what} and {first_path} has {len(wanted)}, not the same ones (such as "
            f"{example!r}); only tests of the same {what} fuse"
        )
    return np.array([place_of[name] for name in wanted], dtype=np.int64)
