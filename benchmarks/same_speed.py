"""Compare the speed of two revisions of the package: processor time on one thread, both in turn.

    python benchmarks/same_speed.py OLD/.venv/bin/python NEW/.venv/bin/python [--pairs 20] [--only CASE ...]

Each revision has an environment of its own and, for each case, a process that stays. The two take turns, and the
first of a pair changes. Processor time does not count what others do meanwhile, but they share the caches: the
machine must be quiet. A revision beside itself tells how large the noise is. About 15 minutes with AVX-512.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

CASES = {
    "native-1": "D at 224x224 by the native engine, 1 image",
    "native-16": "D at 224x224 by the native engine, 16 images",
    "first-answer": "verydeep predict cifar10 IMAGE, the whole process",
    "training": "verydeep train, ten steps of 128 images of 32x32, D at a quarter of its width",
}
TRAIN = "--recipe cifar10 --epochs 1 --batch-size 128 --precision float32"


def native(folder: Path, batch: int) -> Callable[[], object]:
    """One call of the native engine."""
    import verydeep

    pixels = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), np.uint8)
    score_maps = verydeep.features(folder / "model", ("fc8",), engine="native")
    return lambda: score_maps(pixels)


def training(folder: Path) -> Callable[[], object]:
    """One whole training by the command, within this process, which has imported torch."""
    from verydeep.cli import main

    run = folder / f"run-{os.getpid()}"

    def train() -> None:
        shutil.rmtree(run, ignore_errors=True)
        main(["train", str(folder / "images"), str(run), *TRAIN.split()])

    return train


def serve(case: str, folder: Path) -> None:
    """Do a case whenever a line comes in, and answer the processor time; runs within a revision's Python."""
    step = training(folder) if case == "training" else native(folder, int(case.rpartition("-")[2]))
    answers, sys.stdout = sys.stdout, sys.stderr  # the commands print, too
    for _ in sys.stdin:
        start = time.process_time()
        step()
        print(time.process_time() - start, file=answers, flush=True)


class Served:
    """A process that does a case of a revision when it is asked to, and gives its processor time."""

    def __init__(self, python: Path, case: str, folder: Path) -> None:
        command = [str(python), __file__, "--serve", case, str(folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, env=one_thread(folder), **pipes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.communicate()

    def __call__(self) -> float:
        """Do the case once; give its processor time in seconds."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{' '.join(self.process.args)} has ended with exit code {self.process.wait()}")
        return float(answer)


def first_answer(python: Path, folder: Path) -> float:
    """Processor time of a process that predicts one image, from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(python), "-m", "verydeep", "predict", "cifar10", str(folder / "images/0/0.png")]
    subprocess.run(command, check=True, capture_output=True, env=one_thread(folder), cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def one_thread(folder: Path) -> dict[str, str]:
    alone = {"OMP_NUM_THREADS": "1", "VERYDEEP_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache")}
    return {**os.environ, **alone}


def prepare(folder: Path, python: Path) -> None:
    """Make images of four classes, 1280 of them to train on, and network D with random weights."""
    random = np.random.default_rng(0)
    for label, number in product(range(4), range(400)):
        path = folder / "images" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    subprocess.run(
        [str(python), "-m", "verydeep", "new", "D", "model"], check=True, cwd=folder, capture_output=True
    )


def measure(case: str, pythons: tuple[Path, Path], folder: Path, pairs: int) -> list[tuple[float, float]]:
    """Processor seconds of both revisions, pair by pair; the first pair, which warms up, is left out."""
    if case == "first-answer":
        return in_turn([lambda python=python: first_answer(python, folder) for python in pythons], pairs)
    with Served(pythons[0], case, folder) as old, Served(pythons[1], case, folder) as new:
        return in_turn([old, new], pairs)


def in_turn(steps: list[Callable[[], float]], pairs: int) -> list[tuple[float, float]]:
    """Times of two steps that take turns."""
    times = []
    for number in range(pairs + 1):
        order = (0, 1) if number % 2 else (1, 0)
        found = {which: steps[which]() for which in order}
        times.append((found[0], found[1]))
    return times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", nargs="?", type=Path, help="Python of the earlier revision's environment")
    parser.add_argument("new", nargs="?", type=Path, help="Python of the later revision's environment")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=2, metavar=("CASE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve[0], Path(arguments.serve[1]))
        return
    # Not resolved: a virtual environment's Python is a link, and its place decides which packages it has.
    pythons = arguments.old.absolute(), arguments.new.absolute()
    if not arguments.json:
        print(f"{'case':14}{'old':>10}{'new':>10}{'new / old':>11}{'quartiles':>16}   of {arguments.pairs} pairs")
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), pythons[0])
        for case in arguments.only:
            times = measure(case, pythons, Path(name), arguments.pairs)
            old, new = (statistics.median(one) for one in zip(*times, strict=True))
            low, ratio, high = statistics.quantiles([after / before for before, after in times])
            if arguments.json:
                print(
                    json.dumps({"case": case, "old": old, "new": new, "ratio": ratio, "times": times}), flush=True
                )
            else:
                spread = f"{low:.3f} to {high:.3f}"
                print(f"{case:14}{old:8.3f} s{new:8.3f} s{ratio:11.3f}{spread:>16}   {CASES[case]}", flush=True)


if __name__ == "__main__":
    main()
