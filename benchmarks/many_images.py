"""`verydeep predict --out` on many images: killed and resumed, its memory, its speed, and what its plan costs.

    python benchmarks/many_images.py run CIFAR10 [--images 1000000] [--kills 3] [--processes 1] [--scale 64]
        [--folder FOLDER]
    python benchmarks/many_images.py plan [--most 10000000]

`run` packs the training part of CIFAR-10 into shards, once, and gives them to the command again and again. One run
is unbroken. Another is killed at random moments, resumed each time, and has to end with the same files. Rows are
counted. Told are images a second beside the engine's own on decoded images, and the peak memory of the unbroken
run beside that of a run on 5,000 images. With `--scale` images are shown at that Q, not at the model's own.

`plan` writes lists of 10^4 to `--most` names. It tells how long a process takes to read one and to plan the parts,
how long the digest that resuming needs takes, and the peak of the memory beyond what the process had before. It
does so for an index of shards too, and for folders of up to 10^6 empty files. Medians of three processes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from shards import make_index

import verydeep
from verydeep.chunks.part_files import count_rows
from verydeep.chunks.plan import Blocks
from verydeep.images.find import find_images
from verydeep.inference import open_engine

FEW = 5000  # images whose memory is told beside that of all
MOST_FILES = 1_000_000
COMMAND = [sys.executable, "-m", "verydeep", "predict", "cifar10"]


@contextmanager
def a_folder(given: Path | None) -> Iterator[Path]:
    if given is None:
        with tempfile.TemporaryDirectory(prefix="many-images-") as name:
            yield Path(name)
    else:
        given.mkdir(parents=True, exist_ok=True)
        yield given


def words(folder: Path, count: int) -> list[str]:
    """What the command takes for `count` images: the shards again and again, then a list of the first."""
    shards = folder / "shards"
    each = len(find_images(shards))
    times, rest = divmod(count, each)
    given = [str(shards)] * times
    if rest:
        paths = find_images(folder / "images").names[:rest]
        (folder / "rest.txt").write_text("\n".join(paths) + "\n")
        given.append(f"@{folder / 'rest.txt'}")
    return given


def prepare(cifar10: Path, folder: Path) -> None:
    if not (folder / "images").exists():
        (folder / "images").symlink_to((cifar10 / "train").resolve(), target_is_directory=True)
    if not (folder / "shards" / "shards.json").is_file():
        verydeep.shard(folder / "images", out=folder / "shards")


def predict(given: list[str], out: Path) -> tuple[float, float]:
    """Seconds, and peak memory in MB of the largest process."""
    log = out.with_name(out.name + ".log")
    start = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen([*COMMAND, *given, "--out", str(out)], stdout=file, stderr=file)
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(log.read_text())
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def start(given: list[str], out: Path) -> subprocess.Popen[bytes]:
    command = [*COMMAND, *given, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def num_parts(out: Path) -> int:
    return sum(1 for _ in out.glob("part-*"))


def kill_and_resume(given: list[str], out: Path, total: int, kills: int) -> list[int]:
    """Kill the command at random moments; the parts that were there each time."""
    chance, killed_at = random.Random(0), list[int]()
    for number in range(kills):
        process = start(given, out)
        # Somewhere within the next share of the work.
        wanted = chance.uniform(number, number + 1) / (kills + 1) * total
        while num_parts(out) < wanted and process.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 1))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed_at.append(num_parts(out))
    return killed_at


def same_files(one: Path, other: Path) -> bool:
    names = sorted(path.name for path in one.iterdir())
    return names == sorted(path.name for path in other.iterdir()) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )


def engine_speed(folder: Path, scale: int | None) -> float:
    """Images a second of the engine alone, on decoded images as the command shows them."""
    engine = open_engine("cifar10")
    scale, mirror = scale or engine.config.trained_on.test_scale, engine.config.trained_on.mirror
    source = find_images(folder / "images").source
    from verydeep.images.views import rescale

    images = np.stack([np.asarray(rescale(source.read(number), scale)) for number in range(128)])
    seconds = []
    for _ in range(7):
        begun = time.perf_counter()
        engine.score_maps(images)
        if mirror:
            engine.score_maps(images[:, :, ::-1])
        seconds.append(time.perf_counter() - begun)
    return len(images) / statistics.median(seconds)


def run(cifar10: Path, images: int, kills: int, processes: int, scale: int | None, folder: Path) -> None:
    prepare(cifar10, folder)
    options = ["--processes", str(processes), *(["--scales", str(scale)] if scale else [])]
    few, unbroken, killed = (folder / name for name in ("few", "unbroken", "killed"))
    for out in (few, unbroken, killed):
        shutil.rmtree(out, ignore_errors=True)
    alone = engine_speed(folder, scale)
    _, memory_of_few = predict([*words(folder, FEW), *options], few)
    given = [*words(folder, images), *options]
    seconds, memory = predict(given, unbroken)
    again = engine_speed(folder, scale)
    rows = sum(count_rows(path)[0] for path in unbroken.glob("part-*"))
    total = num_parts(unbroken)
    killed_at = kill_and_resume(given, killed, total, kills)
    resumed, _ = predict(given, killed)
    same = same_files(unbroken, killed)
    found = {
        "images": images,
        "rows": rows,
        "images_per_second": round(images / seconds, 1),
        "engine_alone_before_and_after": [round(alone, 1), round(again, 1)],
        "peak_mb": round(memory, 1),
        f"peak_mb_of_{FEW}": round(memory_of_few, 1),
        "parts": total,
        "killed_at_parts": killed_at,
        "seconds": round(seconds, 1),
        "seconds_of_the_last_resumption": round(resumed, 1),
        "the_same_files": same,
    }
    print(json.dumps(found, indent=2))
    sys.exit(not same or rows != images)


def make_list(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            file.write(f"/data/photographs/{number // 1000:06d}/{number:09d}.jpg\n")


def make_files(folder: Path, count: int) -> None:
    for first in range(0, count, 1000):
        inside = folder / f"{first // 1000:06d}"
        inside.mkdir()
        for number in range(first, first + 1000):
            (inside / f"{number:09d}.jpg").touch()


def plan_once(word: str) -> None:
    """In a process of its own: what it takes to be ready for the first image."""
    before = memory("VmRSS")
    begun = time.perf_counter()
    images = find_images(word)
    plan = Blocks(images, 1000)
    first = plan[0].images
    found = time.perf_counter()
    assert images.fingerprint
    assert len(plan) * len(first) >= len(images)
    peak = memory("VmHWM") - before
    print(json.dumps({"plan": found - begun, "digest": time.perf_counter() - found, "peak": peak}))


def memory(name: str) -> float:
    """What the system says of this process's memory, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def measure_plan(most: int) -> None:
    print("| images | list: plan | digest | memory | shards: plan | digest | memory | folder: plan | memory |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    count = 10_000
    while count <= most:
        cells = [f"{count:,}"]
        with tempfile.TemporaryDirectory(prefix="many-images-") as name:
            folder = Path(name)
            make_list(folder / "list.txt", count)
            make_index(folder, count)
            for word in (f"@{folder / 'list.txt'}", str(folder)):
                found = three_processes(word)
                cells += [
                    f"{found['plan']:.2f} s",
                    f"{found['digest']:.2f} s",
                    f"{found['peak']:,.0f} MB",
                ]
        if count <= MOST_FILES:
            with tempfile.TemporaryDirectory(prefix="many-images-") as name:
                make_files(Path(name), count)
                found = three_processes(name)
            cells += [f"{found['plan']:.2f} s", f"{found['peak']:,.0f} MB"]
        print(f"| {' | '.join(cells)} |", flush=True)
        count *= 10


def three_processes(word: str) -> dict[str, float]:
    runs = []
    for _ in range(3):
        command = [sys.executable, __file__, "plan-once", word]
        runs.append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
    return {name: statistics.median(one[name] for one in runs) for name in runs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("cifar10", type=Path)
    runs.add_argument("--images", type=int, default=1_000_000)
    runs.add_argument("--kills", type=int, default=3)
    runs.add_argument("--processes", type=int, default=1)
    runs.add_argument("--scale", type=int)
    runs.add_argument("--folder", type=Path, help="where shards and part files are kept")
    commands.add_parser("plan").add_argument("--most", type=int, default=10_000_000)
    commands.add_parser("plan-once").add_argument("word")
    arguments = parser.parse_args()
    if arguments.what == "plan":
        measure_plan(arguments.most)
    elif arguments.what == "plan-once":
        plan_once(arguments.word)
    else:
        with a_folder(arguments.folder) as folder:
            run(arguments.cifar10, arguments.images, arguments.kills, arguments.processes, arguments.scale, folder)


if __name__ == "__main__":
    main()
