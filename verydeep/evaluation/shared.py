"""One test, shared out among processes and kept chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from verydeep.distributed import World
from verydeep.evaluation.evaluate import Member, check_together, score_chunks
from verydeep.evaluation.parts import PosteriorParts
from verydeep.evaluation.plan import Chunk, make_plan
from verydeep.evaluation.posterior import Posteriors
from verydeep.images.pictures import Pictures, Unreadable, too_many


def evaluate_shared(
    members: Sequence[Member],
    pictures: Pictures,
    world: World,
    parts: PosteriorParts | None,
    *,
    batch_size: int,
    leave_out: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Posteriors, list[Unreadable]]:
    """Posteriors of each picture, as `evaluate`; whole on the first process, as far as done here on the others.

    With them come the pictures that cannot be read, whose rows mean nothing.

    Args:
        members: one for each network.
        pictures: the same on every process.
        world: the processes, of which each takes chunks of the one plan.
        parts: where finished chunks are kept, and those of an interrupted test are found; None keeps nothing.
        batch_size: the most pictures of one shape that are shown at once.
        leave_out: pictures that may be left out because they cannot be read.
        advance: called with the number of pictures that have been finished, here or wherever the world hears of.

    Raises:
        UsageError, ModelError: as `evaluate`.
        DataError: more pictures cannot be read than may be left out.
        VerydeepError: another process is lost.

    """
    check_together(members)
    num_classes = members[0].scorer.config.architecture.num_classes
    plan = make_plan(pictures, [protocol for member in members for protocol in member.protocols], batch_size)
    count = world.counting(advance)
    done: list[tuple[Chunk, Posteriors]] = []
    to_do: list[Chunk] = []
    # Shared out before it is known what is done: the others may have begun to add to that.
    for chunk in world.share(plan):
        posteriors = parts.read(chunk, num_classes) if parts else None
        if posteriors is None:
            to_do.append(chunk)
        else:
            done.append((chunk, posteriors))
            count(len(chunk.pictures))
    lost: list[Unreadable] = []
    for chunk, posteriors in score_chunks(members, pictures, to_do, batch_size, lost.append):
        if len(lost) > leave_out:
            raise too_many(lost)
        # One that has lost a picture is done again, so that the picture is named again.
        if parts and not any(picture.number in chunk.pictures for picture in lost):
            parts.write(chunk, posteriors)
        done.append((chunk, posteriors))
        count(len(chunk.pictures))
    whole = np.full((len(pictures), num_classes), np.nan)
    every_lost: list[Unreadable] = []
    for chunks, unreadable in world.gather((done, lost), advance):
        for chunk, posteriors in chunks:
            whole[list(chunk.pictures)] = posteriors
        every_lost += unreadable
    if len(every_lost) > leave_out:
        raise too_many(every_lost)
    return whole, every_lost
