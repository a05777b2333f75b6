"""Networks and protocols over pictures: each picture is decoded once, for all scales, views and networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from verydeep.errors import ModelError, PictureError, UsageError
from verydeep.evaluation.plan import Chunk, make_plan
from verydeep.evaluation.posterior import Posteriors, posterior_of_maps
from verydeep.evaluation.protocols import Protocol, check
from verydeep.images.pictures import Pictures, Unreadable
from verydeep.images.views import Pixels, rescale
from verydeep.inference import Scorer

BATCH_SIZE = 128  # pictures of one shape that are shown at once, at most
BATCH_PIXELS = 2_000_000  # likewise, in pixels: 40 windows of 224x224

Rescaled = dict[int, Pixels]  # a picture at each scale


@dataclass(frozen=True)
class Member:
    """A network, and the protocols that it is tested by.

    Attributes:
        scorer: an engine with a model.
        protocols: of which the posteriors are averaged.
        name: of the model, for messages.

    """

    scorer: Scorer
    protocols: tuple[Protocol, ...]
    name: str = ""


def evaluate(
    members: Sequence[Member],
    pictures: Pictures,
    *,
    batch_size: int = BATCH_SIZE,
    advance: Callable[[int], None] = lambda count: None,
    unreadable: Callable[[Unreadable], None] | None = None,
) -> Posteriors:
    """Posteriors of each picture: the mean over views, then over protocols, then over networks.

    Args:
        members: one for each network.
        pictures: any number of them; a few are in memory at a time.
        batch_size: the most pictures of one shape that are shown at once.
        advance: called with the number of pictures that have been finished.
        unreadable: called with a picture that cannot be read, whose row means nothing then; None raises instead.

    Returns:
        Of shape (pictures, classes), in the pictures' order.

    Raises:
        UsageError: a scale is smaller than a network's window, or the networks' classes differ.
        ModelError: a network gives scores that are not finite.
        PictureError: a picture cannot be read, or is too large, and `unreadable` is None.

    """
    check_together(members)
    posteriors = np.full((len(pictures), members[0].scorer.config.architecture.num_classes), np.nan)
    plan = make_plan(pictures, [protocol for member in members for protocol in member.protocols], batch_size)
    for chunk, scored in score_chunks(members, pictures, plan, batch_size, unreadable):
        posteriors[list(chunk.pictures)] = scored
        advance(len(chunk.pictures))
    return posteriors


def check_together(members: Sequence[Member]) -> None:
    """Make sure that the members can be averaged.

    Raises:
        UsageError: a scale is smaller than a network's window, or the networks' classes differ.

    """
    first = members[0].scorer.config.class_names
    for member in members:
        for protocol in member.protocols:
            check(protocol, member.scorer.config.architecture.window)
        names = member.scorer.config.class_names
        if names != first:
            raise UsageError(
                f"the networks have other classes: the first {len(first)} ({first[0]!r}, ...), another "
                f"{len(names)} ({names[0]!r}, ...); only networks of the same classes, in the same order, fuse"
            )


def score_chunks(
    members: Sequence[Member],
    pictures: Pictures,
    plan: Sequence[Chunk],
    batch_size: int = BATCH_SIZE,
    unreadable: Callable[[Unreadable], None] | None = None,
) -> Iterator[tuple[Chunk, Posteriors]]:
    """Posteriors of each chunk of a plan, of shape (its pictures, classes), one after the other."""
    num_classes = members[0].scorer.config.architecture.num_classes
    scales = sorted({scale for member in members for protocol in member.protocols for scale in protocol.scales})
    for chunk, outcomes in read_ahead(scales, pictures, plan):
        posteriors = np.full((len(chunk.pictures), num_classes), np.nan)
        good: list[int] = []
        readable: list[Rescaled] = []
        for place, outcome in enumerate(outcomes):
            if isinstance(outcome, PictureError):
                if unreadable is None:
                    raise outcome
                number = chunk.pictures[place]
                unreadable(Unreadable(pictures.names[number], str(outcome), number))
            else:
                good.append(place)
                readable.append(outcome)
        if readable:
            posteriors[good] = np.mean([_posteriors(member, readable, batch_size) for member in members], axis=0)
        yield chunk, posteriors


def _posteriors(member: Member, pictures: list[Rescaled], batch_size: int) -> Posteriors:
    """Mean over the protocols first: a hundred and fifty crops must not drown six dense views."""
    means = []
    for protocol in member.protocols:
        try:
            scales = [
                _posteriors_at(member.scorer, protocol, [picture[scale] for picture in pictures], batch_size)
                for scale in protocol.scales
            ]
        except ModelError as error:
            raise ModelError(f"{member.name}: {error}" if member.name else str(error)) from None
        means.append(np.mean(scales, axis=0))
    result: Posteriors = np.mean(means, axis=0)
    return result


def _posteriors_at(scorer: Scorer, protocol: Protocol, pictures: list[Pixels], batch_size: int) -> Posteriors:
    """Mean over the views at one scale."""
    window = scorer.config.architecture.window
    sums = np.zeros((len(pictures), scorer.config.architecture.num_classes))
    for shown in (pictures, [picture[:, ::-1] for picture in pictures])[: 1 + protocol.mirror]:
        views, num_views = _views(protocol, shown, window)
        size = max(1, min(batch_size, BATCH_PIXELS // (views.shape[1] * views.shape[2])))
        for first in range(0, len(views), size):
            scored = posterior_of_maps(scorer.score_maps(views[first : first + size]))
            np.add.at(sums, np.arange(first, first + len(scored)) // num_views, scored / num_views)
    return sums / (1 + protocol.mirror)


def _views(protocol: Protocol, pictures: list[Pixels], window: int) -> tuple[Pixels, int]:
    """Views of pictures, picture by picture, of one shape; and how many there are of each."""
    offsets = [protocol.offsets(picture.shape[1], picture.shape[0], window) for picture in pictures]
    crops = [
        picture[top : top + window, left : left + window]
        for picture, places in zip(pictures, offsets, strict=True)
        for left, top in places or ()
    ]
    return (np.stack(crops), len(crops) // len(pictures)) if crops else (np.stack(pictures), 1)


def read_ahead(
    scales: Sequence[int], pictures: Pictures, plan: Sequence[Chunk]
) -> Iterator[tuple[Chunk, list[Rescaled | PictureError]]]:
    """Decode and rescale the next chunk on other threads while one is scored.

    Gives each chunk with its pictures at every scale, or why one cannot be read.
    """

    def read(number: int) -> Rescaled | PictureError:
        try:
            picture = pictures.source.read(number)
            image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
            return {scale: np.asarray(rescale(image, scale)) for scale in scales}
        except PictureError as error:
            name = pictures.names[number]
            return error if name in str(error) else PictureError(f"{name}: {error}")

    def submit(chunk: Chunk) -> list[Future[Rescaled | PictureError]]:
        return [pool.submit(read, number) for number in chunk.pictures]

    with ThreadPoolExecutor() as pool:
        waiting = submit(plan[0]) if plan else []
        for place, chunk in enumerate(plan):
            current, waiting = waiting, submit(plan[place + 1]) if place + 1 < len(plan) else []
            yield chunk, [future.result() for future in current]
