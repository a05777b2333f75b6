"""Kill a small run at random moments, go on, and compare the end with the unbroken run's, bit for bit.

    python benchmarks/kill_test.py [--kills 40] [--seed 0]

A state is saved after every step, so that many a kill meets a save. Every killed run goes on once and to the end.
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

RECIPE = ["--recipe", "digits", "--width", "0.06", "--epochs", "2", "--batch-size", "64", "--save-steps", "1"]
COMMAND = [sys.executable, "-m", "verydeep", "train", "digits"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(run: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [*COMMAND, str(run), *RECIPE, *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)


def steps_done(run: Path) -> int:
    journal = run / "journal.jsonl"
    return sum('"rate"' in line for line in journal.read_text().splitlines()) if journal.is_file() else 0


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
    begun = time.monotonic()
    start(unbroken).wait()
    whole, wanted, total = time.monotonic() - begun, end_of(unbroken), steps_done(unbroken)
    killed_at, different = [], 0
    for number in range(arguments.kills):
        run = folder / f"run{number}"
        process = start(run)
        time.sleep(chance.uniform(0.25 * whole, whole))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_at.append(steps_done(run))
        if (run / "config.json").is_file():
            start(run, "--resume").wait()
        else:  # it had not begun
            shutil.rmtree(run, ignore_errors=True)
            start(run).wait()
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
