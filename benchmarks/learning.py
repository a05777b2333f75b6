"""Does a network learn as well on our own kernels as on torch? The CIFAR-10 recipe, paired seeds.

    python benchmarks/learning.py train DATA RUNS [--epochs 12] [--seeds 0 1 2] [--precision float32]
    python benchmarks/learning.py tell RUNS OUT

Both engines start from the same weights and see the same views in the same order. They differ by rounding alone:
Winograd's F(4x4, 3x3) rounds in all three passes otherwise than direct convolution. Completed trainings are
skipped, interrupted ones are resumed. `tell` writes OUT.json, OUT.md and OUT.png: final errors on the test images,
their difference with its interval over seeds and over images, and the curves of both engines overlaid. Means
more than 1.5 points apart are told as a failure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from scipy.stats import t as student

from verydeep.evaluation import paired
from verydeep.evaluation.results import read_result
from verydeep.files import write_json, write_whole
from verydeep.run_folder import JOURNAL, STATE, WEIGHTS, read_config

ENGINES = ("native", "torch")
LIMIT = 1.5  # points


def train(data: str, runs: Path, options: argparse.Namespace) -> None:
    """Train and test each pair; both of a seed before the next."""
    command = [sys.executable, "-m", "verydeep"]
    for seed in options.seeds:
        for engine in ENGINES:
            run, result = runs / f"{engine}-{seed}", runs / f"{engine}-{seed}.npz"
            if result.exists():
                continue
            if run.exists():
                words = ["--resume"] if (run / STATE).exists() else None
            else:
                words = ["--recipe", "cifar10", "--epochs", str(options.epochs), "--seed", str(seed)]
                words += ["--precision", options.precision, "--engine", engine]
            if words is not None:
                subprocess.run([*command, "train", data, str(run), *words], check=True)
            assert (run / WEIGHTS).exists(), f"{run} has no weights; remove it to train it anew"
            subprocess.run(
                [*command, "evaluate", str(run), data, "--scales", "36", "--out", str(result)], check=True
            )


def curve(run: Path) -> list[float]:
    """Validation error of each epoch."""
    records = map(json.loads, (run / JOURNAL).read_text().splitlines())
    return [record["validation_error"] for record in records if "validation_error" in record]


def tell(runs: Path, out: Path) -> bool:
    """Write what came of it; give whether the engines learn equally well."""
    seeds = sorted(int(file.stem.removeprefix("torch-")) for file in runs.glob("torch-*.npz"))
    seeds = [seed for seed in seeds if (runs / f"native-{seed}.npz").exists()]
    wrong = {
        engine: np.stack([paired.wrong_answers(read_result(runs / f"{engine}-{seed}.npz")) for seed in seeds])
        for engine in ENGINES
    }
    errors = {engine: [100 * float(one.mean()) for one in several] for engine, several in wrong.items()}
    differences = [a - b for a, b in zip(errors["native"], errors["torch"], strict=True)]
    over_images = paired.bootstrap(wrong["native"].mean(0) - wrong["torch"].mean(0))
    middle = mean(differences)
    half = np.nan
    if len(seeds) > 1:
        half = float(student.ppf(0.975, len(seeds) - 1)) * stdev(differences) / len(seeds) ** 0.5
    facts = read_config(runs / f"native-{seeds[0]}").provenance
    found = {
        "processor": facts["processor"],
        "commit": facts["commit"],
        "epochs": facts["recipe"]["epochs"],
        "precision": facts["recipe"]["precision"],
        "seeds": seeds,
        "errors": {engine: [round(error, 2) for error in several] for engine, several in errors.items()},
        "difference": round(middle, 2),
        "interval_over_seeds": None if len(seeds) < 2 else [round(middle - half, 2), round(middle + half, 2)],
        "interval_over_images": [round(100 * over_images.low, 2), round(100 * over_images.high, 2)],
        "curves": {engine: [curve(runs / f"{engine}-{seed}") for seed in seeds] for engine in ENGINES},
    }
    write_json(out.with_suffix(".json"), found)
    lines = ["| seed | native, % | torch, % | difference |", "|---|---|---|---|"]
    for seed, native, torch, difference in zip(seeds, *errors.values(), differences, strict=True):
        lines.append(f"| {seed} | {native:.2f} | {torch:.2f} | {difference:+.2f} |")
    lines.append(f"| mean | {mean(errors['native']):.2f} | {mean(errors['torch']):.2f} | {middle:+.2f} |")
    text = "\n".join(lines) + "\n"
    write_whole(out.with_suffix(".md"), lambda aside: aside.write_text(text))
    draw(found, out.with_suffix(".png"))
    print(text + json.dumps({name: one for name, one in found.items() if name != "curves"}, indent=1))
    return abs(middle) <= LIMIT


def draw(found: dict, path: Path) -> None:
    """Validation errors by epoch, both engines overlaid."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for engine, color in zip(ENGINES, ("#0072b2", "#d55e00"), strict=True):
        for number, errors in enumerate(found["curves"][engine]):
            label = f"{engine} engine" if number == 0 else None
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
    training.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    telling = commands.add_parser("tell")
    telling.add_argument("runs", type=Path)
    telling.add_argument("out", type=Path)
    options = parser.parse_args()
    if options.command == "train":
        train(options.data, options.runs, options)
    else:
        sys.exit(not tell(options.runs, options.out))


if __name__ == "__main__":
    main()
