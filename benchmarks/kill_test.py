"""Kill a small run at random moments, go on, and compare the end with the unbroken run's, bit for bit.

    python benchmarks/kill_test.py [--kills 40] [--seed 0]

A state is saved after every step, or as soon as the one before is on the disk, so that most kills meet a save.
Each run is killed a random while, up to two steps, after a step that is drawn from all but the last ones; it goes
on once and to the end.

"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = ["--recipe", "digits", "--width", "0.06", "--epochs", "6", "--batch-size", "64", "--save-steps", "1"]
COMMAND = [sys.executable, "-m", "verydeep", "train", "digits"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(run: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [*COMMAND, str(run), *RECIPE, *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)


def steps_done(run: Path) -> int:
    journal = run / "journal.jsonl"
    return sum('"rate"' in line for line in journal.read_text().splitlines()) if journal.is_file() else 0


def wait_for_step(number: int, run: Path, process: subprocess.Popen[bytes]) -> None:
    while steps_done(run) < number and process.poll() is None:
        time.sleep(0.002)


def end_of(run: Path) -> bytes:
    return (run / "last.safetensors").read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="kill-test-"))
    unbroken = folder / "unbroken"
    process = start(unbroken)
    wait_for_step(1, unbroken, process)
    begun = time.monotonic()
    process.wait()
    wanted, total = end_of(unbroken), steps_done(unbroken)
    a_step = (time.monotonic() - begun) / total
    killed_at, different = [], 0
    for number in range(arguments.kills):
        run = folder / f"run{number}"
        process = start(run)
        wait_for_step(chance.randrange(1, total - 5), run, process)
        time.sleep(chance.uniform(0, 2 * a_step))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_at.append(steps_done(run))
        start(run, "--resume").wait()
        left_over = [path.name for path in run.iterdir() if path.name.endswith(".part")]
        same = end_of(run) == wanted and steps_done(run) == total
        different += not same
        verdict = "the same bits" if same else "DIFFERENT"
        rest = f", left over: {', '.join(left_over)}" if left_over else ""
        print(f"{number + 1:3d}: killed after step {killed_at[-1]:3d} of {total}: {verdict}{rest}", flush=True)
        shutil.rmtree(run)
    shutil.rmtree(folder)
    print(json.dumps({"kills": arguments.kills, "different": different, "killed_after_step": killed_at}))
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
