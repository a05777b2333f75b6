"""Shards: how start-up grows with the number of images, and how fast images are read from them.

    python benchmarks/shards.py index [--most 10000000]
    python benchmarks/shards.py read IMAGES [--rounds 5]

`index` makes an index of 10^4 to 10^7 images (1,000 classes, 110 KB each, in tars of 10,000 that hold nothing)
and, in processes of their own, opens it and draws the order of the first epoch; medians of three. Up to 10^5 empty
files in class folders are opened too. Memory is what the process has resident beyond what it had with the same
modules imported: its own, and pages of the index, which the system shares among processes and takes back when it
needs them.

`read` packs a folder of photographs and reads it, whole, as files and as shards in turn, with one thread, from the
page cache: reading the bytes alone, and decoding them. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from verydeep.images.batches import TrainingBatches
from verydeep.images.data import Data
from verydeep.images.find import unlabelled
from verydeep.images.image_set import Files, ImageSet
from verydeep.images.path_list import PathList
from verydeep.images.shard_index import BLOCK, RECORD
from verydeep.images.shard_writing import write_index, write_manifest
from verydeep.images.sharding import Packing, finish, pack
from verydeep.images.shards import Shards
from verydeep.images.sources import open_data
from verydeep.images.views import TrainingView

BYTES, PER_SHARD, CLASSES, HELD_OUT = 110_000, 10_000, 1000, 0.04
MOST_FILES = 100_000


def make_index(out: Path, count: int) -> None:
    """An index without images: its tars have the length that they would have, and take no room."""
    records = np.zeros(count, RECORD)
    records["key"] = np.arange(count)
    records["shard"], place = np.divmod(np.arange(count), PER_SHARD)
    records["offset"] = BLOCK + place * (BYTES // BLOCK + 4) * BLOCK
    records["length"], records["width"], records["height"] = BYTES, 500, 375
    labels = np.arange(count) * CLASSES // count
    names = (f"train/n{label:08d}/n{label:08d}_{number}.JPEG" for number, label in enumerate(labels))
    write_index(out, records, labels, names)
    size = PER_SHARD * (BYTES // BLOCK + 4) * BLOCK
    shards = [(f"train-{number:06d}.tar", size) for number in range(-(-count // PER_SHARD))]
    for name, length in shards:
        with (out / name).open("wb") as file:
            file.truncate(length)
    held_out = round(HELD_OUT * count)
    parts = {"train": (count - held_out, "made up"), "val": (held_out, "made up")}
    write_manifest(out, parts, shards, class_names=[f"n{label:08d}" for label in range(CLASSES)], split="made up")


def make_folder(out: Path, count: int) -> None:
    """Empty files, in class folders."""
    for part, share in (("train", 1 - HELD_OUT), ("val", HELD_OUT)):
        for label in range(CLASSES):
            folder = out / part / f"n{label:08d}"
            folder.mkdir(parents=True)
            for number in range(max(1, round(share * count / CLASSES))):
                (folder / f"{folder.name}_{number}.JPEG").touch()


def resident() -> tuple[float, float]:
    """MB that this process has to itself, and MB of files that it has mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return int(found["RssAnon"]) / 1024, int(found["RssFile"]) / 1024


def open_once(folder: Path) -> None:
    own, mapped = resident()
    start = time.perf_counter()
    data = open_data(str(folder))
    opened = time.perf_counter()
    batches = TrainingBatches(data.train, TrainingView((256, 256), 224), 256, seed=0)
    from verydeep.images.batches import _order

    order = _order(len(batches.images), 0, 0)
    ordered = time.perf_counter()
    own_now, mapped_now = resident()
    found = {"open": opened - start, "order": ordered - opened, "own": own_now - own}
    if isinstance(data.train.source, Files):
        print(json.dumps(found))
        return
    # The index is looked up as training does, but for the images' bytes.
    for number in order[:10_000].tolist():
        assert data.train.names[number]
        assert data.train.source.size(number) == (500, 375)
    found["lookup"] = (time.perf_counter() - ordered) / min(len(order), 10_000)
    own_now, mapped_now = resident()
    print(json.dumps({**found, "own": own_now - own, "mapped": mapped_now - mapped}))


def measure_index(most: int) -> None:
    print(
        "| images | index | open | first order | name and size | own memory | pages | files: open | own memory |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    count = 10_000
    while count <= most:
        with tempfile.TemporaryDirectory() as folder:
            make_index(Path(folder), count)
            on_disk = sum(file.stat().st_size for file in (Path(folder) / "index").iterdir()) / 1e6
            found = three_processes(Path(folder))
        as_files = "| | |"
        if count <= MOST_FILES:
            with tempfile.TemporaryDirectory() as folder:
                make_folder(Path(folder), count)
                files = three_processes(Path(folder))
            as_files = f"| {files['open'] * 1000:,.0f} ms | {files['own']:,.0f} MB |"
        print(
            f"| {count:,} | {on_disk:,.1f} MB | {found['open'] * 1000:,.0f} ms | {found['order'] * 1000:,.0f} ms "
            f"| {found['lookup'] * 1e6:.1f} µs | {found['own']:,.0f} MB | {found['mapped']:,.0f} MB {as_files}",
            flush=True,
        )
        count *= 10


def three_processes(folder: Path) -> dict[str, float]:
    runs = [one_process(folder) for _ in range(3)]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def one_process(folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "open", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure_reading(folder: Path, rounds: int) -> None:
    found = unlabelled([folder])
    labels = np.zeros(len(found), np.int64)
    images = ImageSet(found.names, labels, ("a",), found.source)
    data = Data({"train": images, "val": images.select([0])}, "made up")
    with tempfile.TemporaryDirectory() as out:
        finish(data, Path(out), pack(data, Path(out), Packing()), Packing(), str(folder))
        shards = open_data(out).train.source
        assert isinstance(shards, Shards)
        assert isinstance(found.source, PathList)
        files = found.source
        ways: dict[str, Callable[[int], object]] = {
            "bytes, files": lambda number: files.path(number).read_bytes(),
            "bytes, shards": lambda number: shards.encoded(number).content,
            "decoded, files": files.read,
            "decoded, shards": shards.read,
            "size, files": files.size,
            "size, shards": shards.size,
        }
        order = np.random.default_rng(0).permutation(len(found)).tolist()
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(rounds + 1):  # the first warms the page cache
            for way, read in ways.items():
                start = time.perf_counter()
                for number in order:
                    read(number)
                if turn:
                    seconds[way].append(time.perf_counter() - start)
    for way, taken in seconds.items():
        print(f"{way:16} {len(found) / statistics.median(taken):12,.0f} images/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["index", "read", "open"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--most", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.what == "index":
        measure_index(arguments.most)
    elif arguments.folder is None:
        parser.error("name a folder")
    elif arguments.what == "open":
        open_once(arguments.folder)
    else:
        measure_reading(arguments.folder, arguments.rounds)


if __name__ == "__main__":
    main()
