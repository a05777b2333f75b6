"""torchrun's world: who I am among how many, and how we gather. A world of one is a world.

torchrun --nproc-per-node 4 -m verydeep evaluate MODEL DATA
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class World:
    """The processes that work together.

    Attributes:
        rank: this one's number.
        size: how many there are.

    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Choose the items of one process: each item is exactly one's, none is doubled to make shares even."""
        return items[self.rank :: self.size]

    def gather(self, value: Item) -> list[Item]:
        """Every process's value, by rank, on the first process; nothing on the others."""
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Item | None] = [None] * self.size
        distributed.gather_object(value, values if self.first else None)
        return [value for value in values if value is not None] if self.first else []


@contextmanager
def world() -> Iterator[World]:
    """Join the world that torchrun has made, or be alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    from torch import distributed

    distributed.init_process_group("gloo")
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
