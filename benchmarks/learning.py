"""Does a network learn as well on our own kernels as on torch? The CIFAR-10 recipe, paired seeds.

    python benchmarks/learning.py train DATA RUNS [--epochs 12] [--seeds 0 1 2] [--ways native torch]
    python benchmarks/learning.py tell RUNS OUT [--ways native torch]

A way is an engine and a precision. All start from the same weights and see the same views in the same order. They
differ by rounding alone: Winograd's F(4x4, 3x3) rounds in all three passes otherwise than direct convolution.
Completed trainings are skipped, interrupted ones are resumed. What each came to is RUNS/WAY-SEED.json: which test
images are named wrong, and its curve.

`tell` reads these, such as those in results/learning, and writes OUT.json, OUT.md and OUT.png: final errors on the
test images of two ways, the difference of the first from the second with its interval over seeds and over images,
and the curves of both overlaid. Means more than 1.5 points apart are told as a failure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from scipy.stats import t as student

from verydeep.evaluation import paired
from verydeep.evaluation.results import read_result
from verydeep.files import write_json, write_whole
from verydeep.run_folder import JOURNAL, STATE, WEIGHTS, read_config

WAYS = {
    "native": ("native", "float32"),
    "torch": ("torch", "float32"),
    "native-bfloat16": ("native", "bfloat16"),
    "torch-bfloat16": ("torch", "bfloat16"),
}
LIMIT = 1.5  # points
MOST_SEEDS = 100


def train(data: str, runs: Path, options: argparse.Namespace) -> None:
    """Train and test in each way; all ways of a seed before the next."""
    command = [sys.executable, "-m", "verydeep"]
    for seed in options.seeds:
        for way in options.ways:
            run, result = runs / f"{way}-{seed}", runs / f"{way}-{seed}.npz"
            if outcome_of(runs, way, seed).exists():
                continue
            if run.exists():
                words = ["--resume"] if (run / STATE).exists() else None
            else:
                words = ["--recipe", "cifar10", "--epochs", str(options.epochs), "--seed", str(seed)]
                engine, precision = WAYS[way]
                words += ["--precision", precision, "--engine", engine]
            if words is not None:
                subprocess.run([*command, "train", data, str(run), *words], check=True)
            assert (run / WEIGHTS).exists(), f"{run} has no weights; remove it to train it anew"
            testing = [*command, "evaluate", str(run), data, "--scales", "36", "--out", str(result)]
            subprocess.run(testing, check=True)
            write_json(outcome_of(runs, way, seed), outcome(run, result))


def outcome_of(runs: Path, way: str, seed: int) -> Path:
    """Where it is kept what a training came to."""
    return runs / f"{way}-{seed}.json"


def outcome(run: Path, result: Path) -> dict[str, Any]:
    """The validation error of each epoch, and which test images are named wrong: a bit for each, in base64."""
    records = map(json.loads, (run / JOURNAL).read_text().splitlines())
    wrong, facts = paired.wrong_answers(read_result(result)), read_config(run).provenance
    return {
        "processor": facts["processor"],
        "commit": facts["commit"],
        "epochs": facts["recipe"]["epochs"],
        "curve": [record["validation_error"] for record in records if "validation_error" in record],
        "num_images": len(wrong),
        "wrong": paired.bits_to_text(wrong),
    }


def tell(runs: Path, out: Path, ways: tuple[str, str]) -> bool:
    """Write what came of it; give whether networks learn equally well in both ways."""
    first, second = ways
    seeds = [seed for seed in range(MOST_SEEDS) if all(outcome_of(runs, way, seed).exists() for way in ways)]
    found = {way: [json.loads(outcome_of(runs, way, seed).read_text()) for seed in seeds] for way in ways}
    wrong = {
        way: np.stack([paired.bits_from_text(one["wrong"], one["num_images"]) for one in outcomes])
        for way, outcomes in found.items()
    }
    errors = {way: [100 * float(one.mean()) for one in several] for way, several in wrong.items()}
    differences = [a - b for a, b in zip(errors[first], errors[second], strict=True)]
    over_images = paired.bootstrap(wrong[first].mean(0) - wrong[second].mean(0))
    middle = mean(differences)
    half = np.nan
    if len(seeds) > 1:
        half = float(student.ppf(0.975, len(seeds) - 1)) * stdev(differences) / len(seeds) ** 0.5
    every = [one for outcomes in found.values() for one in outcomes]
    summary = {
        **{name: sorted({one[name] for one in every}) for name in ("processor", "commit", "epochs")},
        "seeds": seeds,
        "errors": {way: [round(error, 2) for error in several] for way, several in errors.items()},
        "difference": round(middle, 2),
        "interval_over_seeds": None if len(seeds) < 2 else [round(middle - half, 2), round(middle + half, 2)],
        "interval_over_images": [round(100 * over_images.low, 2), round(100 * over_images.high, 2)],
        "curves": {way: [one["curve"] for one in outcomes] for way, outcomes in found.items()},
    }
    write_json(out.with_suffix(".json"), summary)
    lines = [f"| seed | {first}, % | {second}, % | difference |", "|---|---|---|---|"]
    for seed, one, other, difference in zip(seeds, *errors.values(), differences, strict=True):
        lines.append(f"| {seed} | {one:.2f} | {other:.2f} | {difference:+.2f} |")
    lines.append(f"| mean | {mean(errors[first]):.2f} | {mean(errors[second]):.2f} | {middle:+.2f} |")
    text = "\n".join(lines) + "\n"
    write_whole(out.with_suffix(".md"), lambda aside: aside.write_text(text))
    draw(summary, out.with_suffix(".png"))
    print(text + json.dumps({name: one for name, one in summary.items() if name != "curves"}, indent=1))
    return abs(middle) <= LIMIT


def draw(summary: dict[str, Any], path: Path) -> None:
    """Validation errors by epoch, both ways overlaid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for (way, curves), color in zip(summary["curves"].items(), ("#0072b2", "#d55e00"), strict=True):
        for number, errors in enumerate(curves):
            label = way if number == 0 else None
            axes.plot(range(1, len(errors) + 1), errors, color=color, linewidth=1.2, alpha=0.8, label=label)
    axes.set(xlabel="epoch", ylabel="validation error, top-1, %", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("data")
    training.add_argument("runs", type=Path)
    training.add_argument("--epochs", type=int, default=12)
    training.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    training.add_argument("--ways", nargs="+", choices=WAYS, default=["native", "torch"])
    telling = commands.add_parser("tell")
    telling.add_argument("runs", type=Path)
    telling.add_argument("out", type=Path)
    telling.add_argument("--ways", nargs=2, choices=WAYS, default=["native", "torch"])
    options = parser.parse_args()
    if options.command == "train":
        train(options.data, options.runs, options)
    else:
        sys.exit(not tell(options.runs, options.out, tuple(options.ways)))


if __name__ == "__main__":
    main()
