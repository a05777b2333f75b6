"""One test, shared out among processes and kept chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from verydeep.distributed import World
from verydeep.evaluation.evaluate import Member, check_together, score_chunks
from verydeep.evaluation.parts import Parts
from verydeep.evaluation.plan import Chunk, make_plan
from verydeep.evaluation.posterior import Posteriors
from verydeep.images.pictures import Pictures


def evaluate_shared(
    members: Sequence[Member],
    pictures: Pictures,
    world: World,
    parts: Parts | None,
    *,
    batch_size: int,
    advance: Callable[[int], None] = lambda count: None,
) -> Posteriors:
    """Posteriors of each picture, as `evaluate`; whole on the first process, as far as done here on the others.

    Args:
        members: one for each network.
        pictures: the same on every process.
        world: the processes, of which each takes chunks of the one plan.
        parts: where finished chunks are kept, and those of an interrupted test are found; None keeps nothing.
        batch_size: the most pictures of one shape that are shown at once.
        advance: called with the number of pictures that have been finished, here or wherever the world hears of.

    Raises:
        UsageError, PictureError: as `evaluate`.
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
    for chunk, posteriors in score_chunks(members, pictures, to_do, batch_size):
        if parts:
            parts.write(chunk, posteriors)
        done.append((chunk, posteriors))
        count(len(chunk.pictures))
    whole = np.full((len(pictures), num_classes), np.nan)
    for process in world.gather(done, advance):
        for chunk, posteriors in process:
            whole[list(chunk.pictures)] = posteriors
    return whole
