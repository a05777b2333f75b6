"""What a run needs to go on exactly where it stopped; the only file that knows torch.save.

There are no states of random generators in it: whatever a step draws is a function of the seed and the step.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from verydeep.errors import TrainingError, printable, refusal
from verydeep.files import write_whole
from verydeep.notes import say
from verydeep.prefetch import starting_threads
from verydeep.run_folder import PREVIOUS_STATE, STATE
from verydeep.training.recipe import renamed
from verydeep.typed import as_type, is_plain, shown

MOST_VALUES = 1_000_000


@dataclass
class TrainingState:
    """A run between two steps.

    Attributes:
        step: the next step.
        facts: the recipe and the data's fingerprint, which must be the same to go on.
        network: weights and statistics.
        optimizer: momentum.
        schedule: of the rate.
        machine: processes and threads, on which the last bits of a sum depend.

    """

    step: int
    facts: dict[str, Any]
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    machine: dict[str, int]


def write_state(run: Path, state: TrainingState) -> None:
    """Write it, whole; the state that was there before is kept beside it.

    Raises:
        DiskError: it cannot be written.

    """

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            try:
                torch.save(vars(state), file)
            except RuntimeError as error:  # torch's words hide why
                raise error.__context__ if isinstance(error.__context__, OSError) else error from None

    write_whole(run / STATE, write, keep=run / PREVIOUS_STATE)


def read_state(run: Path, facts: dict[str, Any]) -> TrainingState:
    """Read the last state, or where that is damaged the one before, without running anything that it might bring.

    Args:
        run: its folder.
        facts: what the run is asked to resume with.

    Raises:
        TrainingError: there is none, both are damaged, or it is of another recipe or data.

    """
    damage = []
    for file in (run / STATE, run / PREVIOUS_STATE):
        try:
            state = _read(file)
        except FileNotFoundError:
            continue
        except PermissionError as error:  # the state before it is older
            raise TrainingError(refusal(file, "read", error)) from None
        except Exception as error:  # torch.load raises whatever the damage leads to
            damage.append(f"{file} cannot be read ({printable(error) or type(error).__name__})")
            continue
        _check(state, facts, file)
        if damage:
            say(f"{damage[0]}: resuming from {file}, the state before it")
        return state
    raise TrainingError("; ".join(damage) or f"{run} has no state to resume from")


def _read(file: Path) -> TrainingState:
    with zipfile.ZipFile(file) as archive:
        # As torch writes it: numbers that are not compressed, so that they take no more memory than the file.
        stored = {member.compress_type for member in archive.infolist()} <= {zipfile.ZIP_STORED}
        if not stored or sum(member.file_size for member in archive.infolist()) > file.stat().st_size:
            raise ValueError("it is not what PyTorch writes")
    fields = torch.load(file, map_location="cpu", weights_only=True)
    _check_end(fields)
    state: TrainingState = as_type(TrainingState, fields, "the state")
    recipe = as_type(dict[str, Any] | None, state.facts.get("recipe"), "its recipe") or {}
    for name, value in {**state.facts, **recipe, "recipe": None}.items():
        if not (is_plain(value) or (isinstance(value, list | tuple) and all(map(is_plain, value)))):
            raise ValueError(f"its {name} is {shown(value)}")
    counts = as_type(dict[str, int], {name: state.schedule.get(name) for name in ("bad_epochs", "divisions")})
    if min(state.step, *counts.values()) < 0 or type(state.schedule.get("best_error")) is not float:
        raise ValueError("it has no step, or no schedule")
    if not {"processes", "threads"} <= state.machine.keys():
        raise ValueError("it has no processes and threads")
    return state


def _check_end(value: Any) -> None:
    """Make sure that a value can be walked through: of lists that hold each other twice there is no end."""
    left, steps = [value], 0
    while left:
        one = left.pop()
        left += one.values() if isinstance(one, dict) else one if isinstance(one, list | tuple | set) else ()
        steps += 1
        if steps > MOST_VALUES:
            raise ValueError("it has too many values to be a run's state")


def restore(state: TrainingState, network: torch.nn.Module, optimizer: torch.optim.Optimizer, file: Path) -> None:
    """Give a network and its optimizer the weights and the momentum of a state.

    Raises:
        TrainingError: they belong to another network.

    """
    try:
        network.load_state_dict(state.network)
        optimizer.load_state_dict(state.optimizer)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                momentum = optimizer.state[parameter].get("momentum_buffer")
                if momentum is None:
                    continue
                if momentum.shape != parameter.shape:
                    raise ValueError(f"a momentum of shape {tuple(momentum.shape)}")
                # Laid out as the weights are, which the engine decides.
                optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum)
    except Exception as error:  # torch raises whatever does not fit leads to
        raise TrainingError(
            f"{file} is another network's ({printable(error) or type(error).__name__}); start a new run"
        ) from None


def _check(state: TrainingState, facts: dict[str, Any], file: Path) -> None:
    # A run may be asked for more epochs than it was begun with.
    epochs = {"epochs": facts.get("recipe", {}).get("epochs")}
    begun = {**state.facts, "recipe": renamed(state.facts.get("recipe") or {}) | epochs}
    for name, value in facts.items():
        before = begun.get(name)
        if isinstance(before, dict) and isinstance(value, dict) and before != value:
            name = next(key for key in {**before, **value} if before.get(key) != value.get(key))
            before, value = before.get(name), value.get(name)
        if before != value:
            raise TrainingError(
                f"{file}: this run was started with {printable(name)} {shown(before)}, not {shown(value)}; use "
                "the same, or start a new run"
            )


def copied(value: Any) -> Any:
    """Copy tensors, in dictionaries and lists of them, to memory that no step will change.

    Contiguous, so that who writes them has nothing to bring in order. A large copy in the thread that writes would
    start workers of torch that live as long as it does. With more threads than cores, OpenMP puts all to sleep
    after each operation: small networks trained half as fast.
    """
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {name: copied(item) for name, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


class Writer(ThreadPoolExecutor):
    """Writes files in a thread of its own, one job after another, so that no step waits for the disk.

    A context manager: leaving it waits for what is under way. A job that fails ends the run with the next call.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="writer")
        self._job: Future[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._job is not None and not self._job.done()

    def write(self, job: Callable[[], None]) -> None:
        """Start a job, after the one before has been done: no more than one copy of a state is in memory.

        Raises:
            DiskError: the one before failed.

        """
        self.wait()
        with starting_threads():
            self._job = self.submit(job)

    def wait(self) -> None:
        """Wait for the job that is under way.

        Raises:
            DiskError: it failed.

        """
        job, self._job = self._job, None
        if job is not None:
            job.result()
