"""What to start from with few photographs: a bundled model, another one, or nothing; at equal minutes.

    python benchmarks/starting_points.py CALTECH50 OUT [--models tiny-imagenet cifar10]
        [--minutes 5] [--seeds 1]

CALTECH50 has photographs in train/ and val/. Four sets are made of them: all as they are, and three folders as
people bring them, with 30 images of each class to train on and the rest to test on: 20 animals, 12 things at
home, 8 things out of doors. On each set a network is trained from each model (`--from`) and from scratch, for as
many epochs as the minutes allow: two short trainings tell how long an epoch takes. Trainings follow the recipe
`photos`, but `--from` keeps the model's configuration, width, batch norm, window and S. The table shows the
configuration, width, window and S of each way.
`verydeep transfer` fits a linear classifier on each model's features, which takes seconds.

The error is the mean over the classes of each one's error on the held-out part, as `transfer` tests itself. The
last weights of a training are tested. Its best ones were chosen on the same images, and `transfer` chooses
nothing on them. All ways must have been tested on all of these images. Each error comes with the seconds.

Completed steps are skipped: the command can be repeated after it was interrupted. A step is done again where its
command has changed, as by other `--minutes`.
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
from fine_tuning import AT_RANDOM, beside, run_command, tested

from verydeep.errors import few
from verydeep.evaluation.results import Evaluation
from verydeep.files import free_name, write_json
from verydeep.images.data import train_and_test
from verydeep.images.sources import open_data
from verydeep.run_folder import LAST_WEIGHTS, read_config

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
    """What a command that makes a run answered, and its seconds; the same command is not run again."""
    known = beside(run, ".json")
    found: dict[str, Any] = json.loads(known.read_text()) if known.exists() else {}
    if found.get("words") != words:
        known.unlink(missing_ok=True)  # first: an interruption leaves nothing that passes for complete
        beside(run, ".npz").unlink(missing_ok=True)
        shutil.rmtree(run, ignore_errors=True)
        start = time.perf_counter()
        answer = json.loads(run_command(*words, "--json", output=subprocess.PIPE))
        found = {**answer, "words": words, "seconds": time.perf_counter() - start}
        write_json(known, found)
    return found


def class_error(result: Evaluation) -> float:
    """The mean over the classes of a network's top-1 errors, in %."""
    return float(np.nanmean(result.error_rates.per_class))


def epochs_within(minutes: float, data: Path, run: Path, options: list[str]) -> int:
    """How many epochs of a training take so many minutes, its start and end included."""
    seconds: list[float] = []
    for epochs in PILOT_EPOCHS:
        pilot = run / f"pilot-{epochs}"
        seconds.append(
            timed(pilot, ["train", str(data), str(pilot), "--epochs", str(epochs), *options])["seconds"]
        )
    each = (seconds[1] - seconds[0]) / (PILOT_EPOCHS[1] - PILOT_EPOCHS[0])
    if each <= 0:  # the machine was busier in the shorter training: count start and end as parts of the epochs
        each = seconds[1] / PILOT_EPOCHS[1]
    return PILOT_EPOCHS[0] + max(0, round((60 * minutes - seconds[0]) / each))


def check_same_images(way: str, data: Path, same: bool) -> None:
    """Make sure that a way was tested on all held-out images of the data.

    Raises:
        SystemExit: it was not.

    """
    if not same:
        sys.exit(
            f"{way} was not tested on all held-out images of {data}, so its error cannot be compared: its model "
            "was trained on some of them, or the data has changed since"
        )


def outcome(data: Path, way: str, run: Path, error: float, seconds: float, **facts: int) -> dict[str, Any]:
    """What a way came to, and of which network; it is told at once."""
    config = read_config(run)
    network = {
        "configuration": f"{config.architecture.configuration}, width {config.architecture.width:g}",
        "window": config.architecture.window,
        "S": ":".join(map(str, dict.fromkeys(config.trained_on.scale))),
    }
    found = {"way": way, **network, **facts, "seconds": round(seconds), "error": error}
    print(json.dumps({"data": data.name, **found}), flush=True)
    return found


def labels_of(models: list[str]) -> dict[str, str]:
    """A short name for each model, each another one; `scratch` is that of none."""
    taken = {"scratch"}
    return {model: free_name(Path(model).name, taken) for model in dict.fromkeys(models)}


def measure(data: Path, out: Path, models: list[str], minutes: float, seeds: int) -> list[dict[str, Any]]:
    """Errors of all ways on one set."""
    rows: list[dict[str, Any]] = []
    labels = labels_of(models)
    split = train_and_test(open_data(str(data)))
    for model, label in labels.items():
        way, run = f"transfer {label}", out / f"transfer-{label}"
        answer = timed(run, ["transfer", model, str(data), "--out", str(run)])
        check_same_images(way, data, answer["num_images"] == len(split.train) + len(split.other))
        rows.append(outcome(data, way, run, 100 - answer["mean_class_recall"][0], answer["seconds"]))
    ways = {f"from {label}": ["--from", model] for model, label in labels.items()} | {
        "from scratch": list(AT_RANDOM)
    }
    for way, options in ways.items():
        folder = out / way.replace(" ", "-")
        epochs = epochs_within(minutes, data, folder, options)
        for seed in range(seeds):
            run = folder / f"seed-{seed}"
            words = ["train", str(data), str(run), "--epochs", str(epochs), "--seed", str(seed), *options]
            seconds = timed(run, words)["seconds"]
            result = tested(run / LAST_WEIGHTS, data, beside(run, ".npz"))
            check_same_images(way, data, set(result.names) == set(split.other.names))
            rows.append(outcome(data, way, run, class_error(result), seconds, seed=seed, epochs=epochs))
    return rows


def as_table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Each way's network, and its mean error on each set, in Markdown."""
    rows = {row["way"]: row for several in found.values() for row in several}
    lines = [f"| data | {' | '.join(rows)} |", f"|---|{'--:|' * len(rows)}"]
    for fact in ("configuration", "window", "S"):
        lines.append(f"| {fact} | {' | '.join(str(row[fact]) for row in rows.values())} |")
    for name, several in found.items():
        errors = [[row["error"] for row in several if row["way"] == way] for way in rows]
        lines.append(f"| {name} | {' | '.join(f'{sum(one) / len(one):.2f} %' for one in errors)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", nargs="+", default=["tiny-imagenet", "cifar10"])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    wanted = [name for classes in FOLDERS.values() for name in classes.split()]
    parts = [arguments.photos / part for part in ("train", "val")]
    missing = [name for name in wanted if not all((part / name).is_dir() for part in parts)]
    if missing:
        parser.error(f"{arguments.photos} lacks classes in train/ or val/: {few(missing)}; give Caltech-101's")
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
    print(as_table(found))


if __name__ == "__main__":
    main()
