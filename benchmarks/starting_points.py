"""What to start from with few photographs: a bundled model, another one, or nothing; at equal minutes.

    python benchmarks/starting_points.py CALTECH50 OUT [--models cifar10] [--minutes 5] [--seeds 1]

CALTECH50 has photographs in train/ and val/. Four sets are made of them: all as they are, and three folders as
people bring them, with 30 images of each class to train on and the rest to test on: 20 animals, 12 things at
home, 8 things out of doors. On each set a network is trained from each model (`--from`) and from scratch, by
the recipe `photos`, for as many epochs as the minutes allow: two short trainings tell how long an epoch takes.
`verydeep transfer` fits a linear classifier on each model's features, which takes seconds.

Told are the mean over the classes of each one's error on the held-out part, as `transfer` tests itself, and
seconds. What is there already is not done again: the command can be repeated after it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from fine_tuning import error_of

from verydeep.evaluation.results import read_result
from verydeep.files import write_json

EACH = 30  # training images of a class in the three folders
FOLDERS = {
    "animals": (
        "ant bass cougar_face crayfish crocodile_head dalmatian dolphin emu flamingo hawksbill hedgehog ibis "
        "lobster octopus pigeon platypus rooster scorpion tick wild_cat"
    ),
    "at-home": (
        "binocular camera cellphone chandelier electric_guitar ewer gramophone laptop mandolin stapler umbrella "
        "wrench"
    ),
    "out-of-doors": "Motorbikes airplanes car_side joshua_tree ketch minaret pagoda schooner",
}
PILOT_EPOCHS = (1, 3)


def make_folder(photos: Path, out: Path, names: list[str]) -> None:
    """Link to photographs of some classes: `EACH` to train on, drawn by a fixed seed, and the rest."""
    for name in names:
        files = sorted(path for part in ("train", "val") for path in (photos / part / name).iterdir())
        random.Random(0).shuffle(files)
        for part, chosen in (("train", files[:EACH]), ("val", files[EACH:])):
            (out / part / name).mkdir(parents=True, exist_ok=True)
            for number, file in enumerate(chosen):
                link = out / part / name / f"{number:03d}{file.suffix}"
                if not link.exists():
                    link.symlink_to(file.resolve())


def timed(run: Path, words: list[str]) -> dict[str, Any]:
    """A command that makes a run: what it answered, and its seconds; it is not run again where they are known."""
    known = run.with_suffix(".json")
    if not known.exists():
        shutil.rmtree(run, ignore_errors=True)  # of a command that was interrupted
        start = time.perf_counter()
        command = [sys.executable, "-m", "verydeep", *words, "--json"]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        write_json(known, {**json.loads(answer), "seconds": time.perf_counter() - start})
    return dict(json.loads(known.read_text()))


def class_error(run: Path, data: Path) -> float:
    """The mean over the classes of a network's top-1 errors."""
    error_of(run, data)  # writes the result
    result = read_result(run.with_suffix(".npz"))
    right = result.posteriors.argmax(1) == result.labels
    return 100 - 100 * float(np.mean([right[result.labels == label].mean() for label in np.unique(result.labels)]))


def epochs_within(minutes: float, data: Path, run: Path, options: list[str]) -> int:
    """How many epochs of a training take so many minutes, its start and end included."""
    seconds = []
    for epochs in PILOT_EPOCHS:
        pilot = run.with_name(f"{run.name}-pilot-{epochs}")
        seconds.append(
            timed(pilot, ["train", str(data), str(pilot), "--epochs", str(epochs), *options])["seconds"]
        )
    each = (seconds[1] - seconds[0]) / (PILOT_EPOCHS[1] - PILOT_EPOCHS[0])
    return PILOT_EPOCHS[0] + max(0, round((60 * minutes - seconds[0]) / each))


def outcome(data: Path, way: str, error: float, seconds: float, **facts: int) -> dict[str, Any]:
    """What a way came to; it is told at once."""
    found = {"way": way, **facts, "seconds": round(seconds), "error": error}
    print(json.dumps({"data": data.name, **found}), flush=True)
    return found


def measure(data: Path, out: Path, models: list[str], minutes: float, seeds: int) -> list[dict[str, Any]]:
    """Errors of all ways on one set."""
    rows: list[dict[str, Any]] = []
    for model in models:
        run = out / f"transfer-{Path(model).name}"
        answer = timed(run, ["transfer", model, str(data), "--out", str(run)])
        error = 100 - answer["mean_class_recall"][0]
        rows.append(outcome(data, f"transfer {Path(model).name}", error, answer["seconds"]))
    ways = {f"from {Path(model).name}": ["--from", model] for model in models} | {"from scratch": []}
    for way, options in ways.items():
        run = out / way.replace(" ", "-")
        epochs = epochs_within(minutes, data, run, options)
        for seed in range(seeds):
            one = run.with_name(f"{run.name}-{seed}")
            words = ["train", str(data), str(one), "--epochs", str(epochs), "--seed", str(seed), *options]
            seconds = timed(one, words)["seconds"]
            rows.append(outcome(data, way, class_error(one, data), seconds, seed=seed, epochs=epochs))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", default=["cifar10"])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    data = {"caltech50": arguments.photos}
    for name, classes in FOLDERS.items():
        data[name] = arguments.out / "data" / name
        make_folder(arguments.photos, data[name], classes.split())
    found = {}
    for name, folder in data.items():
        out = arguments.out / name
        out.mkdir(parents=True, exist_ok=True)
        found[name] = measure(folder, out, arguments.models, arguments.minutes, arguments.seeds)
    write_json(arguments.out / "errors.json", found)
    ways = list(dict.fromkeys(row["way"] for rows in found.values() for row in rows))
    print(f"| data | {' | '.join(ways)} |")
    print(f"|---|{'--:|' * len(ways)}")
    for name, rows in found.items():
        errors = [[row["error"] for row in rows if row["way"] == way] for way in ways]
        print(f"| {name} | {' | '.join(f'{sum(one) / len(one):.2f} %' for one in errors)} |")


if __name__ == "__main__":
    main()
