"""Train on photographs among which are 300 damaged copies: what is left out, how long it takes, how much memory.

    python benchmarks/damaged_images.py PHOTOGRAPHS [--copies 300] [--seed 0] [--epochs 1] [--recipe photos]

PHOTOGRAPHS has train/<class>/ and val/<class>/. Each way of damage that the tests know takes its turn, and so do
large images that are whole. Images are read when their turn comes, by 0, 1 and 3 processes, and all runs have
to end with the same bits; then the model is tested, and predicts. Nothing may hang, or leave out another image.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from damage import write_damaged

FROM_DISK = (  # as where the images do not fit in memory
    "import sys; from verydeep.images import in_memory; in_memory.KEEP_BYTES = 0; "
    "from verydeep.cli import main; main(sys.argv[1:])"
)
LARGE = (12_000, 12_000)


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    err: str
    seconds: float
    own_megabytes: float
    reader_megabytes: float


def make_folder(photographs: Path, folder: Path, copies: int, seed: int) -> set[str]:
    """Copy the photographs, with damaged copies among them; give the names of those that cannot be read."""
    shutil.copytree(photographs, folder)
    chance, noise = random.Random(seed), np.random.default_rng(seed)
    originals = sorted(path for path in folder.rglob("*.jpg"))
    lost = set()
    for number in range(copies):
        original = chance.choice(originals)
        with Image.open(original) as image:
            path, readable = write_damaged(original.parent, image.convert("RGB"), number, noise)
        if not readable:
            lost.add(path.relative_to(folder).as_posix())
    for number in range(3):
        Image.new("RGB", LARGE, (number, 99, 200)).save(chance.choice(originals).parent / f"large {number}.png")
    return lost


def run(words: list[str], from_disk: bool) -> Outcome:
    """Run a command, and watch the memory that it and its readers take, each by itself, at most."""
    begun = time.monotonic()
    program = ["-c", FROM_DISK] if from_disk else ["-m", "verydeep"]
    process = subprocess.Popen(
        [sys.executable, *program, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    most = {"own": 0.0, "reader": 0.0}

    def watch() -> None:
        while process.poll() is None:
            most["own"] = max(most["own"], megabytes(process.pid))
            for child in children(process.pid):
                most["reader"] = max(most["reader"], megabytes(child))
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _, err = process.communicate(timeout=600)
    finally:
        process.kill()  # what takes ten minutes hangs
        watcher.join()
    return Outcome(process.returncode, err, time.monotonic() - begun, most["own"], most["reader"])


def megabytes(process: int) -> float:
    """The most memory that a process has had so far."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def names_left_out(run_folder: Path) -> set[str]:
    return {json.loads(line)["name"] for line in (run_folder / "skipped.jsonl").read_text().splitlines()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--copies", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--recipe", default="photos")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="damaged-"))
    data = folder / "data"
    lost = make_folder(arguments.photographs, data, arguments.copies, arguments.seed)
    held_out = {name for name in lost if name.startswith("val/")}
    settings = ["--recipe", arguments.recipe, "--width", "0.06", "--epochs", str(arguments.epochs)]
    failures: list[str] = []

    def check(what: str, outcome: Outcome, code: int, more: bool = True) -> None:
        good = outcome.code == code and "Traceback" not in outcome.err and more
        failures.extend([] if good else [what])
        print(
            f"{what}: {'as it should' if good else f'WRONG ({outcome.code}): ' + outcome.err[-500:]}, "
            f"{outcome.seconds:.0f} s, at most {outcome.own_megabytes:.0f} MB, "
            f"a reader {outcome.reader_megabytes:.0f} MB",
            flush=True,
        )

    print(f"{len(lost)} of {arguments.copies} damaged copies cannot be read, {len(held_out)} of them held out")
    for kind, from_disk in (("in memory", False), ("from disk", True)):
        refused = run(["train", str(data), str(folder / f"refused {kind}"), *settings], from_disk)
        check(f"unasked, {kind}", refused, 1, "--max-unreadable" in refused.err.splitlines()[-1])
    ends = set()
    for workers in ("0", "1", "3"):
        run_folder = folder / workers
        words = ["train", str(data), str(run_folder), *settings, "--workers", workers]
        done = run([*words, "--max-unreadable", str(len(lost))], from_disk=True)
        named = names_left_out(run_folder)
        check(f"{workers} processes, {len(named)} left out", done, 0, named <= lost)
        ends.add(((run_folder / "last.safetensors").read_bytes(), (run_folder / "skipped.jsonl").read_bytes()))
    if len(ends) > 1:
        failures.append("the runs differ")
    model = str(folder / "0")
    words = ["evaluate", model, str(data)]
    check("evaluate, unasked", run(words, False), 1)
    check("evaluate", run([*words, "--max-unreadable", str(len(held_out))], False), 0)
    predicted = run(["predict", model, str(data / "val")], False)
    check("predict", predicted, 1, f"{len(held_out)} of" in predicted.err.splitlines()[-1])
    shutil.rmtree(folder)
    print("; ".join(failures) or "all as it should, and the runs of 0, 1 and 3 processes have the same bits")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
