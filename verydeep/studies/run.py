"""A workflow -> its results: each step is a process of its own, one after the other.

A step that fails ends neither the study nor the steps that do not need it. A study that is ended goes on by the
same command: trainings from their last saved state, tests from their last finished images.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from verydeep.errors import UsageError, VerydeepError
from verydeep.files import make_folder
from verydeep.interrupts import kernel_ends_with_parent, passed_on
from verydeep.processes import check_processes
from verydeep.reports.runs import duration
from verydeep.reports.watched import WatchedRun, open_run
from verydeep.run_folder import provenance
from verydeep.studies.cost import Cost, Rates, cost
from verydeep.studies.description import Size
from verydeep.studies.outcomes import read_outcomes, refuse_mixture
from verydeep.studies.progress import Progress
from verydeep.studies.state import LOGS, Ledger, State, fingerprints, prepare, refuse_others, states
from verydeep.studies.workflow import Step, Workflow

LOOK_SECONDS = 1.0  # between two looks at a training's journal


@dataclass(frozen=True)
class Launch:
    """How a step's process is started.

    Attributes:
        processes: of this machine, for each step.
        words: before `-m verydeep ...`, such as torchrun's, which start a step's processes wherever they run.

    Raises:
        UsageError: both are given.

    """

    processes: int = 1
    words: str = ""

    def __post_init__(self) -> None:
        check_processes(self.processes)
        if self.processes > 1 and self.words:
            raise UsageError(
                "`processes` and `launch` cannot be combined: `launch` decides the number of processes"
            )
        try:
            shlex.split(self.words)
        except ValueError as error:
            raise UsageError(f"`launch` {self.words!r} is not a command: {error}") from None

    def command(self, step: Step, words: Sequence[str]) -> list[str]:
        """The whole command of a step, whose words follow `verydeep`."""
        if self.words and step.kind != "fuse":
            return [*shlex.split(self.words), "-m", "verydeep", *words]
        if self.processes > 1 and step.kind == "train":
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            return [*torchrun, "--nproc-per-node", str(self.processes), "-m", "verydeep", *words]
        more = ["--processes", str(self.processes)] if self.processes > 1 and step.kind == "test" else []
        return [sys.executable, "-m", "verydeep", *words, *more]


@dataclass
class StudyRun:
    """A study that is being carried out.

    Attributes:
        workflow: what is to be done.
        out: where.
        data: of which data.
        size: of the data, for the time left; None where it is not known.
        rates: of this machine.
        launch: how steps are started.
        images: fingerprint of the data's training images; None where it is not known.

    """

    workflow: Workflow
    out: Path
    data: str
    size: Size | None
    rates: Rates
    launch: Launch = field(default_factory=Launch)
    images: str | None = None

    def __post_init__(self) -> None:
        self._interrupted = threading.Event()
        self._watched: WatchedRun | None = None
        self.prints = fingerprints(self.workflow, self.data)
        self.ledger = Ledger(self.out)
        known = read_outcomes(self.workflow, self.out)
        self.states: dict[str, State] = states(self.workflow, self.out, self.prints, self.ledger, known)
        refuse_others(self.workflow, self.out, self.prints, self.ledger, self.states)
        refuse_mixture(self.workflow, self.out, known, (self.data, self.images) if self.images else None)
        self.costs: dict[str, Cost] = {}
        if self.size:
            self.costs = {step.name: cost(step, self.size) for step in self.workflow.steps.values()}
        for step in self.workflow.steps.values():
            if self.states[step.name] == "done":
                self._learn(step)

    def seconds(self, step: Step) -> float | None:
        """How long a step takes, where that can be told."""
        return self.rates.seconds(step, self.costs[step.name]) if self.costs else None

    def left(self, running: Step | None = None, remaining: float | None = None) -> float | None:
        """Seconds until all is done; of the step that is running, so many are left."""
        if not self.costs:
            return None
        to_do = [step for step in self.workflow.steps.values() if self.states[step.name] != "done"]
        if remaining is not None:
            to_do = [step for step in to_do if step is not running]
        return sum(self.rates.seconds(step, self.costs[step.name]) for step in to_do) + (remaining or 0.0)

    def __str__(self) -> str:
        """How much there is to do, in a sentence."""
        count, left = sum(state != "done" for state in self.states.values()), self.left()
        time_left = f", about {duration(left)}" if left is not None else ""
        return f"{len(self.states)} steps, {count} to do{time_left}"

    def run(self, progress: Progress, held: int | None) -> dict[str, str]:
        """Do all that is not done; give the steps that failed, and why.

        Args:
            progress: is told how it goes.
            held: descriptor of the lock on the study's folder, which each step holds too.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; what was running has saved its state.

        """
        failed: dict[str, str] = {}
        for number, step in enumerate(self.workflow.steps.values(), 1):
            if self.states[step.name] == "done":
                continue
            lost = next((name for name in self.workflow.ancestors(step.name) if name in failed), None)
            if lost:
                failed[step.name] = f"it needs {lost}"
                continue
            progress.begin(number, step, self.left())
            problem, seconds = self._do(step, progress, held)
            progress.end(step, seconds, problem)
            if problem:
                failed[step.name] = problem
            if self._interrupted.is_set():
                raise KeyboardInterrupt
        return failed

    def _do(self, step: Step, progress: Progress, held: int | None) -> tuple[str, float]:
        """Run a step; give what went wrong, or an empty text, and the seconds it took."""
        words = step.command(self.data, self.out)
        if prepare(step, self.out, self.states[step.name]):
            words = [*words[:3], "--resume"]
        shown, fingerprint = step.shown(self.data, self.out), self.prints[step.name]
        self.ledger.add("begun", step, fingerprint, command=shown)
        log = self.out / LOGS / (step.name.replace("/", "-") + ".txt")
        make_folder(log.parent)
        start = time.monotonic()
        with log.open("ab") as output:
            code = self._wait(step, self.launch.command(step, words), output.fileno(), progress, held)
        seconds, made = time.monotonic() - start, datetime.now(UTC).isoformat(timespec="seconds")
        facts = {
            "command": shown,
            "seconds": round(seconds, 3),
            "made": made,
            "commit": provenance()["commit"],
        }
        if code and self._interrupted.is_set():
            raise KeyboardInterrupt
        if code:
            self.ledger.add("failed", step, fingerprint, exit_code=code, **facts)
            return f"{_last_line(log, code)} (all that it printed: {log})", seconds
        self.ledger.add("finished", step, fingerprint, **facts)
        self.states[step.name] = "done"
        self._learn(step)
        return "", seconds

    def _wait(self, step: Step, command: list[str], output: int, progress: Progress, held: int | None) -> int:
        """Start a step's process and look at it until it ends."""
        started: list[subprocess.Popen[bytes]] = []

        def send(number: int) -> None:
            self._interrupted.set()
            for process in started:
                process.send_signal(number)

        # A group of its own: a signal to the study's group comes to the study alone, which passes it on, once.
        with passed_on(send):
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=() if held is None else (held,),
                    process_group=0,
                    preexec_fn=kernel_ends_with_parent,
                )
            except OSError as error:
                raise VerydeepError(f"{command[0]} cannot be started: {error.strerror}; see `launch`") from None
            started.append(process)
            if self._interrupted.is_set():  # before there was a process to send it to
                process.terminate()
            try:
                while process.poll() is None:
                    try:
                        process.wait(LOOK_SECONDS)
                    except subprocess.TimeoutExpired:
                        self._look(step, progress)
            finally:
                process.kill()
        return process.wait()

    def _look(self, step: Step, progress: Progress) -> None:
        """Tell how far all has come, by the journal of the training that is running."""
        left = self.left(step, self._seconds_left(self.out / step.name) if step.kind == "train" else None)
        if left is None:
            share = sum(state == "done" for state in self.states.values()) / len(self.states)
        else:
            steps = self.workflow.steps.values()
            share = max(0.0, 1 - left / sum(self.rates.seconds(one, self.costs[one.name]) for one in steps))
        progress.show(share, left)

    def _seconds_left(self, run: Path) -> float | None:
        """What is left of a training, where its journal tells."""
        try:
            if self._watched is None or self._watched.run != str(run):
                self._watched = open_run(run)
            self._watched.numbers.read()
            return self._watched.headline().seconds_left
        except (VerydeepError, OSError):
            return None

    def _learn(self, step: Step) -> None:
        """Learn from the time that a step took, unless a part of it is not known: it was killed."""
        events = [record["event"] for record in self.ledger.records if record.get("step") == step.name]
        seconds = self.ledger.seconds(step, self.prints[step.name])
        if self.costs and seconds and 2 * events.count("begun") == len(events):
            self.rates.learn(step, self.costs[step.name], seconds)


def _last_line(log: Path, code: int) -> str:
    """What a step said last, which tells why it failed."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it printed nothing"]
    ended = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"ended with {ended}: {lines[-1].strip().removeprefix('verydeep: ')}"
