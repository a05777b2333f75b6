"""Start the same command twice at once, with the same output: one works, the other is refused, nothing is mixed.

    python benchmarks/two_writers.py [--tries 50] [--only train resume evaluate extract shard]

The two are given different inputs, so that the output tells whose it is: it must be, to the last bit, what one
of them makes alone. A barrier lets both go at the same moment. What is refused has to say so in one sentence.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from commands import SMALL, exit_code, fork, import_all, make_images, quietly

from verydeep import lock


@dataclass(frozen=True)
class Case:
    """A command of two writers.

    Attributes:
        words: of each of the two, for an output.
        digest: of an output.
        begin: what is there before, for an output.

    """

    words: Callable[[Path, int], Sequence[object]]
    digest: Callable[[Path], str]
    begin: Callable[[Path], object] = lambda out: None


def make_cases(desk: Path) -> dict[str, Case]:
    """The cases, with the data and the models that they take."""
    data = [make_images(desk / f"data{number}", 24, seed=number, side=96) for number in range(2)]
    models = [desk / f"model{number}" for number in range(2)]
    for number, model in enumerate(models):
        words = ("A", model, "--width", "0.03", "--num-classes", 3, "--window", 32, "--seed", number)
        quietly("new", *words)
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"class_names": ["blue", "green", "red"]}))
    begun = desk / "begun"
    quietly("train", data[0], begun, *SMALL, "--epochs", 1)

    def of(*names: str) -> Callable[[Path], str]:
        return lambda out: hashlib.sha256(b"".join((out / name).read_bytes() for name in names)).hexdigest()

    def posteriors(out: Path) -> str:
        with np.load(out) as result:
            return hashlib.sha256(result["posteriors"].tobytes()).hexdigest()

    def train(out: Path, who: int) -> Sequence[object]:
        return ("train", data[0], out, *SMALL, "--epochs", 3, "--seed", who)

    def resume(out: Path, who: int) -> Sequence[object]:
        return ("train", data[0], out, "--resume", "--epochs", 4 + who)

    def evaluate(out: Path, who: int) -> Sequence[object]:
        return (
            "evaluate",
            models[who],
            data[0],
            "--part",
            "all",
            "--scales",
            64,
            96,
            "--batch-size",
            1,
            "--out",
            out / "result.npz",
        )

    def extract(out: Path, who: int) -> Sequence[object]:
        return (
            "extract",
            models[who],
            data[0],
            "--layers",
            "pool5",
            "--scales",
            128,
            "--out",
            out / "features.npz",
        )

    def shard(out: Path, who: int) -> Sequence[object]:
        return ("shard", data[who], "--out", out, "--images-per-shard", 1)

    return {
        "train": Case(train, of("last.safetensors")),
        "resume": Case(resume, of("last.safetensors"), lambda out: shutil.copytree(begun, out)),
        "evaluate": Case(evaluate, lambda out: posteriors(out / "result.npz")),
        "extract": Case(extract, of("features.npz")),
        "shard": Case(shard, of("index/hashes.npy", "index/pictures.npy", "train-000000.tar", "val-000000.tar")),
    }


def problem_of(desk: Path, case: Case, alone: Sequence[str]) -> str:
    """Let the two go once; give what was wrong, or nothing."""
    out = desk / "out"
    case.begin(out)
    barrier = multiprocessing.get_context("fork").Barrier(2)
    said = [desk / f"said{who}.txt" for who in range(2)]

    def go() -> None:
        lock.PATIENCE = 0.05  # the work is short, and who waits longer would come when it is done
        barrier.wait()

    children = [fork(case.words(out, who), said[who], go) for who in range(2)]
    codes = [exit_code(child) for child in children]
    printed = [file.read_text() for file in said]
    if sorted(codes) != [0, 1]:
        return f"exit codes {codes}: {printed}"
    winner = codes.index(0)
    lines = printed[1 - winner].strip().splitlines()
    if len(lines) != 1 or "is being written by process" not in lines[0]:
        return f"the other said {printed[1 - winner]!r}"
    if case.digest(out) != alone[winner]:
        return "the output is not what the one makes alone"
    left = [path.name for path in out.rglob("*") if path.name.endswith((".part", ".parts", ".lock"))]
    return f"left over: {left}" if left else ""


def run(tries: int, only: Sequence[str] = ()) -> dict[str, list[str]]:
    """Try each case so often; give what was wrong in each."""
    import_all()
    found: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="two-writers-") as folder:
        desk = Path(folder)
        for name, case in make_cases(desk).items():
            if only and name not in only:
                continue
            alone = []
            for who in range(2):
                case.begin(desk / "out")
                code = exit_code(fork(case.words(desk / "out", who), desk / "alone.txt"))
                assert code == 0, (desk / "alone.txt").read_text()
                alone.append(case.digest(desk / "out"))
                shutil.rmtree(desk / "out")
            assert alone[0] != alone[1]
            found[name] = []
            for _ in range(tries):
                found[name] += filter(None, [problem_of(desk, case, alone)])
                shutil.rmtree(desk / "out", ignore_errors=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=50)
    parser.add_argument("--only", nargs="*", default=())
    arguments = parser.parse_args()
    found = run(arguments.tries, arguments.only)
    for name, problems in found.items():
        print(f"{name}: {arguments.tries} tries, {len(problems)} wrong", *problems[:3], sep="\n  ")
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
