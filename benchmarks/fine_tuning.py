"""Is it worth starting from another run? One recipe on a few classes of photographs, from a run and from scratch.

    python benchmarks/fine_tuning.py PHOTOS OUT [--classes 10] [--epochs 30] [--seeds 3]

PHOTOS is a folder of class folders, or has them in train/ and val/. Some of its classes, drawn by a fixed seed,
are taken for one's own; a network is trained on the others, and then, for each seed, one on the few classes that
starts from it (`--from`) and one from scratch, with the recipe `photos` otherwise as it is. Errors are those of
`verydeep evaluate` on the few classes' held-out photographs. Completed steps are skipped.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from verydeep.evaluation.results import read_result
from verydeep.run_folder import STATE, WEIGHTS


def link_classes(photos: Path, out: Path, names: list[str]) -> None:
    """Make a folder with links to some classes."""
    parts = [part for part in ("train", "val") if (photos / part).is_dir()] or ["."]
    for part in parts:
        (out / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            link = out / part / name
            if not link.exists():
                link.symlink_to((photos / part / name).resolve(), target_is_directory=True)


def train(data: Path, run: Path, *options: str) -> None:
    command = [sys.executable, "-m", "verydeep", "train", str(data), str(run)]
    if (run / STATE).exists():
        subprocess.run([*command, "--resume"], check=True)
    elif not (run / WEIGHTS).exists():
        subprocess.run([*command, *options], check=True)


def error_of(run: Path, data: Path) -> float:
    results = run.with_suffix(".npz")
    if not results.exists():
        command = [sys.executable, "-m", "verydeep", "evaluate", str(run), str(data), "--out", str(results)]
        subprocess.run(command, check=True)
    return read_result(results).error_rates.top1_error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    first = arguments.photos / "train" if (arguments.photos / "train").is_dir() else arguments.photos
    names = sorted(folder.name for folder in first.iterdir() if folder.is_dir())
    few = sorted(random.Random(0).sample(names, arguments.classes))
    others = [name for name in names if name not in few]
    link_classes(arguments.photos, arguments.out / "others", others)
    link_classes(arguments.photos, arguments.out / "few", few)
    epochs = ("--epochs", str(arguments.epochs))
    earlier = arguments.out / "earlier"
    train(arguments.out / "others", earlier, *epochs)
    rows = []
    for seed in range(arguments.seeds):
        row: dict[str, float] = {"seed": seed}
        for kind, options in (("from", ("--from", str(earlier))), ("scratch", ())):
            run = arguments.out / f"{kind}-{seed}"
            train(arguments.out / "few", run, *epochs, "--seed", str(seed), *options)
            row[kind] = error_of(run, arguments.out / "few")
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(f"{len(few)} classes: {', '.join(few)}")


if __name__ == "__main__":
    main()
