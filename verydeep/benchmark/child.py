"""A process with one engine: `python -m verydeep.benchmark.child TASK ENGINE`, spoken to in lines of JSON.

Requests come on standard input, a line each: `{"case": 0, "seconds": 0.5}` to time a case's calls for so long,
`{"case": 0, "scores": FILE}` to write what it answers. Each is answered by a line on standard output. What
libraries print goes to standard error.

The same module does what the engines need beforehand, and then ends: `export`, `quantize`, `reference`, `peak`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from verydeep.benchmark.engines import ENGINES, Engine
from verydeep.benchmark.runners import Runner, class_scores, export, open_runner, quantize
from verydeep.benchmark.task import Task
from verydeep.interrupts import kernel_ends_with_parent
from verydeep.processor import native_module

REFERENCE_IMAGES = 8  # of a call: float64 takes about a second for each


def main(task_file: str, name: str) -> None:
    """Do a piece of work, or serve requests until standard input ends."""
    kernel_ends_with_parent()  # by itself a process that is stopped would not see that it is gone
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    task = Task.read(Path(task_file))
    try:
        work = {"export": export, "quantize": quantize, "reference": reference, "peak": peak}.get(name)
        if work is not None:
            _answer(answers, done=work(task))
        else:
            serve(task, ENGINES[name], answers)
    except Exception as error:
        _answer(answers, failed=" ".join(f"{type(error).__name__}: {error}".split())[:300])


def serve(task: Task, engine: Engine, answers: TextIO) -> None:
    """Answer requests, one after the other."""
    start = time.perf_counter()
    runner = open_runner(engine, task)
    prepared = [[runner.prepare(pixels) for pixels in task.pixels(case)] for case in range(len(task.cases))]
    _answer(answers, seconds=time.perf_counter() - start, peak_memory=peak_memory())
    for line in sys.stdin:
        request = json.loads(line)
        calls = prepared[request["case"]]
        if "scores" in request:
            scores = [class_scores(runner.run(call))[:REFERENCE_IMAGES] for call in calls]
            np.save(request["scores"], np.concatenate(scores))
            _answer(answers, peak_memory=peak_memory())
        else:
            _answer(answers, seconds=timed(runner, calls, request["seconds"]), peak_memory=peak_memory())


def timed(runner: Runner, calls: list[Any], seconds: float) -> float:
    """Seconds that a case takes: the median of as many times as fit; the first of them warms up."""
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 2 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        for call in calls:
            runner.run(call)
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def reference(task: Task) -> None:
    """Write `reference-<case>.npy`, class scores in float64."""
    from verydeep.benchmark.reference import class_scores
    from verydeep.run_folder import read_model

    config, tensors = read_model(task.run)
    known: dict[tuple[int, bytes], Any] = {}  # a batch holds the smaller one's images
    for case in range(len(task.cases)):
        images = [image for pixels in task.pixels(case) for image in pixels[:REFERENCE_IMAGES]]
        keys = [(len(image), image.tobytes()) for image in images]
        for key, image in zip(keys, images, strict=True):
            if key not in known:
                known[key] = class_scores(config.architecture, tensors, config.preprocessing, image[None])
        np.save(task.folder / f"reference-{case}.npy", np.concatenate([known[key] for key in keys]))


def peak(task: Task) -> dict[str, float]:
    """Measure the machine's peak in operations a second, by precision; empty without the native engine."""
    native = native_module()
    if native is None:
        return {}
    best = native.available_instructions()[-1]
    precisions = [name for name in ("float32", "bfloat16") if native.has(best, name)]
    return {name: native.peak(best, name, task.threads) for name in precisions}


def peak_memory() -> int:
    """Most bytes that this process has had in memory so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _answer(answers: TextIO, **fields: Any) -> None:
    answers.write(json.dumps(fields) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
