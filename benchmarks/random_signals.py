"""Send Ctrl-C or SIGTERM to long commands at random moments, and start them again.

    python benchmarks/random_signals.py [--moments 100] [--seed 0] [--only train study ...]

After each signal the exit code is 130 or 143, no process is left after 3 seconds, no `.part` file is left, and the
same command, or `--resume`, ends with the output of one that was not interrupted, bit for bit. The signal goes to
the process alone or, as in a terminal, to its group. A process has imported all that it needs before it begins, so
that the moments are within the work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from commands import SMALL, as_shell, exit_code, fork, import_all, make_images, quietly

Words = Sequence[object]
PATIENCE = 3.0  # seconds from the signal to the end of every process
STUDY = """
title = "A tiny study"
recipe = "digits"
reach = 2
[settings]
epochs = 1
width = 0.03
batch_size = 8
batch_norm = false
[[train]]
networks = "A"
[[test]]
networks = "A"
"""


@dataclass(frozen=True)
class Case:
    """A long command.

    Attributes:
        words: for a folder, which may not be there, in which it writes all its output.
        digest: of the output in the folder.
        again: the words after an interruption; None for the same.
        begin: what must be there before, for a folder.

    """

    words: Callable[[Path], Words]
    digest: Callable[[Path], str]
    again: Callable[[Path], Words] | None = None
    begin: Callable[[Path], object] = Path.mkdir


NO_FILES = hashlib.sha256().hexdigest()


def digest(*patterns: str) -> Callable[[Path], str]:
    """A digest of the files of some names in a folder, which are there."""

    def of(out: Path) -> str:
        files = sorted(file for pattern in patterns for file in out.glob(pattern))
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()

    return of


def posteriors(out: Path) -> str:
    with np.load(out / "result.npz") as result:
        return hashlib.sha256(result["posteriors"].tobytes()).hexdigest()


def make_cases(desk: Path) -> dict[str, Case]:
    """The cases, with the data and the models that they take."""
    data, photo = make_images(desk / "data", 16, side=96), desk / "data" / "red" / "0.png"
    model, large = desk / "model", desk / "large"
    for run, width, window in ((model, 0.03, 32), (large, 0.1, 224)):
        quietly("new", "A", run, "--width", width, "--num-classes", 3, "--window", window)
        config = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps(config | {"class_names": ["blue", "green", "red"]}))
    theirs, study = desk / "theirs.pth", desk / "study.toml"
    quietly("export", large, "--to", "torchvision", "--out", theirs)
    study.write_text(STUDY)
    told = ("--preprocessing", "torchvision", "--class-names", "numbers")

    def train(out: Path) -> Words:
        return ("train", data, out / "run", *SMALL, "--epochs", 4, "--save-steps", 1)

    def resume(out: Path) -> Words:
        begun = (out / "run" / "config.json").is_file()
        return ("train", data, out / "run", "--resume") if begun else train(out)

    def evaluate(out: Path) -> Words:
        more = ("--part", "all", "--scales", 64, 96, 128, "--batch-size", 1, "--processes", 2)
        return ("evaluate", model, data, *more, "--out", out / "result.npz")

    return {
        "train": Case(train, digest("run/last.safetensors", "run/model.safetensors"), resume),
        "evaluate": Case(evaluate, posteriors),
        "extract": Case(
            lambda out: ("extract", model, data, "--layers", "pool5", "--scales", 256, "--out", out / "x.npz"),
            digest("x.npz"),
        ),
        "transfer": Case(
            lambda out: ("transfer", out / "model", data, "--scales", 128),
            digest("model/*.safetensors"),
            begin=lambda out: shutil.copytree(model, out / "model"),
        ),
        "shard": Case(
            lambda out: ("shard", data, "--out", out / "shards", "--images-per-shard", 4),
            digest("shards/*.tar", "shards/index/*"),
        ),
        "predict": Case(
            lambda out: ("predict", model, data, "--scales", 128, "--maps", out / "maps"), digest("maps/*.png")
        ),
        "style": Case(
            lambda out: ("style", model, photo, data / "blue" / "0.png", "--steps", 30, "--out", out / "made.png"),
            digest("made.png"),
        ),
        "visualize": Case(
            lambda out: ("visualize", model, photo, "--steps", 10, "--page", out / "page.html"),
            digest("page.html"),
        ),
        "convert": Case(lambda out: ("convert", theirs, out / "run", *told), digest("run/model.safetensors")),
        "export": Case(
            lambda out: ("export", large, "--to", "hub", "--out", out / "hub"), digest("hub/model.safetensors")
        ),
        "study": Case(
            lambda out: ("study", study, "--data", data, "--out", out / "study"),
            digest("study/runs/*/last.safetensors", "study/claims.json"),
        ),
    }


def session(child: int) -> list[int]:
    """The processes that a process has started, directly or not, and that are alive; itself among them."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == child and fields[0] != "Z":
                found.append(int(folder.name))
    return found


def problem_of(case: Case, out: Path, said: Path, alone: str, seconds: float, chance: random.Random) -> str:
    """Interrupt a command once; give what was wrong, or nothing. 'too late' where it was done before."""
    number = chance.choice((signal.SIGINT, signal.SIGTERM))
    send = chance.choice((os.kill, os.killpg))
    moment = chance.uniform(0, seconds)
    case.begin(out)
    child = fork(case.words(out), said)
    time.sleep(0.02 + moment)  # a process begins by making a session of its own
    send(child, number)
    end = time.monotonic() + PATIENCE
    status = None
    while time.monotonic() < end and (status is None or session(child)):
        if status is None:
            status = next((code for pid, code in [os.waitpid(child, os.WNOHANG)] if pid), None)
        time.sleep(0.01)
    left = session(child)
    for process in left:
        os.kill(process, signal.SIGKILL)
    code = as_shell(os.waitpid(child, 0)[1] if status is None else status)
    what = f"signal {number} by {send.__name__} after {moment:.2f} s of {seconds:.2f}"
    printed = said.read_text()
    if left:
        return f"{what}: {len(left)} processes were left; it printed {printed!r}"
    if code not in (0, 128 + number):
        return f"{what}: exit code {code}; it printed {printed!r}"
    if "Traceback" in printed or "Exception ignored" in printed:
        return f"{what}: it printed {printed!r}"
    parts = [str(path.relative_to(out)) for path in out.rglob("*") if path.name.endswith(".part")]
    if parts:
        return f"{what}: left over: {parts}"
    if code:
        code = exit_code(fork((case.again or case.words)(out), said))
        if code and case.digest(out) != alone:  # otherwise it had done all before
            return f"{what}; started again: exit code {code}; it printed {said.read_text()!r}"
    if case.digest(out) != alone:
        return f"{what}: another output than that of a command that is not interrupted"
    return ""


def run(moments: int, seed: int, only: Sequence[str] = ()) -> dict[str, list[str]]:
    """Interrupt the commands in turn; give what was wrong with each, an empty text for nothing."""
    import_all()
    chance = random.Random(seed)
    found: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="random-signals-") as folder:
        desk = Path(folder)
        cases = {name: case for name, case in make_cases(desk).items() if not only or name in only}
        out, said = desk / "out", desk / "said.txt"
        alone: dict[str, tuple[str, float]] = {}
        for number in range(moments):
            name = list(cases)[number % len(cases)]
            case = cases[name]
            if name not in alone:
                case.begin(out)
                begun = time.monotonic()
                code = exit_code(fork(case.words(out), said))
                assert code == 0, said.read_text()
                alone[name] = case.digest(out), time.monotonic() - begun
                assert alone[name][0] != NO_FILES, f"{name} has none of its files"
                shutil.rmtree(out)
            found.setdefault(name, []).append(problem_of(case, out, said, *alone[name], chance))
            shutil.rmtree(out)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=())
    arguments = parser.parse_args()
    found = run(arguments.moments, arguments.seed, arguments.only)
    for name, problems in found.items():
        print(
            f"{name}: {len(problems)} moments, {sum(map(bool, problems))} wrong",
            *filter(None, problems),
            sep="\n  ",
        )
    sys.exit(any(map(any, found.values())))


if __name__ == "__main__":
    main()
