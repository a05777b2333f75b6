"""The parent of the engines' processes: only one of them computes at any time, and they take turns.

An engine that is not at its turn is stopped (SIGSTOP). So no thread that spins while it waits takes time from
another's, and each engine keeps the waiting that its makers have chosen for it.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import numpy as np

from verydeep.benchmark.engines import Engine
from verydeep.benchmark.task import Task
from verydeep.errors import VerydeepError


class EngineError(Exception):
    """An engine could not do what was asked; the message says why, in the engine's words."""


class Process:
    """A process that works for us, and is stopped while it has nothing to do.

    Args:
        task: file of the task.
        name: an engine's, or a piece of work's.
        threads: that it may use.
        errors: where its standard error goes.

    """

    def __init__(self, task: Path, name: str, threads: int, errors: IO[bytes]) -> None:
        # Libraries that count cores for themselves, such as NumPy's, are told here.
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "verydeep.benchmark.child", str(task), name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )

    def hear(self) -> dict[str, Any]:
        """Wait for an answer.

        Raises:
            EngineError: it says that it failed, or has ended.

        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise EngineError(f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise EngineError(answer["failed"])
        self._process.send_signal(signal.SIGSTOP)
        return answer

    def ask(self, **request: Any) -> dict[str, Any]:
        """Let it work.

        Raises:
            EngineError: as `hear`.

        """
        assert self._process.stdin
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which `hear` tells
        return self.hear()

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.communicate()


@dataclass
class Timing:
    """What was measured of an engine in one case.

    Attributes:
        seconds: that the case took, in each round.
        error: relative L2 error of the class scores against float64.
        peak_memory: most bytes that the process has had in memory, loading included.

    """

    seconds: list[float] = field(default_factory=list)
    error: float = float("nan")
    peak_memory: int = 0

    @property
    def median(self) -> float:
        """Median of the rounds' seconds."""
        return statistics.median(self.seconds)


@dataclass
class Measurements:
    """Everything that was measured.

    Attributes:
        timings: of each engine by name, a case each.
        opening: seconds that each engine took to load the model, and to compile what it compiles.
        failed: engines that could not be measured, and why.
        peak: multiplications and additions a second that the machine does at best, by precision.

    """

    timings: dict[str, list[Timing]] = field(default_factory=dict)
    opening: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)

    def ratio(self, name: str, base: str, case: int) -> float:
        """How many times as fast as the base an engine is: the median of the ratios within each round."""
        one, other = self.timings[name][case].seconds, self.timings[base][case].seconds
        return statistics.median(theirs / ours for ours, theirs in zip(one, other, strict=True))


class Processes:
    """Processes of all engines of a task; a context manager that ends them.

    Args:
        task: what they are given.
        engines: which.
        advance: called with 1 after each piece of work; there are `num_pieces`.

    """

    def __init__(self, task: Task, engines: Sequence[Engine], advance: Callable[[int], None]) -> None:
        self._task, self._engines, self._advance = task, engines, advance
        self._file = task.write()
        self._errors = (task.folder / "errors.txt").open("wb")
        self._running: dict[str, Process] = {}
        self.measured = Measurements()

    @staticmethod
    def num_pieces(engines: Sequence[Engine], num_cases: int, rounds: int) -> int:
        """How many pieces of work there are: what is made beforehand, opening, scoring, and each turn."""
        return 4 + len(engines) * (1 + num_cases + num_cases * rounds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._running.values():
            process.end()
        self._errors.close()

    def measure(self, rounds: int, seconds: float) -> Measurements:
        """Measure.

        Args:
            rounds: turns of each engine in each case.
            seconds: that a turn lasts at least.

        Raises:
            VerydeepError: the reference could not be computed, or every engine failed.

        """
        try:
            self._once("reference")
            self.measured.peak = self._once("peak")
        except EngineError as error:
            raise VerydeepError(f"what engines are compared with could not be measured: {error}") from None
        self._prepare()
        for engine in self._engines:
            self._open(engine)
        cases = range(len(self._task.cases))
        for case in cases:
            for engine in self._engines:
                self._score(engine, case)
        for case in cases:
            for number in range(rounds):
                # There and back, so that none always follows the same other.
                for engine in self._engines[:: 1 if number % 2 == 0 else -1]:
                    self._turn(engine, case, seconds)
        if not self._running:
            name, reason = next(iter(self.measured.failed.items()))
            raise VerydeepError(f"no engine could be measured; {name}: {reason}")
        self.measured.timings = {name: self.measured.timings[name] for name in self._running}
        return self.measured

    def _prepare(self) -> None:
        """Export the network for the engines that read it from a file; those fail where that fails."""
        for work, forms in (("export", ("onnx", "quantized")), ("quantize", ("quantized",))):
            waiting = [
                engine.name
                for engine in self._engines
                if engine.reads in forms and engine.name not in self.measured.failed
            ]
            if not waiting:
                self._advance(1)
                continue
            try:
                self._once(work)
            except EngineError as error:
                failed = dict.fromkeys(waiting, f"the network could not be made ready: {error}")
                self.measured.failed.update(failed)

    def _once(self, work: str) -> Any:
        """Do a piece of work in a process of its own."""
        process = Process(self._file, work, self._task.threads, self._errors)
        try:
            return process.hear()["done"]
        finally:
            process.end()
            self._advance(1)

    def _open(self, engine: Engine) -> None:
        self._advance(1)
        if engine.name in self.measured.failed:
            return
        process = Process(self._file, engine.name, self._task.threads, self._errors)
        self._running[engine.name] = process
        self.measured.timings[engine.name] = [Timing() for _ in self._task.cases]
        try:
            self.measured.opening[engine.name] = process.hear()["seconds"]
        except EngineError as error:
            self._give_up(engine, error)

    def _score(self, engine: Engine, case: int) -> None:
        """Compare what it answers with float64; its first call of a shape also makes it ready for that shape."""
        file = self._task.folder / "scores.npy"
        if self._ask(engine, case=case, scores=str(file)):
            exact = np.load(self._task.folder / f"reference-{case}.npy")
            difference = np.linalg.norm(np.load(file) - exact) / np.linalg.norm(exact)
            self.measured.timings[engine.name][case].error = float(difference)

    def _turn(self, engine: Engine, case: int, seconds: float) -> None:
        answer = self._ask(engine, case=case, seconds=seconds)
        if answer:
            timing = self.measured.timings[engine.name][case]
            timing.seconds.append(answer["seconds"])
            timing.peak_memory = answer["peak_memory"]

    def _ask(self, engine: Engine, **request: Any) -> dict[str, Any] | None:
        """What an engine's process answers; None where it has failed, now or before."""
        self._advance(1)
        if engine.name not in self._running:
            return None
        try:
            return self._running[engine.name].ask(**request)
        except EngineError as error:
            self._give_up(engine, error)
            return None

    def _give_up(self, engine: Engine, error: EngineError) -> None:
        self._running.pop(engine.name).end()
        self.measured.failed[engine.name] = str(error)
