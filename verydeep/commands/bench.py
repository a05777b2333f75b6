"""`verydeep bench`: our engines beside the other ones that are installed, on this machine."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.bench.engines import NAMES, Engine, choose
from verydeep.commands.progress import json_line, progress, say
from verydeep.configurations import Architecture
from verydeep.engines.processor import num_threads
from verydeep.errors import UsageError
from verydeep.run_folder import read_config, write_model
from verydeep.weights.opening import is_ours, open_source
from verydeep.weights.source import locate, with_network

if TYPE_CHECKING:
    from verydeep.bench.measure import Measured
    from verydeep.bench.task import Task

BATCH_SIZES = (1, 16)


@dataclass
class Bench:
    """Measure how fast and how exact engines are, side by side.

    Each engine lives in a process of its own and they take turns; one that waits is stopped. Others are given
    pictures that are preprocessed already, ours take bytes. Shown are medians over the rounds, ratios within each
    round, the relative L2 error of the class scores against float64, the process's peak memory from its start, and
    the operations of direct convolution as a share of this machine's fastest matrix product in the same precision.
    """

    model: Annotated[Positional[Path | None], tyro.conf.arg(metavar="[MODEL]")] = None
    """A run folder, or weights of one; `cifar10`, which comes along; or another library's, a file or a name.
    Without it a network with random weights."""
    config: str = "D"
    """Without MODEL: column of Table 1."""
    width: float = 1.0
    """Without MODEL: factor on the number of channels of every layer."""
    num_classes: int = 1000
    """Without MODEL: number of classes."""
    image_size: int = 224
    """Without MODEL: side of the network's window, in pixels; a multiple of 32."""
    batch_norm: FlagCreatePairsOff[bool] = False
    """Without MODEL: batch normalisation after each convolution."""
    batch_sizes: tuple[int, ...] = ()
    """Pictures shown at once; by default 1 and 16."""
    size: tuple[int, int] | None = None
    """Height and width of the pictures; by default the network's window."""
    dense: tuple[int, ...] = ()
    """Q, one or several: show whole pictures, each in its own shape, with its mirror image, as the paper's test
    does. Engines are not told the shapes beforehand."""
    pictures: Path | None = None
    """Folder of photographs to show; by default scikit-learn's two, or noise where it is not installed."""
    num_pictures: int = 4
    """How many pictures of the folder are shown by --dense."""
    engines: tuple[str, ...] = ()
    """Engines to measure; by default all that are installed."""
    exclude: tuple[str, ...] = ()
    """Engines to leave out."""
    base: str | None = None
    """Engine that ratios are to; by default torch, or else the first that was measured."""
    threads: int | None = None
    """Threads of each engine; by default as many as there are processors."""
    rounds: int = 5
    """Turns of each engine."""
    seconds: float = 0.5
    """A turn lasts so long, and two calls, at least; its first call is not counted."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""
    markdown: FlagCreatePairsOff[bool] = False
    """Print the table as Markdown."""
    chart: Path | None = None
    """Draw a chart into this .png or .svg file."""

    def __post_init__(self) -> None:
        if self.model:
            self.model = Path(with_network(self.model, self.tensors))

    def run(self) -> None:
        """Measure, and print what comes out."""
        from verydeep.bench import table
        from verydeep.bench.chart import check_chart, write_chart

        self._check()
        check_chart(self.chart)
        chosen = choose(self.engines, self.exclude)
        base = self._base(chosen)
        installed = [engine for engine in chosen if not engine.missing]
        if not installed:
            raise UsageError(f"none of the engines is there; {chosen[0].name}: {chosen[0].absence}")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no gigabyte of networks behind
        with tempfile.TemporaryDirectory(prefix="verydeep-bench-") as folder:
            task, shown = self._task(Path(folder))
            measured = self._measure(task, installed)
        if base not in measured.figures:
            base = next(iter(measured.figures))
        rows = table.rows(measured, task, base)
        title = f"{shown['network']}, {shown['threads']} threads, {shown['processor']}"
        if self.chart:
            write_chart(self.chart, rows, title, base)
        missing = {engine.name: engine.absence for engine in chosen if engine.missing}
        if self.json:
            facts = {**shown, "base": base, "rounds": self.rounds, "peak": measured.peak}
            facts |= {"not_installed": missing, "failed": measured.failed, "rows": rows}
            print(json_line(facts))
            return
        if self.markdown:
            print(table.markdown(rows, base))
        else:
            from rich.console import Console

            console = Console(highlight=False, width=None if Console().is_terminal else 120)
            console.print(table.rich_table(rows, title, base))
        self._tell(shown, measured, missing)

    def _check(self) -> None:
        if self.rounds < 1 or self.num_pictures < 1:
            raise UsageError("--rounds and --num-pictures have to be at least 1")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads is {self.threads}; it has to be at least 1")
        if min(self.batch_sizes, default=1) < 1 or len(set(self.batch_sizes)) < len(self.batch_sizes):
            raise UsageError("--batch-sizes wants different numbers of at least 1")
        if self.dense and (self.size or self.batch_sizes):
            raise UsageError(
                "--dense shows one picture at a time, in its own shape, and excludes --size and --batch-sizes"
            )
        if self.json and self.markdown:
            raise UsageError("--json and --markdown exclude each other; choose one of them")
        if not hasattr(os, "fork"):
            raise UsageError("bench stops and continues processes, which this system cannot do")

    def _base(self, chosen: list[Engine]) -> str:
        """The engine that ratios are to, if it can be measured."""
        if self.base is None:
            return "torch"
        if self.base not in [engine.name for engine in chosen if not engine.missing]:
            there = ", ".join(engine.name for engine in chosen if not engine.missing)
            reason = "is not among the engines to measure" if self.base in NAMES else "is no engine"
            raise UsageError(f"--base {self.base} {reason}; there are {there}")
        return self.base

    def _task(self, folder: Path) -> tuple[Task, dict[str, Any]]:
        """Lay out what the engines are given, and what is told about it."""
        import numpy as np

        from verydeep.bench.task import Task, batch_cases, dense_cases, find_pictures, random_model
        from verydeep.run_folder import processor_name

        if self.model is None:
            architecture = Architecture(
                self.config, self.num_classes, self.width, self.image_size, self.batch_norm
            )
            run = folder / "model"
            write_model(run, *random_model(architecture))
            weights = "He-initialised"
        else:
            run, weights = locate(self.model).path, str(self.model)
            if not is_ours(run):  # read once, so that each engine opens a run folder
                run = folder / "model"
                write_model(run, *open_source(self.model))
            architecture = read_config(run).architecture
        batch_sizes = self.batch_sizes or BATCH_SIZES
        count = self.num_pictures if self.dense else max(batch_sizes)
        pictures, source = find_pictures(self.pictures, count)
        if self.dense:
            cases, pixels = dense_cases(architecture, pictures, self.dense)
        else:
            size = self.size or (architecture.image_size, architecture.image_size)
            cases, pixels = batch_cases(architecture, pictures, batch_sizes, *size)
        for number, calls in enumerate(pixels):
            for call, batch in enumerate(calls):
                np.save(folder / f"{number}-{call}.npy", batch)
        threads = self.threads or num_threads()
        where = "whole pictures" if self.dense else "{}x{}".format(*cases[0].batches[0][1:3])
        width = "" if architecture.width == 1 else f" at width {architecture.width:g}"
        facts = {
            "network": f"{architecture.configuration}{width}, {where}",
            "weights": weights,
            "pictures": source,
            "threads": threads,
            "processor": processor_name(),
        }
        return Task(folder, run, threads, bool(self.dense), cases), facts

    def _measure(self, task: Task, engines: list[Engine]) -> Measured:
        from verydeep.bench import measure

        pieces = measure.Bench.num_pieces(engines, len(task.cases), self.rounds)
        with (
            progress("measuring", pieces, "pieces") as advance,
            measure.Bench(task, engines, advance) as bench,
        ):
            return bench.run(self.rounds, self.seconds)

    def _tell(self, shown: dict[str, Any], measured: Measured, missing: dict[str, str]) -> None:
        """Say on standard error what the table does not."""
        peaks = ", ".join(f"{name} {peak / 1e9:,.0f} GFLOP/s" for name, peak in measured.peak.items())
        say(f"weights: {shown['weights']}; pictures: {shown['pictures']}; peak: {peaks or 'unknown'}")
        for name, absence in missing.items():
            say(f"{name}: not measured: {absence}")
        for name, reason in measured.failed.items():
            say(f"{name}: failed: {reason}")
