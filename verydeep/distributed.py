"""torchrun's world: who I am among how many, and how we gather. A world of one is a world.

torchrun --nproc-per-node 4 -m verydeep evaluate MODEL DATA
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from verydeep.errors import ElsewhereError, UsageError, VerydeepError, number_from_environment, printable
from verydeep.interrupts import kernel_ends_with_parent

Item = TypeVar("Item")

MOST_PROCESSES = 10**6


@dataclass(frozen=True)
class World:
    """The processes that work together.

    Attributes:
        rank: this one's number.
        size: how many there are.
        local_size: how many there are on its machine, which share its memory.

    """

    rank: int = 0
    size: int = 1
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Choose the items of one process: each item is exactly one's, none is doubled to make shares even."""
        return items[self.rank :: self.size]

    def counting(self, advance: Callable[[int], None]) -> Callable[[int], None]:
        """What to call with the number of items that are finished here, so that `advance` counts them."""
        return advance

    def num_counted(self, count: int) -> int:
        """How many of `count` items a process counts in all: the largest share."""
        return -(-count // self.size)

    def gather(self, value: Item, advance: Callable[[int], None] = lambda count: None) -> list[Item]:
        """Every process's value, by rank, on the first process; nothing on the others.

        Args:
            value: this process's.
            advance: called with what others finish meanwhile, where they tell.

        """
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[Any] = [None] * self.size
        distributed.gather_object(value, values if self.first else None)
        return values if self.first else []

    def from_first(self, make: Callable[[], Item]) -> Item:
        """Let the first process make a value, and give it to all.

        Raises:
            ElsewhereError: here, where that has failed on the first process, which raises the error itself.

        """
        if self.size == 1:
            return make()
        from torch import distributed

        values: list[Any] = [None, False]
        try:
            if self.first:
                values[0] = make()
        except Exception:
            distributed.broadcast_object_list([None, True])
            raise
        distributed.broadcast_object_list(values)
        value, has_failed = values
        if has_failed:
            raise ElsewhereError("the first of the processes that work together could not go on; it says why")
        return value  # type: ignore[no-any-return]


@contextmanager
def world() -> Iterator[World]:
    """Join the world that torchrun has made, or be alone.

    Tensors in memory are exchanged by gloo, those on NVIDIA's GPUs by NCCL.
    """
    size = world_size()
    if size == 1:
        yield World()
        return
    _check_place(size)
    local_size, local_rank = local_world_size(), number_from_environment("LOCAL_RANK", 0, 0, size - 1)
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun is the parent
        kernel_ends_with_parent()
    import torch
    from torch import distributed

    backends = "gloo"
    if torch.cuda.is_available():
        if local_rank < torch.cuda.device_count():  # whoever wants a GPU each will say that there are fewer
            torch.cuda.set_device(local_rank)
        backends = "cpu:gloo,cuda:nccl"
    try:
        distributed.init_process_group(backends, **_store_after_restart())
    except distributed.DistError as error:
        reason = printable(str(error).splitlines()[0], 200)
        raise VerydeepError(f"the {size} processes of torchrun cannot connect to each other: {reason}") from None
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), local_size)
    finally:
        distributed.destroy_process_group()
        # DistributedDataParallel is in cycles of references and keeps the group. Its threads have to end before
        # the interpreter does: one of gloo's that gives back a tensor later ends the process with SIGABRT.
        gc.collect()


def world_size() -> int:
    """How many processes torchrun has started; 1 without it.

    Raises:
        UsageError: WORLD_SIZE is not a number of processes.

    """
    return number_from_environment("WORLD_SIZE", 1, 1, MOST_PROCESSES)


def local_world_size() -> int:
    """How many of them are on this machine.

    Raises:
        UsageError: LOCAL_WORLD_SIZE is not a number of processes.

    """
    return number_from_environment("LOCAL_WORLD_SIZE", 1, 1, MOST_PROCESSES)


def _check_place(size: int) -> None:
    """Make sure that torchrun has said which of its processes this is, and where they meet.

    Raises:
        UsageError: a variable is not set, or not a number that it may be.

    """
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise UsageError(
                f"WORLD_SIZE is {size}, and {name} is not set; start several processes by torchrun, or unset "
                "WORLD_SIZE"
            )
    number_from_environment("RANK", 0, 0, size - 1)
    number_from_environment("MASTER_PORT", 0, 0, 65535)


def _store_after_restart() -> dict[str, Any]:
    """Meet anew after torchrun has lost a process.

    Its store, in which the processes find each other, still has the addresses of those that are gone
    (github.com/pytorch/pytorch/issues/135712). On one machine the number of restarts tells old from new. Of
    several each counts its own, and TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 lets torchrun begin a new store.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if num_restarts() == 0 or not shared or os.environ.get("GROUP_WORLD_SIZE") != "1":
        return {}
    from torch import distributed

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(address, port, size, is_master=False)  # type: ignore[attr-defined]
    fresh = distributed.PrefixStore(f"restart {num_restarts()}", store)  # type: ignore[attr-defined]
    return {"store": fresh, "rank": rank, "world_size": size}


def launched_at() -> float | None:
    """When torchrun was started, which has started this process, in seconds as of `time.time`; None if unknown."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    try:
        statistics = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8", errors="replace")
        ticks = int(statistics.rpartition(")")[2].split()[19])
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        return int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def num_restarts() -> int:
    """How often torchrun has started this world again after it lost a process."""
    return number_from_environment("TORCHELASTIC_RESTART_COUNT", 0, 0, 10**9)
