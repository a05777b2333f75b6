"""Compare the numbers of two revisions of the package on this machine.

    python benchmarks/same_numbers.py OLD/.venv/bin/python NEW/.venv/bin/python [--only native ...] [--json]

Each revision has an environment of its own. Both get the same images and networks and run the same commands. Their
results are compared array by array. Training, the native engine and all that uses it have to agree bit for
bit. What torch and onnxruntime compute has to agree to 1e-6 of an array's greatest value. Exits with 1 if a number
differs by more. About ten minutes on two cores. The environment of the script itself needs torch and onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

Arrays = dict[str, NDArray[Any]]

# Commands are written below as commit f3019c5 had them. What a revision's help lacks is said by the later words.
LATER = {
    "features": ["extract"],
    "--posteriors": ["--out"],
    "--scale": ["--scales", "--train-scale"],
    "--image-size": ["--window"],
    "--start": ["--init"],
}
OUT = "OUT="  # before a path that is a position of the command, or its --out

EXACT, CLOSE = 0.0, 1e-6
CONFIGURATIONS = ("A", "A-LRN", "B", "C", "D", "E")
TEN_STEPS = "--recipe digits --batch-size 12 --epochs 5 --learning-rate 0.005 --color-shift 0.1 --mirror"
TRAININGS = {
    "plain": "--width 0.1 --no-batch-norm",
    "batch_norm": "--width 0.1",
    "jittered": "--width 0.1 --no-batch-norm --scale 34:44",
    "one_worker": "--width 0.1 --workers 1",
    "two_workers": "--width 0.1 --scale 34:44 --workers 2",
    "grown": "--width 0.1 --config D --grow-from out/batch_norm",
    "from": "--from out/plain --no-batch-norm --freeze conv2_1",
}
VIEWS = {
    "dense": "--views dense --scales 32 41",
    "crops": "--views crops --scales 36 --grid 3",
    "ten": "--views ten --scales 40",
    "two_processes": "--views both --scales 36 --grid 2 --processes 2",
}


class FailedError(Exception):
    """A command of a revision has failed."""


@dataclass(frozen=True)
class Case:
    """One command, the environment it runs in, the file it makes, and how far the two revisions may differ."""

    name: str
    words: str
    made: str
    tolerance: float = EXACT
    environment: tuple[tuple[str, str], ...] = ()


@dataclass
class Revision:
    """An environment with a revision of the package, and a folder in which its commands run."""

    python: Path
    folder: Path

    def __post_init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    @cached_property
    def commands(self) -> str:
        """The help of the whole."""
        return self.run("--help")

    def run(self, *words: str, module: str = "verydeep", **environment: str) -> str:
        """Run a command; give what it prints. One thread, so that torch sums in one order."""
        single = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(self.folder / "cache")}
        command = [str(self.python), "-m", module, *words] if module else [str(self.python), *words]
        outcome = subprocess.run(
            command, cwd=self.folder, env={**os.environ, **single, **environment}, capture_output=True, text=True
        )
        if outcome.returncode:
            raise FailedError(f"{' '.join(words)}: {outcome.stderr.strip().splitlines()[-1]}")
        return outcome.stdout

    def spell(self, words: str) -> list[str]:
        """A command in the words of this revision."""
        name, *rest = words.split()
        if f"  {name} " not in self.commands and name in LATER:
            (name,) = LATER[name]
        known = self._words_of(name)
        spelled = [name]
        for word in rest:
            if word.startswith(OUT):
                spelled += ["--out"] * ("--out" in known) + [word.removeprefix(OUT)]
            elif word in known or word not in LATER:
                spelled.append(word)
            else:
                spelled.append(next(later for later in LATER[word] if later in known))
        return spelled

    def _words_of(self, command: str) -> set[str]:
        """Every word in a command's help, its options among them."""
        if command not in self._known:
            self._known[command] = {word.strip(",") for word in self.run(command, "--help").split()}
        return self._known[command]

    def result(self, case: Case) -> Arrays:
        """Run a case; give the numbers in the file that it makes."""
        if case.words.startswith("losses"):
            self.run(__file__, "--losses", case.made, module="", **dict(case.environment))
        else:
            self.run(*self.spell(case.words), **dict(case.environment))
        return read(self.folder / case.made)


def cases(instructions: list[str], precisions: list[str]) -> Iterator[Case]:
    """Every comparison; those that make a model come before those that use it."""
    for name, words in TRAININGS.items():
        yield Case(f"training {name}", f"train images out/{name} {TEN_STEPS} {words}", f"out/{name}")
    for name, each, precision in product((*CONFIGURATIONS, "full", "batch_norm"), instructions, precisions):
        model = f"out/{name}" if name == "batch_norm" else f"models/{name}"
        layers = "conv1_1 relu3_1 pool5 fc8"
        yield Case(
            f"native {name} {precision} {each}",
            f"features {model} images/0 --pool none --scale 47 --engine native --precision {precision}"
            f" --layers {layers} --out out/{name}-{each}-{precision}.npz",
            f"out/{name}-{each}-{precision}.npz",
            environment=(("VERYDEEP_INSTRUCTIONS", each),),
        )
    for name in ("A-LRN", "B-5x5", "C", "E"):
        made = f"out/{name}-torch.npz"
        words = f"features models/{name} images --layers relu1_1 pool4 fc8 --engine torch --out {made}"
        yield Case(f"torch {name}", words, made, CLOSE)
    for name, words in VIEWS.items():
        made = f"out/{name}.npz"
        yield Case(f"evaluate {name}", f"evaluate models/D images --part all {words} --posteriors {made}", made)
    made = "out/torch.npz"
    words = f"evaluate models/A models/D images --part all --engine torch --posteriors {made}"
    yield Case("evaluate torch", words, made, CLOSE)
    for pool, pooling in (("mean", "max"), ("max", "average"), ("gram", "max")):
        made = f"out/features-{pool}.npz"
        words = f"features models/D images --layers relu2_2 conv4_1 --pool {pool} --pooling {pooling} --out {made}"
        yield Case(f"features {pool}", words, made)
    yield Case("transfer", "transfer models/C images --scales 36 44", "models/C/classifier.safetensors")
    for name in ("batch_norm", "jittered"):
        made = f"out/{name}.onnx"
        yield Case(f"export {name}", f"export out/{name} {OUT}{made} --pixels", made, CLOSE)
    yield Case("losses", "losses", "out/losses.npz", CLOSE)


def read(path: Path) -> Arrays:
    """The numbers in what a command has made, by name."""
    if path.is_dir():
        return {
            **flattened(state_of(path)),
            **{f"last {k}": v for k, v in load_file(path / "last.safetensors").items()},
        }
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".onnx":
        return onnx_outputs(path)
    with np.load(path) as archive:
        return {name: archive[name] for name in archive if name != "facts"}


def state_of(run: Path) -> dict[str, Any]:
    """Weights, momentum and schedule of a run, and what its journal says of its steps."""
    import torch

    state = torch.load(run / "state.pt", weights_only=True)
    records = map(json.loads, (run / "journal.jsonl").read_text(encoding="utf-8").splitlines())
    told = [[step["loss"], step["error"], step["rate"]] for step in records if "rate" in step]
    parts = {name: state[name] for name in ("step", "network", "optimizer", "schedule")}
    return {**parts, "journal": told}


def flattened(value: Any, name: str = "state") -> Arrays:
    """Nested dictionaries and lists of tensors and numbers as arrays, whose names say where they were."""
    if isinstance(value, dict):
        return {k: v for key, each in value.items() for k, v in flattened(each, f"{name}.{key}").items()}
    if isinstance(value, list):
        return flattened(dict(enumerate(value)), name)
    return {} if value is None else {name: np.asarray(value)}


def onnx_outputs(path: Path) -> Arrays:
    """What onnxruntime computes from an exported file."""
    import onnxruntime

    pixels = np.random.default_rng(0).integers(0, 256, (2, 70, 50, 3), np.uint8)
    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: pixels}), strict=True))


def write_losses(path: Path) -> None:
    """Values and gradients of the perceptual losses; runs within a revision's own environment."""
    import torch

    import verydeep

    losses = verydeep.perceptual
    images = [torch.from_numpy(np.random.default_rng(n).random((2, 3, 48, 40), np.float32)) for n in (0, 1)]
    full = "models/full"
    made = {
        "lpips": losses.LPIPS(full, range=(0, 1), reduction="none"),
        "dists": losses.DISTS(full, range=(0, 1), reduction="none"),
        "content": losses.ContentLoss("models/D", ("relu2_2", "conv4_2"), range=(0, 1), pooling="average"),
        "style": losses.StyleLoss("models/D", range=(0, 1)),
    }
    arrays = {}
    for name, loss in made.items():
        arrays[name] = loss(*images).numpy()
        first = images[0].clone().requires_grad_()
        value = loss(first, images[1])
        arrays[f"{name} with gradients"] = value.detach().numpy()
        (gradient,) = torch.autograd.grad(value.sum(), first)
        arrays[f"{name} gradient"] = gradient.numpy()
    np.savez(path, **arrays)


def prepare(folder: Path, old: Path, new: Path) -> tuple[Revision, Revision]:
    """Make images of four classes in two sizes and networks with random weights, the same for both revisions."""
    # Not resolved: a virtual environment's Python is a link, and its place decides which packages it has.
    pair = Revision(old.absolute(), folder / "old"), Revision(new.absolute(), folder / "new")
    for revision in pair:
        (revision.folder / "out").mkdir(parents=True)
    random = np.random.default_rng(0)
    for label, number in product(range(4), range(8)):
        path = folder / "old" / "images" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        corners = Image.fromarray(random.integers(0, 256, (5, 4, 3), np.uint8))
        corners.resize((47, 59) if label < 2 else (60, 50), Image.Resampling.BICUBIC).save(path)
    small = "--num-classes 4 --image-size 32"
    for name in (*CONFIGURATIONS, "B-5x5"):
        pair[0].run(*pair[0].spell(f"new {name} models/{name} --width 0.25 {small}"))
    pair[0].run(*pair[0].spell(f"new D models/full {small}"))
    for part in ("images", "models"):
        shutil.copytree(folder / "old" / part, folder / "new" / part)
    return pair


def difference(old: Arrays, new: Arrays) -> float:
    """The greatest difference in shares of its array's greatest value; infinite where names or shapes differ."""
    if old.keys() != new.keys():
        return float("inf")
    return max((_difference(old[name], new[name]) for name in old), default=0.0)


def _difference(old: NDArray[Any], new: NDArray[Any]) -> float:
    if old.shape != new.shape or old.dtype.kind != new.dtype.kind:
        return float("inf")
    if np.array_equal(old, new):
        return 0.0
    if old.dtype.kind not in "fiu":
        return float("inf")
    return float(np.abs(old.astype(float) - new).max() / max(np.abs(old.astype(float)).max(), 1e-30))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", nargs="?", type=Path, help="Python of the earlier revision's environment")
    parser.add_argument("new", nargs="?", type=Path, help="Python of the later revision's environment")
    parser.add_argument(
        "--only",
        nargs="+",
        help="first words of the cases to run; export, and native of batch_norm, need training",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--losses", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.losses:
        write_losses(arguments.losses)
        return
    differences: dict[str, float] = {}
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        old, new = prepare(Path(name), arguments.old, arguments.new)
        engine = json.loads(old.run("engines", "--json"))
        precisions = ["float32", *(name for name in ("bfloat16", "int16") if engine[name])]
        for case in cases(engine["available_instructions"], precisions):
            if arguments.only and case.name.split()[0] not in arguments.only:
                continue
            try:
                found = difference(old.result(case), new.result(case))
                told = "the same bits" if found == 0 else f"differs by {found:.1e}"
            except FailedError as error:
                found, told = float("inf"), str(error)
            wrong += found > case.tolerance
            differences[case.name] = found
            if not arguments.json:
                print(f"{case.name:36} {told}{'  WRONG' if found > case.tolerance else ''}", flush=True)
    print(json.dumps(differences) if arguments.json else f"{len(differences)} cases, {wrong} wrong")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
