"""Processes of this machine that share a piece of work: started here, heard through pipes, without torch.

The process that starts them is the first of their world, and works too.

    verydeep evaluate MODEL DATA --processes 4
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from verydeep.distributed import World, world, world_size
from verydeep.errors import UsageError, VerydeepError, check_least, lack_of_memory, of_system
from verydeep.interrupts import die_with_parent, held
from verydeep.lock import writing_file

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

Item = TypeVar("Item")

LEAST_LIMIT, PER_PROCESSOR = 16, 4
"""Processes that any machine may be asked for, and those for each of its processors."""

UNGUARDED = 77
"""Exit code of a process that runs the script which started it, and comes to this place again."""


@dataclass(frozen=True)
class Starter(World):
    """The first process's world.

    Attributes:
        pipes: from each of the others, by rank from 1 on.
        others: those processes.
        values: what the others have given so far, by rank.

    """

    pipes: dict[int, Connection] = field(default_factory=dict)
    others: dict[int, SpawnProcess] = field(default_factory=dict)
    values: dict[int, Any] = field(default_factory=dict)

    def counting(self, advance: Callable[[int], None]) -> Callable[[int], None]:
        """Count what the others have finished too, as far as is known; whoever is lost is noticed then."""

        def advance_all(count: int) -> None:
            advance(count)
            self._hear(advance, timeout=0)

        return advance_all

    def num_counted(self, count: int) -> int:
        """All of them."""
        return count

    def gather(self, value: Item, advance: Callable[[int], None] = lambda count: None) -> list[Item]:
        """Every process's value, by rank.

        Raises:
            VerydeepError: another process is lost, or could not do its work; the latter is its own error.

        """
        while len(self.values) < self.size - 1:
            self._hear(advance, timeout=None)
        return [value, *(self.values[rank] for rank in range(1, self.size))]

    def _hear(self, advance: Callable[[int], None], timeout: float | None) -> None:
        from multiprocessing.connection import wait  # not above: one process needs none of it

        waiting = {pipe: rank for rank, pipe in self.pipes.items() if rank not in self.values}
        for pipe in wait(list(waiting), timeout):
            rank = waiting[pipe]  # type: ignore[index]
            try:
                kind, content = self.pipes[rank].recv()
            except (EOFError, ConnectionError):
                raise VerydeepError(self._lost(rank)) from None
            if kind == "error":
                raise content
            if kind == "count":
                advance(content)
            else:
                self.values[rank] = content

    def _lost(self, rank: int) -> str:
        self.others[rank].join()
        code = self.others[rank].exitcode or 0
        if code == UNGUARDED:
            return (
                "a script that asks for several processes is run by each of them: put what it does under "
                '`if __name__ == "__main__":`, or leave `processes` out'
            )
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return (
            f"process {rank + 1} of {self.size} {how} before it finished its share (out of memory?); try fewer "
            "processes"
        )


@dataclass(frozen=True)
class Started(World):
    """The world of a process that another has started.

    Attributes:
        pipe: to the first.

    """

    pipe: Connection | None = None

    def counting(self, advance: Callable[[int], None]) -> Callable[[int], None]:
        """Let the first process count."""
        return lambda count: self._tell("count", count)

    def gather(self, value: Item, advance: Callable[[int], None] = lambda count: None) -> list[Item]:
        """Give the value to the first process."""
        self._tell("value", value)
        return []

    def _tell(self, kind: str, content: object) -> None:
        assert self.pipe
        self.pipe.send((kind, content))


@contextmanager
def shared(
    processes: int,
    work: Callable[[World], object],
    out: Path | None,
    most: int | None = None,
    *,
    writing: Callable[[Path], AbstractContextManager[object]] = writing_file,
) -> Iterator[World]:
    """The world of a piece of work: torchrun's, or that of the processes that are started here.

    Args:
        processes: as of `start_processes`; 1 leaves it to torchrun.
        most: processes that there is work for; no more are started.
        work: likewise.
        out: file or folder that the work makes; no other process makes it meanwhile.
        writing: the lock of it, of `verydeep.lock`.

    Raises:
        UsageError: as `start_processes`.
        BusyError: another process makes the file.

    """
    if processes != 1:
        _end_if_unguarded()
    if most is not None:
        processes = max(1, min(processes, most))
    with ExitStack() as stack:

        def lock() -> None:
            if out:
                stack.enter_context(writing(out))

        if processes == 1:
            here = stack.enter_context(world())
            here.from_first(lock)  # before any of them begins
        else:
            lock()
            here = stack.enter_context(start_processes(processes, work))
        yield here


def check_processes(count: int, name: str = "processes", least: int = 1) -> None:
    """Make sure that a number of processes is one that this machine can use.

    Raises:
        UsageError: it is too small, or several times the number of processors.

    """
    check_least(name, count, least)
    processors = os.cpu_count() or 1
    most = max(LEAST_LIMIT, PER_PROCESSOR * processors)
    if count > most:
        raise UsageError(f"`{name}` is {count}; this machine has {processors} processors: use at most {most}")


def _end_if_unguarded() -> None:
    """End a process that was started only now, and has come here by importing its parent's script."""
    import multiprocessing

    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(UNGUARDED)  # the parent says why


@contextmanager
def start_processes(count: int, work: Callable[[World], object]) -> Iterator[World]:
    """Start all processes but the first, which is this one; none is left when the context ends.

    Each has its part of the processors, unless VERYDEEP_THREADS, or for torch OMP_NUM_THREADS, says how many.

    Args:
        count: of processes, this one among them.
        work: what the others do with their world; it must be importable.

    Raises:
        UsageError: torchrun has started several processes already.

    """
    import multiprocessing
    from multiprocessing import resource_tracker

    if world_size() > 1:
        raise UsageError("torchrun has already started several processes; leave `processes` out")
    # Started now, as it lets Ctrl-C through again when it starts, which the first of the others would then hear.
    resource_tracker.ensure_running()
    context = multiprocessing.get_context("spawn")
    pipes: dict[int, Connection] = {}
    others: dict[int, SpawnProcess] = {}
    with _threads_each(count):
        try:
            for rank in range(1, count):
                pipes[rank], theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(work, rank, count, theirs), daemon=True)
                # Signals come to this one, and it ends the others.
                with held(signal.SIGINT, signal.SIGTERM), _starting(rank, count):
                    process.start()
                    others[rank] = process
                theirs.close()  # so that the pipe ends with the process
            yield Starter(0, count, count, pipes=pipes, others=others)
        finally:
            for process in others.values():
                process.kill()
                process.join()


def _work(work: Callable[[World], object], rank: int, size: int, pipe: Connection) -> None:
    die_with_parent()
    os.environ["RANK"] = str(rank)  # so that the first alone speaks
    try:
        try:
            work(Started(rank, size, size, pipe=pipe))
        except VerydeepError as error:
            pipe.send(("error", error))
        except OSError as error:
            pipe.send(("error", VerydeepError(of_system(error))))
        except (MemoryError, RuntimeError, ImportError) as error:
            lack = lack_of_memory(error)
            if lack is None:
                raise
            pipe.send(("error", lack))
    except BrokenPipeError:
        pass  # the first is gone, and nobody waits for this


@contextmanager
def _starting(rank: int, size: int) -> Iterator[None]:
    """Say that a process cannot be started."""
    try:
        yield
    except OSError as error:
        raise VerydeepError(
            f"process {rank + 1} of {size} cannot be started: {error.strerror or error}; try fewer processes, or "
            "raise their limit (ulimit -u)"
        ) from None


@contextmanager
def _threads_each(count: int) -> Iterator[None]:
    """Tell the engines, as torchrun would: ours by the number of processes, torch by its threads."""
    from verydeep.processor import num_threads

    told = {"OMP_NUM_THREADS": str(max(1, num_threads() // count)), "LOCAL_WORLD_SIZE": str(count)}
    told = {name: value for name, value in told.items() if name not in os.environ}
    os.environ.update(told)
    try:
        yield
    finally:
        for name in told:
            os.environ.pop(name, None)
