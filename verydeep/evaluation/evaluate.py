"""Networks and protocols over images: each image is decoded once, for all scales, views and networks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.array_files import write_array
from verydeep.chunks.parts import Parts, Worked, beside
from verydeep.chunks.plan import Chunk, by_shape, of_one_shape
from verydeep.chunks.run import ALONE, Rescaled, at_scales, run_chunks
from verydeep.distributed import World
from verydeep.errors import ModelError, UsageError
from verydeep.evaluation.posterior import Posteriors, posterior_of_maps
from verydeep.evaluation.protocols import Protocol
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.images.views import Pixels, mirrored
from verydeep.inference.engine import Engine
from verydeep.plan import check_scale

BATCH_SIZE = 128  # images of one shape that are shown at once, at most
BATCH_PIXELS = 2_000_000  # likewise, in pixels: 40 windows of 224x224


@dataclass(frozen=True)
class Member:
    """A network, and the protocols that it is tested by.

    Attributes:
        engine: with a model.
        protocols: of which the posteriors are averaged.
        name: of the model, for messages.

    """

    engine: Engine
    protocols: tuple[Protocol, ...]
    name: str = ""


@dataclass(frozen=True)
class Scoring:
    """How images become posteriors.

    Attributes:
        scales: smaller sides that they are rescaled to.
        whole: whether they are shown whole.
        batch_size: the most images of one shape that are shown at once.
        num_classes: of the posteriors.
        posteriors: images at every scale -> a row for each.

    """

    scales: tuple[int, ...]
    whole: bool
    batch_size: int
    num_classes: int
    posteriors: Callable[[list[Rescaled]], Posteriors]

    def plan(self, images: ImageSet) -> list[Chunk]:
        """Chunks of a list of images, each of which can be shown at once."""
        return by_shape(images, self.scales, self.batch_size, whole=self.whole)

    def rows(self, chunk: Chunk, rescaled: dict[int, Rescaled]) -> Posteriors:
        """Posteriors of some of a chunk's images."""
        return self.posteriors(list(rescaled.values()))

    def groups(self, images: ImageSet, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Groups of some of the images, likewise."""
        return of_one_shape(images, numbers, self.scales, self.batch_size, whole=self.whole)


def scoring_of(members: Sequence[Member], batch_size: int = BATCH_SIZE) -> Scoring:
    """How networks score images: the mean over views, then over protocols, then over networks.

    Args:
        members: one for each network.
        batch_size: the most images of one shape that are shown at once.

    Raises:
        UsageError: a scale is smaller than a network's window, or the networks' classes differ.

    """
    check_together(members)
    protocols = [protocol for member in members for protocol in member.protocols]

    def posteriors(rescaled: list[Rescaled]) -> Posteriors:
        return np.mean([_posteriors(member, rescaled, batch_size) for member in members], axis=0)  # type: ignore[no-any-return]

    return Scoring(
        scales=tuple(sorted({scale for protocol in protocols for scale in protocol.scales})),
        whole=any(protocol.whole for protocol in protocols),
        batch_size=batch_size,
        num_classes=members[0].engine.config.architecture.num_classes,
        posteriors=posteriors,
    )


def evaluate(
    members: Sequence[Member],
    images: ImageSet,
    *,
    batch_size: int = BATCH_SIZE,
    world: World = ALONE,
    parts: Parts[Posteriors] | None = None,
    max_unreadable: int | None = None,
    unreadable: Callable[[Unreadable], None] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Posteriors:
    """Posteriors of each image by networks. Arguments and errors as of `scoring_of` and `score`."""
    return score(
        scoring_of(members, batch_size),
        images,
        world=world,
        parts=parts,
        max_unreadable=max_unreadable,
        unreadable=unreadable,
        advance=advance,
    )


def score(
    scoring: Scoring,
    images: ImageSet,
    *,
    world: World = ALONE,
    parts: Parts[Posteriors] | None = None,
    max_unreadable: int | None = None,
    unreadable: Callable[[Unreadable], None] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Posteriors:
    """Posteriors of each image.

    Args:
        scoring: how they are made.
        images: any number of them; a few are in memory at a time.
        world: the processes that share the images.
        parts: where finished chunks are kept; None keeps nothing.
        max_unreadable: images that may be left out because they cannot be read; None for any number.
        unreadable: called with each of them on the first process; None raises instead.
        advance: called with the number of images that have been finished.

    Returns:
        Of shape (images, classes), in the images' order, on the first process; images that cannot be read have
        NaN.

    Raises:
        ModelError: a network gives scores that are not finite.
        ImageError: an image cannot be read, or is too large, and `unreadable` is None.
        DataError: more images cannot be read than may be left out.

    """
    posteriors = np.full((len(images), scoring.num_classes), np.nan)
    for numbers, rows in run_chunks(
        images,
        scoring.plan(images),
        at_scales(images, scoring.scales),
        scoring.rows,
        world=world,
        parts=parts,
        max_unreadable=max_unreadable,
        unreadable=unreadable,
        advance=advance,
    ):
        posteriors[numbers] = rows
    return posteriors


class PosteriorParts(Parts[Posteriors]):
    """Finished chunks of a test: each an array of its images' posteriors.

    Args:
        result: path of the test's result, beside which they lie.
        key: as of `Parts`.
        num_classes: of the networks.

    """

    def __init__(self, result: Path, key: dict[str, Any], num_classes: int) -> None:
        super().__init__(beside(result), key)
        self._num_classes = num_classes

    def read(self, chunk: Chunk) -> Posteriors | None:
        """Posteriors of a chunk."""
        from verydeep.array_files import read_array  # not above: an answer for one image has no parts

        try:
            posteriors = read_array(self.file(chunk), ("f", 2))
        except (OSError, ValueError):
            return None
        whole = posteriors.shape == (len(chunk.images), self._num_classes) and np.isfinite(posteriors).all()
        return posteriors if whole else None

    def write(self, chunk: Chunk, worked: Worked[Posteriors], lost: Sequence[Unreadable]) -> None:
        """Keep them, unless an image is missing: it is to be named again."""
        if not lost:
            ((_, rows),) = worked
            write_array(self.file(chunk), rows)


def check_together(members: Sequence[Member]) -> None:
    """Make sure that the members can be averaged.

    Raises:
        UsageError: a scale is smaller than a network's window, or the networks' classes differ.

    """
    first = members[0].engine.config.class_names
    for member in members:
        for protocol in member.protocols:
            check_scale("scales", min(protocol.scales), member.engine.config.architecture)
        names = member.engine.config.class_names
        if names != first:
            raise UsageError(
                f"the networks have other classes: the first {len(first)} ({first[0]!r}, ...), another "
                f"{len(names)} ({names[0]!r}, ...); only networks of the same classes, in the same order, can "
                "be combined"
            )


def _posteriors(member: Member, images: list[Rescaled], batch_size: int) -> Posteriors:
    """Mean over the protocols first: a hundred and fifty crops must not drown six dense views."""
    means = []
    for protocol in member.protocols:
        try:
            scales = [
                _posteriors_at(member.engine, protocol, [image[scale] for image in images], batch_size)
                for scale in protocol.scales
            ]
        except ModelError as error:
            raise ModelError(f"{member.name}: {error}" if member.name else str(error)) from None
        means.append(np.mean(scales, axis=0))
    result: Posteriors = np.mean(means, axis=0)
    return result


def _posteriors_at(engine: Engine, protocol: Protocol, images: list[Pixels], batch_size: int) -> Posteriors:
    """Mean over the views at one scale."""
    window = engine.config.architecture.window
    sums = np.zeros((len(images), engine.config.architecture.num_classes))
    for mirror in (False, True)[: 1 + protocol.mirror]:
        views = list(_views(protocol, images, window, mirror))
        by_shape: dict[tuple[int, ...], list[tuple[int, Pixels]]] = defaultdict(list)
        for number, view in views:  # of one shape by the plan, but a file may have changed since
            by_shape[view.shape].append((number, view))
        for (height, width, _), alike in by_shape.items():
            size = max(1, min(batch_size, BATCH_PIXELS // (height * width)))
            for first in range(0, len(alike), size):
                numbers, shown = zip(*alike[first : first + size], strict=True)
                scored = posterior_of_maps(engine.score_maps(np.stack(shown)))
                np.add.at(sums, list(numbers), scored / (len(views) // len(images)))
    return sums / (1 + protocol.mirror)


def _views(protocol: Protocol, images: list[Pixels], window: int, mirror: bool) -> Iterator[tuple[int, Pixels]]:
    """Views of images, image by image: the number of the image, and a window on its pixels."""
    for number, image in enumerate(images):
        seen = mirrored(image[np.newaxis])[0] if mirror else image
        offsets = protocol.offsets(image.shape[1], image.shape[0], window)
        if not offsets:
            yield number, seen
        for left, top in offsets:
            yield number, seen[top : top + window, left : left + window]
