"""`verydeep.bench`: our engines beside the other ones that are installed, on this machine."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from verydeep.arguments import checked
from verydeep.benchmark.chart import check_chart, write_chart
from verydeep.benchmark.engines import ENGINES, Engine, choose
from verydeep.benchmark.measure import Measurements, Processes
from verydeep.benchmark.table import make_rows, text_table
from verydeep.benchmark.task import Task, batch_cases, dense_cases, find_images, random_model
from verydeep.configurations import Architecture, refuse_settings
from verydeep.errors import UsageError, check_least
from verydeep.files import check_out, write_text
from verydeep.notes import progress, say
from verydeep.plan import check_scale
from verydeep.processor import num_threads
from verydeep.reports.text_table import TextTable
from verydeep.results import Result, rendered
from verydeep.run_folder import processor_name, read_config, write_model
from verydeep.weights.opening import is_ours, open_source
from verydeep.weights.source import locate, with_network

BATCH_SIZES = (1,)


@dataclass(frozen=True, repr=False)
class Benchmark(Result):
    """Engines side by side.

    Attributes:
        facts: the network, its weights, the images, threads and processor, by name.
        base: the engine that ratios are to.
        rounds: turns of each engine.
        rows: one for each case and engine, as `verydeep.benchmark.table` describes them.
        peak: multiplications and additions a second that the machine does at best, by precision.
        not_installed: engines that are not there, and why.
        failed: engines that could not be measured, and why.

    """

    facts: Mapping[str, Any]
    base: str
    rounds: int
    rows: Sequence[dict[str, Any]]
    peak: Mapping[str, float]
    not_installed: Mapping[str, str]
    failed: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The facts beside each other, and the rest by its name."""
        rest = {name: value for name, value in vars(self).items() if name != "facts"}
        return {**self.facts, **rest}

    @property
    def title(self) -> str:
        """What was measured, and where."""
        return f"{self.facts['network']}, {self.facts['threads']} threads, {self.facts['processor']}"

    @property
    def table(self) -> TextTable:
        """The rows as text."""
        return text_table(self.rows, self.title, self.base)

    def __str__(self) -> str:
        return rendered(self.table.rich())

    def _repr_html_(self) -> str:
        return self.table.html()


@checked
def bench(
    model: str | PathLike[str] | None = None,
    *,
    config: str | None = None,
    width: float | None = None,
    num_classes: int | None = None,
    window: int | None = None,
    batch_norm: bool = False,
    batch_sizes: Sequence[int] = (),
    size: tuple[int, int] | None = None,
    dense: Sequence[int] = (),
    images: str | PathLike[str] | None = None,
    num_images: int = 4,
    engines: Sequence[str] = (),
    exclude: Sequence[str] = (),
    base: str | None = None,
    threads: int | None = None,
    rounds: int = 5,
    seconds: float = 0.5,
    tensors: str | None = None,
    chart: str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
) -> Benchmark:
    """Compare the speed and accuracy of engines.

    Each engine runs in its own process. They take turns; the others are stopped meanwhile. Other engines
    get preprocessed images, ours get bytes. The table shows medians over the rounds, ratios within each round, the
    relative L2 error of the class scores against float64, and the process's peak memory. It also shows the
    operations of direct convolution as a share of the most that this machine computes in the same precision.

    By default four engines are shown one image at a time, which takes a minute or two.

    Args:
        model: a run folder or weights in one; a bundled one, `cifar10` or `tiny-imagenet`; or another library's
            weights, a file or a name such as torchvision:vgg16 (default: a network with random weights).
        config: without a model: column of Table 1: A, A-LRN, B, C, D or E; or B-5x5, which is B with one 5x5 layer
            for each pair (default: D).
        width: without a model: factor on the number of channels of every layer (default: 1).
        num_classes: without a model: number of classes (default: 1000).
        window: without a model: side of the network's input in training, in pixels; a multiple of 32
            (default: 224).
        batch_norm: without a model: batch normalization after each convolution.
        batch_sizes: images in a batch, one size or several (default: 1).
        size: height and width of the images (default: the network's window).
        dense: Q, one or several: show whole images, each in its own shape, with its mirror image, as the paper's
            test does. Engines are not told the shapes beforehand.
        images: folder of photographs to show (default: the two of scikit-learn, or noise where it is not
            installed).
        num_images: number of the folder's images that `dense` shows.
        engines: engines to measure (default: verydeep, torch, onnxruntime and openvino, where they are installed);
            all is every one.
        exclude: engines to leave out.
        base: engine that ratios are to (default: torch, or else the first that was measured).
        threads: CPU threads of each engine (default: one for each core that it may use).
        rounds: turns of each engine.
        seconds: least length of a turn; it has at least two calls, and its first call is not counted.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        chart: .png or .svg file for a chart.
        out: .md file for the table.

    Raises:
        UsageError: the request cannot be carried out.
        ModelError: there is no such model.
        ImageError: there is no such image.
        VerydeepError: no engine could be measured.

    """
    _check(rounds, seconds, num_images, threads, batch_sizes, size, dense)
    given = {
        "config": config,
        "num_classes": num_classes,
        "width": width,
        "window": window,
        "batch_norm": batch_norm or None,
    }
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if model is not None:
        refuse_settings(model, settings)
    chart_file, table_file = Path(chart) if chart else None, Path(out) if out else None
    check_chart(chart_file)
    if table_file and table_file.suffix != ".md":
        raise UsageError(f"`out` {table_file} has to end with .md")
    if table_file:
        check_out(table_file)
    chosen = choose(engines, exclude)
    installed = [engine for engine in chosen if not engine.missing]
    _check_base(base, chosen, installed)
    with tempfile.TemporaryDirectory(prefix="verydeep-bench-") as name:
        folder = Path(name)
        if model is None:
            run, weights = folder / "model", "He-initialised"
            write_model(run, *random_model(Architecture(settings.pop("config", "D"), **settings)))
        else:
            weights = with_network(model, tensors)
            run = _run_folder(weights, folder)
        architecture = read_config(run).architecture
        sizes = tuple(batch_sizes or BATCH_SIZES)
        shown, source = find_images(Path(images) if images else None, num_images if dense else max(sizes))
        if dense:
            for scale in dense:
                check_scale("dense", scale, architecture)
            cases, pixels = dense_cases(architecture, shown, tuple(dense))
        else:
            cases, pixels = batch_cases(architecture, shown, sizes, *(size or (architecture.window,) * 2))
        task = Task(folder, run, num_threads(threads), bool(dense), cases)
        task.write_pixels(pixels)
        measured = _measure(task, installed, rounds, seconds)
    if base not in measured.timings:
        base = "torch" if "torch" in measured.timings else next(iter(measured.timings))
    facts = {
        "network": _described(architecture, task),
        "weights": weights,
        "images": source,
        "threads": task.threads,
        "processor": processor_name(),
    }
    missing = {engine.name: engine.absence for engine in chosen if engine.missing}
    rows = make_rows(measured, task, base)
    result = Benchmark(facts, base, rounds, rows, measured.peak, missing, measured.failed)
    if chart_file:
        write_chart(chart_file, rows, result.title, base)
    if table_file:
        write_text(table_file, f"{result.table.markdown()}\n\n{result.table.caption}\n")
    _say(result)
    return result


def _check(
    rounds: int,
    seconds: float,
    num_images: int,
    threads: int | None,
    batch_sizes: Sequence[int],
    size: tuple[int, int] | None,
    dense: Sequence[int],
) -> None:
    check_least("rounds", rounds, 1)
    if not 0 <= seconds < math.inf:
        raise UsageError(f"`seconds` is {seconds:g}; it must be 0 or more")
    check_least("num_images", num_images, 1)
    num_threads(threads)
    if min(batch_sizes, default=1) < 1 or len(set(batch_sizes)) < len(batch_sizes):
        raise UsageError("`batch_sizes` must be different numbers of at least 1")
    if dense and (size or batch_sizes):
        raise UsageError(
            "`dense` shows one image at a time, in its own shape, and cannot be combined with `size` or "
            "`batch_sizes`"
        )
    if not hasattr(os, "fork"):
        raise UsageError("bench stops and continues processes, which this system does not support")


def _check_base(base: str | None, chosen: Sequence[Engine], installed: Sequence[Engine]) -> None:
    """Make sure that the engine that ratios are to can be measured, and some engine at all."""
    there = [engine.name for engine in installed]
    if base is not None and base not in there:
        reason = "is not among the engines to measure" if base in ENGINES else "is not an engine"
        raise UsageError(f"`base` {base} {reason}; there are {', '.join(there)}")
    if not installed:
        raise UsageError(f"none of the engines is available; {chosen[0].name}: {chosen[0].absence}")


def _run_folder(model: str, folder: Path) -> Path:
    """The run folder of a model; of other weights one is made, once, so that each engine opens a run folder."""
    path = locate(model).path
    if is_ours(path):
        return path
    write_model(folder / "model", *open_source(model))
    return folder / "model"


def _measure(task: Task, engines: Sequence[Engine], rounds: int, seconds: float) -> Measurements:
    pieces = Processes.num_pieces(engines, len(task.cases), rounds)
    with progress("measuring", pieces, "pieces") as advance, Processes(task, engines, advance) as processes:
        return processes.measure(rounds, seconds)


def _described(architecture: Architecture, task: Task) -> str:
    width = "" if architecture.width == 1 else f" at width {architecture.width:g}"
    what = "whole images" if task.dynamic else "{}x{}".format(*task.cases[0].batches[0][1:3])
    return f"{architecture.configuration}{width}, {what}"


def _say(result: Benchmark) -> None:
    """Say on standard error what the table does not."""
    peaks = ", ".join(f"{name} {peak / 1e9:,.0f} GFLOP/s" for name, peak in result.peak.items())
    say(f"weights: {result.facts['weights']}; images: {result.facts['images']}; peak: {peaks or 'unknown'}")
    for name, absence in result.not_installed.items():
        say(f"{name}: not measured: {absence}")
    for name, reason in result.failed.items():
        say(f"{name}: failed: {reason}")
