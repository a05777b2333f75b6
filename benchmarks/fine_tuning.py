"""Is it worth starting from another run? One recipe on a few classes of photographs, from a run and from scratch.

    python benchmarks/fine_tuning.py PHOTOS OUT [--classes 10] [--epochs 30] [--seeds 3]

PHOTOS is a folder of class folders, or has them in train/ and val/. Some of its classes, drawn by a fixed seed,
are taken for one's own; a network is trained on the others, and then, for each seed, one on the few classes that
starts from it (`--from`) and one from scratch, with the recipe `photos` otherwise as it is. Errors are those of
`verydeep evaluate` on the few classes' held-out photographs.

Completed steps are skipped, and interrupted trainings are resumed. Each number of classes and of epochs has a
folder of its own in OUT: a run that got more epochs later would not be the run that had them from its start.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from verydeep.evaluation.results import Evaluation, read_result
from verydeep.run_folder import CONFIG

AT_RANDOM = ("--from", "none")  # random weights, though the images are few


def link_classes(photos: Path, out: Path, names: list[str]) -> None:
    """Make a folder with links to some classes."""
    parts = [part for part in ("train", "val") if (photos / part).is_dir()] or ["."]
    for part in parts:
        (out / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            link = out / part / name
            if not link.exists():
                link.symlink_to((photos / part / name).resolve(), target_is_directory=True)


def run_command(*words: str, output: int | None = None) -> str:
    """Run a command of the package.

    Args:
        words: of the command.
        output: where its standard output goes, as `subprocess.run` takes it.

    Returns:
        Its standard output, where that is `subprocess.PIPE`.

    Raises:
        SystemExit: it failed, which it has told itself; with its exit code.

    """
    done = subprocess.run([sys.executable, "-m", "verydeep", *words], check=False, stdout=output, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


def train(data: Path, run: Path, *options: str) -> None:
    """Train a run, or resume it if it has begun, with the options that it began with."""
    # config.json is there before the first state: a run that was killed between the two is resumed too.
    run_command("train", str(data), str(run), *(["--resume"] if (run / CONFIG).exists() else options))


def beside(run: Path, ending: str) -> Path:
    """A file beside a run that has its whole name, points included: `run-0.5` gives `run-0.5.npz`."""
    return run.with_name(run.name + ending)


def tested(model: Path, data: Path, results: Path) -> Evaluation:
    """The result of `verydeep evaluate`, which is kept in a file."""
    if not results.exists():
        run_command("evaluate", str(model), str(data), "--out", str(results))
    return read_result(results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    first = arguments.photos / "train" if (arguments.photos / "train").is_dir() else arguments.photos
    names = sorted(folder.name for folder in first.glob("*") if folder.is_dir())
    if not 2 <= arguments.classes <= len(names) - 2:
        parser.error(f"{first} has {len(names)} classes: --classes must be 2 or more, and leave 2 or more others")
    few = sorted(random.Random(0).sample(names, arguments.classes))
    others = [name for name in names if name not in few]
    out = arguments.out / f"{arguments.classes}-classes-{arguments.epochs}-epochs"
    link_classes(arguments.photos, out / "others", others)
    link_classes(arguments.photos, out / "few", few)
    epochs = ("--epochs", str(arguments.epochs))
    earlier = out / "earlier"
    train(out / "others", earlier, *epochs, *AT_RANDOM)
    rows = []
    for seed in range(arguments.seeds):
        row: dict[str, float] = {"seed": seed}
        for kind, options in (("from", ("--from", str(earlier))), ("scratch", AT_RANDOM)):
            run = out / f"{kind}-{seed}"
            train(out / "few", run, *epochs, "--seed", str(seed), *options)
            row[kind] = tested(run, out / "few", beside(run, ".npz")).error_rates.top1_error
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(f"{len(few)} classes: {', '.join(few)}")


if __name__ == "__main__":
    main()
