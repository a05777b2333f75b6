"""What of Section 3.1 helps on CIFAR-10, in small: growing from net A, jittered S, the color shift.

    python benchmarks/what_helps.py train DATA RUNS [--epochs 4] [--only grown/D/0 ...]
    python benchmarks/what_helps.py tell RUNS results/what-helps

Every training is one `verydeep train`, tested by one `verydeep evaluate` on the test images. Completed
trainings are skipped, interrupted ones are resumed. Without batch normalisation, which the paper does not have,
and at a quarter of the width. `tell` compares over the same test images: the difference of two errors with its
95 % interval, from 10,000 resamplings of the images, the means over seeds taken first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verydeep.evaluation import paired
from verydeep.evaluation.results import read_result
from verydeep.files import write_json, write_whole
from verydeep.run_folder import STATE, WEIGHTS

SEEDS = (0, 1, 2)
COMMON = [
    "--no-batch-norm",
    "--learning-rate",
    "0.02",
    "--warmup-epochs",
    "0.5",
]  # on recipe cifar10


@dataclass(frozen=True)
class Training:
    """One network: how it starts, and what its images are."""

    kind: str  # scratch, normal, grown, jittered, shifted, float32
    configuration: str
    seed: int = 0
    options: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"{self.kind}-{self.configuration}-{self.seed}"

    def words(self, runs: Path) -> list[str]:
        """Words of its command after DATA and RUN."""
        kinds = {
            "scratch": ["--init", "he", "--train-scale", "36", "--color-shift", "0"],
            "normal": ["--init", "normal", "--train-scale", "36", "--color-shift", "0"],
            "grown": ["--init", "he", "--train-scale", "36", "--color-shift", "0"],
            "jittered": ["--init", "he", "--train-scale", "32:40", "--color-shift", "0"],
            "shifted": ["--init", "he", "--train-scale", "36", "--color-shift", "0.1"],
            "float32": ["--init", "he", "--train-scale", "36", "--color-shift", "0", "--precision", "float32"],
        }
        grown = ["--grow-from", str(runs / f"scratch-A-{self.seed}")] if self.kind == "grown" else []
        return ["--config", self.configuration, "--seed", str(self.seed), *COMMON, *kinds[self.kind], *grown]


TRAININGS = (  # in the order of what one wants to know first
    Training("scratch", "A"),
    Training("scratch", "D"),
    Training("grown", "D"),
    Training("normal", "A"),
    Training("normal", "D"),
    Training("scratch", "B"),
    Training("grown", "B"),
    Training("scratch", "C"),
    Training("grown", "C"),
    Training("scratch", "A", 1),
    Training("scratch", "D", 1),
    Training("grown", "D", 1),
    Training("jittered", "A"),
    Training("shifted", "A"),
    Training("scratch", "A", 2),
    Training("scratch", "D", 2),
    Training("grown", "D", 2),
    Training("jittered", "A", 1),
    Training("shifted", "A", 1),
    Training("jittered", "A", 2),
    Training("shifted", "A", 2),
    Training("float32", "A"),
    Training("float32", "A", 1),
    Training("float32", "A", 2),
)


@dataclass(frozen=True)
class Question:
    """Two kinds of training of one configuration, compared."""

    says: str
    with_it: str
    without: str
    configuration: str


QUESTIONS = (
    Question("growing B from A, against he", "grown", "scratch", "B"),
    Question("growing C from A, against he", "grown", "scratch", "C"),
    Question("growing D from A, against he", "grown", "scratch", "D"),
    Question("growing D from A, against normal", "grown", "normal", "D"),
    Question("he against normal, A", "scratch", "normal", "A"),
    Question("he against normal, D", "scratch", "normal", "D"),
    Question("S from [32;40] against 36", "jittered", "scratch", "A"),
    Question("color shift of 0.1", "shifted", "scratch", "A"),
    Question("bfloat16 against float32", "scratch", "float32", "A"),
)


def train(data: str, runs: Path, epochs: int, only: list[str]) -> None:
    runs.mkdir(parents=True, exist_ok=True)
    verydeep = [sys.executable, "-m", "verydeep"]
    for training in TRAININGS:
        run, results = runs / training.name, runs / f"{training.name}.npz"
        if results.exists() or (only and training.name not in only):
            continue
        print(training.name, flush=True)
        if (run / STATE).exists():
            command = [*verydeep, "train", data, str(run), "--resume"]
        else:
            command = [*verydeep, "train", data, str(run), "--recipe", "cifar10", "--epochs", str(epochs)]
            command += training.words(runs)
        if not (run / WEIGHTS).exists() or (run / STATE).exists():
            subprocess.run(command, check=True)
        test = [*verydeep, "evaluate", str(run), data, "--scales", "36", "--out", str(results)]
        subprocess.run(test, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})


def wrong_answers(runs: Path, kind: str, configuration: str) -> dict[int, NDArray[np.bool_]]:
    """For each seed that has been tested, which of the test images were named wrongly."""
    found = {}
    for seed in SEEDS:
        file = runs / f"{Training(kind, configuration, seed).name}.npz"
        if file.exists():
            found[seed] = paired.wrong_answers(read_result(file))
    return found


def compare(runs: Path, question: Question) -> dict[str, object] | None:
    """Difference of the mean errors in percent over the seeds that both have; below 0, it helps."""
    with_it = wrong_answers(runs, question.with_it, question.configuration)
    without = wrong_answers(runs, question.without, question.configuration)
    seeds = sorted(with_it.keys() & without.keys())
    if not seeds:
        return None
    first, second = (np.array([wrong[seed] for seed in seeds], np.float64) for wrong in (with_it, without))
    difference = paired.bootstrap(first - second)
    return {
        "question": question.says,
        "seeds": len(seeds),
        "error_with": [round(100 * float(with_it[seed].mean()), 2) for seed in seeds],
        "error_without": [round(100 * float(without[seed].mean()), 2) for seed in seeds],
        "difference": round(100 * difference.mean, 2),
        "interval": [round(100 * difference.low, 2), round(100 * difference.high, 2)],
        "interval_over": ["images", "seeds"] if difference.over_seeds else ["images"],
    }


def tell(runs: Path, out: Path) -> None:
    rows = [row for question in QUESTIONS if (row := compare(runs, question))]
    write_json(out.with_suffix(".json"), {"comparisons": rows})
    lines = [
        "| question | seeds | error with, % | error without, % | difference | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        errors = [", ".join(f"{error:.2f}" for error in row[key]) for key in ("error_with", "error_without")]
        low, high = row["interval"]
        lines.append(
            f"| {row['question']} | {row['seeds']} | {errors[0]} | {errors[1]} | {row['difference']:+.2f} "
            f"| {low:+.2f} to {high:+.2f}{', over seeds' * ('seeds' in row['interval_over'])} |"
        )
    text = "\n".join(lines) + "\n"
    write_whole(out.with_suffix(".md"), lambda aside: aside.write_text(text))
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("data")
    training.add_argument("runs", type=Path)
    training.add_argument("--epochs", type=int, default=4)
    training.add_argument("--only", nargs="+", default=[])
    telling = commands.add_parser("tell")
    telling.add_argument("runs", type=Path)
    telling.add_argument("out", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "train":
        train(arguments.data, arguments.runs, arguments.epochs, arguments.only)
    else:
        tell(arguments.runs, arguments.out)


if __name__ == "__main__":
    main()
