"""Does every damaged or crafted file give an answer or one sentence, and cost nothing.

    python benchmarks/fuzz.py [--mutants 20000] [--seed 0] [--kind KIND ...] [--json]

Every kind of file that the package reads is made once, whole. A mutant is a copy that `tests/mutants.py` has
changed: bytes are flipped, cut, moved or made absurd; or a value within it (of JSON, of a header, an array of an
archive, an object of a pickle) is replaced by one of another type, size or depth. Mutant N
of a kind is a function of the seed and N. Each is opened by the function that the commands open it with, in a
process that has imported everything and has bounds on memory and time.

Counted, by kind: clean answers, clean refusals (one printable line that names the file), and mistakes of ours:
tracebacks, hangs, memory above the bound, files left behind. The exit code is 1 where there is a mistake.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
OLD = TESTS / "old_files"
sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(TESTS / "weights"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np  # noqa: E402
from mutants import (  # noqa: E402
    WAYS,
    crafted_json,
    crafted_lines,
    crafted_npy,
    crafted_npz,
    crafted_safetensors,
    crafted_toml,
    crafted_torch,
)
from PIL import Image  # noqa: E402

from verydeep.errors import VerydeepError  # noqa: E402

MOST_SECONDS = 90  # the process that reads pickles and HDF5 may take 60
MOST_BYTES = 400 << 20
MOST_IMAGE_BYTES = 2 << 30  # of an image of the most pixels that are read, with transparency and without
MOST_ADDRESSES = 4 << 30  # of address space likewise: what takes more ends in a MemoryError
MOST_LETTERS = 1500

Opens = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        file: its name in the folder, which may have others beside it.
        make: fills the folder.
        opens: opens the file, given the folder, and looks at what comes of it.
        crafted: a mutation that knows the file's form.
        most_bytes: memory that one file may take, beside what the process has.

    """

    file: str
    make: Callable[[Path], object]
    opens: Opens
    crafted: Callable[[bytes, np.random.Generator], bytes] | None = None
    most_bytes: int = MOST_BYTES


# Kinds: how each is made, and how it is opened.


def copy(*places: str) -> Callable[[Path], object]:
    """Copy old files, or folders, into the folder."""

    def make(folder: Path) -> None:
        for place in places:
            path = OLD / place
            if path.is_dir():
                shutil.copytree(path, folder, dirs_exist_ok=True)
            else:
                shutil.copy(path, folder)

    return make


def open_result(path: Path) -> None:
    from verydeep.api.fuse import fuse
    from verydeep.api.report import report

    made = report([path])
    _ = str(made), made.to_dict(), made.markdown(), made.csv()
    if path.suffix == ".npz":
        with tempfile.TemporaryDirectory() as folder:
            _ = str(fuse([path, shutil.copy(path, Path(folder) / "again.npz")]))


def open_page(path: Path) -> None:
    from verydeep.api.report import report

    page = path.with_name("page.html")
    try:
        run = path.with_name("finished")
        report([path], page=page, models=[run] if run.is_dir() else [], data=str(path.with_name("pictures")))
    finally:
        page.unlink(missing_ok=True)


def make_page(folder: Path) -> None:
    copy("results/dense.npz")(folder)
    shutil.copytree(OLD / "runs" / "finished", folder / "finished")
    shutil.copytree(OLD / "pictures", folder / "pictures")


def open_model(path: Path) -> None:
    """A run folder, as every command that takes one reads what lies beside the weights."""
    from verydeep.api.describe import describe
    from verydeep.linear.classifier import read_classifier
    from verydeep.reports.watched import open_run
    from verydeep.run_folder import read_config, read_split, read_training_images
    from verydeep.training.start import resumed
    from verydeep.training.unreadable import UnreadableLog
    from verydeep.weights.source import read_card

    run = path.parent
    if path.name == "config.json":
        _ = read_card(run), str(describe(str(run)))
    _ = open_run(run).headline().to_json()
    UnreadableLog(run / "skipped.jsonl", 10).read()
    _ = read_split(run), read_training_images(run), read_classifier(run)
    resumed(run, read_config(run), {})


def open_run_page(path: Path) -> None:
    """The page of a result whose run folder is damaged."""
    from verydeep.api.report import report

    page = path.parents[1] / "page.html"
    try:
        report([path.parents[1] / "dense.npz"], page=page, models=[path.parent])
    finally:
        page.unlink(missing_ok=True)


def open_state(path: Path) -> None:
    from verydeep.network.vgg import VGG
    from verydeep.run_folder import read_config
    from verydeep.training.optimizer import make_optimizer
    from verydeep.training.recipe import Recipe, renamed
    from verydeep.training.state import read_state, restore

    run = path.parent
    config = read_config(run)
    recipe = Recipe.from_json(config.provenance["recipe"])
    state = read_state(run, {"recipe": renamed(config.provenance["recipe"])})
    network = VGG(config.architecture)
    restore(state, network, make_optimizer(network, recipe), path)


def open_lpips(path: Path) -> None:
    from verydeep.perceptual.learned import lpips_weights

    lpips_weights(path)


def make_lpips(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weights = {f"lin{stage}.model.1.weight": torch.ones(1, 4, 1, 1) for stage in range(5)}
    torch.save(weights, folder / "vgg.pth")
    save_file({f"lin{stage}": torch.ones(4) for stage in range(5)}, folder / "vgg.safetensors")


def open_shards(path: Path) -> None:
    from verydeep.images.sources import open_data

    folder = path.parent if path.parent.name != "index" else path.parent.parent
    images = open_data(str(folder)).all
    _ = list(images.names)
    for number in range(0, len(images), 7):
        images.source.read(number)
        images.source.hash(number)


def open_parts(path: Path) -> None:
    from verydeep.chunks.plan import Chunk
    from verydeep.evaluation.evaluate import PosteriorParts

    key = json.loads((OLD / "results/killed.npz.parts/test.json").read_text())
    parts = PosteriorParts(path.parent.with_name("killed.npz"), key, 4)
    for file in parts.folder.glob("*.npy"):
        number, content = file.stem.split("-")
        parts.read(Chunk(int(number), (0, 1, 2, 3), content))


def open_feature_parts(path: Path) -> None:
    from verydeep.chunks.plan import Chunk
    from verydeep.extraction.extract import FeatureParts

    key = json.loads((OLD / "features/killed.npz.parts/test.json").read_text())
    parts = FeatureParts(path.parent.with_name("killed.npz"), key, {"relu5_2": (8,)})
    number, content = path.stem.split("-")
    parts.read(Chunk(int(number), tuple(range(256)), content))


def make_parts(place: str) -> Callable[[Path], object]:
    return lambda folder: shutil.copytree(OLD / place / "killed.npz.parts", folder / "killed.npz.parts")


def open_features(path: Path) -> None:
    from verydeep.extraction.archive import read_features

    read_features(path)


def open_study(path: Path) -> None:
    from verydeep.studies.description import parse, read_text
    from verydeep.studies.workflow import make_workflow

    make_workflow(parse(read_text(str(path)), str(path)))


def open_ledger(path: Path) -> None:
    from verydeep.studies.description import parse
    from verydeep.studies.state import Ledger, fingerprints, states
    from verydeep.studies.workflow import make_workflow

    workflow = make_workflow(parse((path.parent / "study.toml").read_text(), "study.toml"))
    ledger, prints = Ledger(path.parent), fingerprints(workflow, "pictures")
    states(workflow, path.parent, prints, ledger)
    for step in workflow.steps.values():
        ledger.seconds(step, prints[step.name])


def open_plan(path: Path) -> None:
    from verydeep.images.sharding import Packing, _begin, _finished
    from verydeep.images.sources import open_data

    _finished(path.parents[1], "train-000000.tar", 3)
    _begin(open_data(str(OLD / "pictures")), path.parents[1], Packing(images_per_shard=3))


def make_plan(folder: Path) -> None:
    from verydeep.images.sharding import Packing, pack
    from verydeep.images.sources import open_data

    pack(open_data(str(OLD / "pictures")), folder, Packing(images_per_shard=3))


def open_class_list(path: Path) -> None:
    from verydeep.weights.class_names import class_names

    class_names(str(path), 3)


def open_image(path: Path) -> None:
    from verydeep.images import decode

    decode.size(path)
    decode.read(path)
    decode.read(path, smallest_side=16)


def image(name: str, mode: str = "RGB", **options: Any) -> Kind:
    """An image of a format."""

    def make(folder: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 4), np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / name, **options)

    return Kind(name, make, open_image, most_bytes=MOST_IMAGE_BYTES)


def weights(kind: str, ending: str) -> Kind:
    """Weights of a library, read in a process apart that is forked from this one."""

    def make(folder: Path) -> None:
        from mutations import write

        from verydeep.weights.files import sandbox
        from verydeep.weights.formats import FORMATS

        for form in FORMATS.values():
            import_module(form.reader)
        sandbox.subprocess = SimpleNamespace(Popen=Forked, DEVNULL=None, PIPE=None)  # type: ignore[assignment]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write(kind, folder / f"a{ending}")

    def opens(path: Path) -> None:
        from verydeep.api.inspect import inspect

        inspect(path).to_dict()

    crafted = {"safetensors": crafted_safetensors, "pytorch": crafted_torch}.get(kind)
    return Kind(f"a{ending}", make, opens, crafted)


def make_class_list(folder: Path) -> None:
    (folder / "a.json").write_text('{"0": "a", "1": "b", "2": "c"}')


CONFIG, PARTS, STUDY = "runs/interrupted/config.json", "killed.npz.parts", "studies/complete"
FINISHED = copy("runs/finished", "runs/classifier/classifier.safetensors")
WEIGHTS = {
    "safetensors": ".safetensors",
    "pytorch": ".pth",
    "old pytorch": ".pt",
    "keras 3": ".weights.h5",
    "keras 2": ".h5",
    "keras": ".keras",
    "matconvnet": ".mat",
    "caffe": ".caffemodel",
    "onnx": ".onnx",
}


def make_printed(folder: Path) -> None:
    from verydeep.evaluation.results import read_result

    (folder / "printed.json").write_text(json.dumps(read_result(OLD / "results/dense.npz").to_dict()))


def make_run_page(folder: Path) -> None:
    make_page(folder)
    shutil.rmtree(folder / "pictures")


KINDS: dict[str, Kind] = {
    "result": Kind("fused.npz", copy("results/fused.npz"), open_result, crafted_npz),
    "printed result": Kind("printed.json", make_printed, open_result, crafted_json),
    "page": Kind("dense.npz", make_page, open_page, crafted_npz),
    "page of a run": Kind("finished/config.json", make_run_page, open_run_page, crafted_json),
    "page of a journal": Kind("finished/journal.jsonl", make_run_page, open_run_page, crafted_lines),
    "features": Kind("mean.npz", copy("features/mean.npz"), open_features, crafted_npz),
    "config": Kind("config.json", FINISHED, open_model, crafted_json),
    "journal": Kind("journal.jsonl", FINISHED, open_model, crafted_lines),
    "skipped": Kind("skipped.jsonl", FINISHED, open_model, crafted_lines),
    "split": Kind("split.json", FINISHED, open_model, crafted_json),
    "training images": Kind("training_images.npy", FINISHED, open_model, crafted_npy),
    "classifier": Kind("classifier.safetensors", FINISHED, open_model, crafted_safetensors),
    "state": Kind(
        "state.pt",
        lambda folder: (copy("runs/interrupted")(folder), (folder / "state.previous.pt").unlink()),
        open_state,
        crafted_torch,
    ),
    "lpips": Kind("vgg.pth", make_lpips, open_lpips, crafted_torch),
    "lpips in safetensors": Kind("vgg.safetensors", make_lpips, open_lpips, crafted_safetensors),
    "manifest": Kind("shards.json", copy("shards/whole"), open_shards, crafted_json),
    "index": Kind("index/pictures.npy", copy("shards/whole"), open_shards, crafted_npy),
    "labels": Kind("index/labels.npy", copy("shards/whole"), open_shards, crafted_npy),
    "names": Kind("index/names.npy", copy("shards/whole"), open_shards, crafted_npy),
    "tar": Kind("val-000000.tar", copy("shards/whole"), open_shards),
    "plan": Kind(".unfinished/plan.json", make_plan, open_plan, crafted_json),
    "records": Kind(".unfinished/train-000000.tar.npy", make_plan, open_plan, crafted_npy),
    "key of parts": Kind(f"{PARTS}/test.json", make_parts("results"), open_parts, crafted_json),
    "parts": Kind(f"{PARTS}/000000-7bac1e8c9b3539d9.npy", make_parts("results"), open_parts, crafted_npy),
    "feature parts": Kind(
        "killed.npz.parts/000000-8541b5cc428c39f1.npz", make_parts("features"), open_feature_parts, crafted_npz
    ),
    "study": Kind("study.toml", copy(f"{STUDY}/study.toml"), open_study, crafted_toml),
    "ledger": Kind(
        "study.jsonl",
        copy("studies/complete/study.toml", "studies/complete/study.jsonl"),
        open_ledger,
        crafted_lines,
    ),
    "class list": Kind(
        "a.json",
        lambda folder: (folder / "a.json").write_text('{"0": "a", "1": "b", "2": "c"}'),
        open_class_list,
        crafted_json,
    ),
    **{
        f"image {name}": image(f"a.{name}", mode, **options)
        for name, mode, options in (
            ("jpg", "RGB", {}),
            ("png", "RGBA", {}),
            ("gif", "P", {}),
            ("bmp", "RGB", {}),
            ("tif", "RGB", {"compression": "tiff_lzw"}),
            ("ppm", "RGB", {}),
            ("ico", "RGBA", {"sizes": [(40, 40)]}),
            ("tga", "RGB", {}),
            ("webp", "RGB", {}),
            ("avif", "RGB", {}),
            ("jp2", "RGB", {}),
        )
    },
    **{f"weights {name}": weights(name, ending) for name, ending in WEIGHTS.items()},
}
"""Every kind of file, by name."""


class Forked:
    """The sandbox's process as `subprocess.Popen` would give it, but forked: to start Python takes long."""

    def __init__(self, command: list[str], **others: object) -> None:
        from verydeep.weights.files import sandbox_process

        module, path, most_bytes, most_seconds, facts = command[-5:]
        read, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(write_end, 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.close(read)
            os.close(write_end)
            try:
                sandbox_process.main(module, Path(path), int(most_bytes), int(most_seconds), json.loads(facts))
            finally:
                os._exit(0)
        os.close(write_end)
        self.stdout = os.fdopen(read, "rb")
        self.code: int | None = None

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stdout.close()
        self.wait()

    def kill(self) -> None:
        """End it, unless it has ended."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end: its exit code, or the signal that ended it as a negative number."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code


# One mutant after the other.


def mutant(kind: Kind, content: bytes, seed: int, number: int) -> tuple[str, bytes]:
    """What is done to a file, and what comes of it."""
    random = np.random.default_rng([seed, number])
    ways = list(WAYS)
    if kind.crafted and number % 2:
        return "crafted", kind.crafted(content, random)
    way = ways[number // 2 % len(ways)]
    return way, WAYS[way](bytearray(content), random)


def outcome(kind: Kind, path: Path, whole: Path) -> tuple[str, str]:
    """What becomes of one file: a word, and what is wrong."""
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.opens(path)
    except VerydeepError as error:
        sentence = str(error)
        if sentence.isprintable() and len(sentence) < MOST_LETTERS and str(whole) in sentence:
            return "refusals", ""
        return "tracebacks", f"no clean sentence: {sentence[:300]!r}"
    except MemoryError:
        return "memory", traceback.format_exc(limit=-3)[:MOST_LETTERS]
    except BaseException:
        return "tracebacks", traceback.format_exc(limit=-4)[:MOST_LETTERS]
    return "answers", ""


def peak_bytes() -> int:
    """The most memory that this process has had since it was last asked to forget that."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def work(kind: Kind, folder: Path, content: bytes, seed: int, numbers: range, out: int) -> None:
    """Open mutants one after the other, and tell of each through a pipe; in a process of its own."""
    path = folder / kind.file
    before = files_of(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries in C write there
    with redirect_stderr(io.StringIO()):
        kind.opens(path)  # imports, caches: what every file takes
    addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MOST_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        way, damaged = mutant(kind, content, seed, number)
        path.write_bytes(damaged)
        del damaged
        forget_peak()
        start = peak_bytes()
        word, what = outcome(kind, path, folder)
        taken = peak_bytes() - start
        if taken > kind.most_bytes:
            word, what = "memory", f"{taken >> 20} MB"
        left = files_of(folder) - before
        if left:
            word, what = "left behind", ", ".join(sorted(left))
            for name in left:
                (folder / name).unlink(missing_ok=True)
        os.write(out, (json.dumps([number, way, word, what]) + "\n").encode())


def start(kind: Kind, folder: Path, content: bytes, seed: int, numbers: range) -> tuple[int, int]:
    """Start a process that opens mutants; give its number, and the pipe that it tells of them through."""
    read, write = os.pipe()
    process = os.fork()
    if process:
        os.close(write)
        return process, read
    os.close(read)
    os.setpgid(0, 0)
    try:
        work(kind, folder, content, seed, numbers, write)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def told(pipe: int) -> Iterator[Any]:
    """What the process tells, until it ends; it is late where it says nothing for long."""
    rest = b""
    while select.select([pipe], [], [], MOST_SECONDS)[0]:
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield from map(json.loads, lines)
    yield "late"


def fuzz(name: str, mutants: int, seed: int) -> dict[str, Any]:
    """Open so many mutants of a kind."""
    kind, counts, mistakes = KINDS[name], Counter[str](), list[Any]()
    begun, done = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "folder"
        folder.mkdir()
        kind.make(folder)
        content = (folder / kind.file).read_bytes()
        while done < mutants:
            (folder / kind.file).write_bytes(content)
            process, pipe = start(kind, folder, content, seed, range(done, mutants))
            first, ended = done, "the process ended"
            for line in told(pipe):
                if isinstance(line, list):
                    done = line[0] + 1
                    counts[line[2]] += 1
                    mistakes += [line] * (line[2] not in ("answers", "refusals"))
                elif line == "late":
                    ended = "no answer"
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(pipe)
            if done == first == 0:
                raise SystemExit(f"{name}: no file of this kind can be opened, not even the whole one")
            if done < mutants:
                word = "hangs" if ended == "no answer" else "tracebacks"
                counts[word] += 1
                mistakes.append([done, "", word, ended])
                done += 1
    words = ("answers", "refusals", "tracebacks", "hangs", "memory", "left behind")
    seconds = round(time.perf_counter() - begun, 1)
    return {"kind": name, "mutants": mutants, **{word: counts[word] for word in words}} | {
        "seconds": seconds,
        "mistakes": mistakes,
    }


def main() -> None:
    """Fuzz every kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=20_000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    parser.add_argument("--json", action="store_true", help="print an object for each kind, with its mistakes")
    arguments = parser.parse_args()
    wrong = 0
    for name in arguments.kind:
        result = fuzz(name, -(-arguments.mutants // len(arguments.kind)), arguments.seed)
        wrong += len(result["mistakes"])
        if arguments.json:
            print(json.dumps(result), flush=True)
            continue
        print(", ".join(f"{key} {value}" for key, value in result.items() if key != "mistakes"), flush=True)
        for number, way, word, what in result["mistakes"][:5]:
            print(f"  mutant {number} ({way}), {word}:\n    " + what.replace("\n", "\n    "), flush=True)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
