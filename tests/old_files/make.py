"""Make every file of this folder: what people have on their disks, as one version of verydeep wrote it.

    python make.py OLDEST_CHECKOUT

The files were made once, by the version that README.md names, and are not made again: `tests/test_old_files.py`
shows that later versions still read them. To add a kind of file, add a function here and run it alone:

    python make.py OLDEST_CHECKOUT --only features
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

HERE = Path(__file__).parent
CHANGED = (
    1_767_225_600  # 2026-01-01: when every file was last changed, as parts of a test or an extraction note it
)

# left, top of each picture of a class, in a photograph that scikit-learn brings along
CLASSES = {
    "roof": ("china.jpg", [(150 + 24 * n, 130 + 20 * (n % 3)) for n in range(8)]),
    "sky": ("china.jpg", [(10 + 76 * n, 10 + 9 * (n % 4)) for n in range(8)]),
    "petals": ("flower.jpg", [(250 + 25 * n, 120 + 28 * (n % 4)) for n in range(8)]),
    "leaves": ("flower.jpg", [(10 + 70 * n, 330 + 12 * (n % 3)) for n in range(8)]),
}
SMALL = ("--width", "0.015", "--no-batch-norm", "--learning-rate", "0.002")
TRAINING = ("--recipe", "digits", "--batch-size", "8", "--epochs", "4", "--precision", "float32")


def verydeep(*words: str, checkout: Path | None = None) -> str:
    """Run a command in this folder; give what it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VERYDEEP_THREADS": "1"}
    command = [sys.executable, "-m", "verydeep", *words]
    if checkout:
        environment["PYTHONPATH"] = str(checkout)
    return subprocess.run(command, cwd=HERE, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def train(data: str, run: str, *words: str, **options: Path) -> None:
    verydeep("train", data, run, *TRAINING, *words, **options)


def keep_only(run: str, *names: str) -> None:
    """Leave out what would make the repository large, such as the state of a run that is finished."""
    for path in (HERE / run).iterdir():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


MODEL = ("config.json", "model.safetensors")
FINISHED = (*MODEL, "journal.jsonl", "split.json", "training_images.npy")


def note_one_time(*folders: str) -> None:
    """Give files one time of change, which a checkout does not keep and the tests restore."""
    for folder in folders:
        for path in (HERE / folder).rglob("*"):
            os.utime(path, (CHANGED, CHANGED))


def pictures() -> None:
    """Thirty-two pieces of two photographs, in class folders."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sklearn.datasets import load_sample_image
    for name, (photograph, corners) in CLASSES.items():
        whole = Image.fromarray(load_sample_image(photograph))
        folder = HERE / "pictures" / name
        folder.mkdir(parents=True)
        for number, (left, top) in enumerate(corners):
            width, height = (80, 72) if number % 2 else (72, 88)
            piece = whole.crop((left, top, left + width, top + height)).resize((width // 2, height // 2))
            piece.quantize(48).convert("RGB").quantize(48).save(folder / f"{number}.png", optimize=True)
    note_one_time("pictures")


def finished() -> None:
    """A run with every file that a run has, one of whose pictures could not be read."""
    damaged = HERE / "damaged"
    shutil.copytree(HERE / "pictures", damaged)
    (damaged / "sky" / "9.png").write_bytes((damaged / "sky" / "0.png").read_bytes()[:300])
    train("damaged", "runs/finished", *SMALL, "--color-shift", "0.1", "--mirror", "--max-unreadable", "1")
    shutil.rmtree(damaged)
    shutil.rmtree(HERE / "runs/finished/tensorboard", ignore_errors=True)


def interrupted() -> None:
    """A run that was killed in its third epoch, and the weights with which the unbroken run ends."""
    words = (*SMALL, "--save-steps", "1", "--mirror")
    train("pictures", "unbroken", *words)
    (HERE / "expected").mkdir(exist_ok=True)
    shutil.move(HERE / "unbroken/last.safetensors", HERE / "expected/unbroken.safetensors")
    shutil.rmtree(HERE / "unbroken")
    run = HERE / "runs/interrupted"
    command = [sys.executable, "-m", "verydeep", "train", "pictures", "runs/interrupted", *TRAINING, *words]
    process = subprocess.Popen(command, cwd=HERE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while not (run / "last.safetensors").is_file() or (run / "journal.jsonl").read_text().count('"rate"') < 7:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shutil.rmtree(run / "tensorboard", ignore_errors=True)


def other_runs() -> None:
    """Runs of every other kind, without what is needed to go on."""
    train("pictures", "runs/batch_norm", "--width", "0.015")
    train("pictures", "runs/lrn", *SMALL, "--config", "A-LRN")
    train("pictures", "runs/jittered", *SMALL, "--scale", "34:44", "--schedule", "steps", "--milestones", "2")
    train("pictures", "runs/grown", *SMALL, "--config", "B", "--grow-from", "runs/finished")
    train("pictures", "runs/from", "--from", "runs/batch_norm", "--freeze", "conv2_1", "--max-unreadable", "0")
    for run in ("batch_norm", "lrn", "jittered", "grown", "from"):
        keep_only(f"runs/{run}", *FINISHED)


def converted() -> None:
    """Networks whose config.json has fields that no training of ours writes: `hidden`, `local_response_norm`."""
    random = np.random.default_rng(0)
    channels = {0: (3, 2), 3: (2, 4), 6: (4, 8), 8: (8, 8), 11: (8, 16), 13: (16, 16), 16: (16, 16), 18: (16, 16)}
    tensors = {}
    for number, (before, after) in channels.items():
        tensors[f"features.{number}.weight"] = random.normal(0, (2 / (9 * before)) ** 0.5, (after, before, 3, 3))
        tensors[f"features.{number}.bias"] = random.normal(0, 0.01, after)
    for number, (before, after) in {0: (16, 24), 3: (24, 12), 6: (12, 4)}.items():
        tensors[f"classifier.{number}.weight"] = random.normal(0, (2 / before) ** 0.5, (after, before))
        tensors[f"classifier.{number}.bias"] = random.normal(0, 0.01, after)
    save_file({name: tensor.astype(np.float32) for name, tensor in tensors.items()}, HERE / "hidden.safetensors")
    (HERE / "classes.txt").write_text("leaves\npetals\nroof\nsky\n")
    told = (
        "--preprocessing",
        "torchvision",
        "--class-names",
        "classes.txt",
        "--scale",
        "36",
        "36",
        "--window",
        "32",
    )
    verydeep("convert", "hidden.safetensors", "runs/hidden", *told)
    (HERE / "hidden.safetensors").unlink()
    (HERE / "classes.txt").unlink()

    from verydeep.configurations import LocalResponseNorm
    from verydeep.run_folder import read_model, write_model

    config, tensors = read_model(HERE / "runs/lrn")
    norm = LocalResponseNorm(size=3, alpha=0.002, beta=0.75, k=1.0)
    caffe = replace(config, architecture=replace(config.architecture, local_response_norm=norm))
    write_model(HERE / "runs/caffe_lrn", caffe, tensors)


def oldest(checkout: Path) -> None:
    """A run folder as the first version that could train on files left it."""
    train("pictures", "runs/oldest", "--width", "0.015", "--learning-rate", "0.002", checkout=checkout)
    keep_only("runs/oldest", *MODEL, "journal.jsonl", "split.json")


def results() -> None:
    """What `evaluate` and `fuse` keep, and the parts of a test that was killed after its second chunk."""
    note_one_time("runs")
    runs = ("runs/finished", "runs/grown")
    crops = ("--views", "crops", "--grid", "2", "--scales", "36", "40")
    all_of_it = (runs[0], "pictures", "--part", "all", "--batch-size", "4")
    (HERE / "results").mkdir()
    for name, words in {
        "dense": (runs[0], "pictures"),
        "crops": (runs[0], "pictures", *crops),
        "ensemble": (*runs, "pictures", "--scales", "32", "40"),
        "all": all_of_it,
    }.items():
        verydeep("evaluate", *words, "--posteriors", f"results/{name}.npz")
    verydeep("fuse", "results/dense.npz", "results/crops.npz", "--out", "results/fused.npz")
    with_parts_kept("evaluate", *all_of_it, "--posteriors", "results/killed.npz")
    (HERE / "results/killed.npz").unlink()
    for path in sorted((HERE / "results/killed.npz.parts").glob("*.npy"))[2:]:
        path.unlink()


def features() -> None:
    """Features in both forms, and the parts of an extraction that was killed between its two chunks."""
    note_one_time("runs")
    (HERE / "features").mkdir()
    words = ("features", "runs/batch_norm", "pictures", "--layers", "conv2_1", "relu5_2", "fc7")
    verydeep(*words, "--out", "features/mean.npz")
    verydeep(*words, "--out", "features/mean.parquet")
    verydeep(*words[:3], "--layers", "relu3_1", "--pool", "gram", "--out", "features/gram.npz")
    many = (*words[:2], *["pictures"] * 9, "--layers", "relu5_2", "--out", "features/killed.npz")
    with_parts_kept(*many)
    (HERE / "features/killed.npz").unlink()
    _, *others = sorted((HERE / "features/killed.npz.parts").glob("*.npz"))
    for path in others:
        path.unlink()


def with_parts_kept(*words: str) -> None:
    """Run a command that leaves the parts of its work behind, as a killed one does."""
    script = (
        "from verydeep.evaluation.parts import Parts\nfrom verydeep.cli import main\n"
        f"Parts.remove = lambda self: None\nmain({list(words)!r})"
    )
    subprocess.run([sys.executable, "-c", script], cwd=HERE, check=True)


def classifier() -> None:
    """A classifier on a model's features, beside the model."""
    shutil.copytree(HERE / "runs/lrn", HERE / "runs/classifier")
    keep_only("runs/classifier", *MODEL, "split.json")
    verydeep("transfer", "runs/classifier", "pictures", "--scales", "36", "40")


# With every setting whose name later versions may have changed.
STUDY = """
title = "A tiny study"
recipe = "photos"
reach = 2
[settings]
image_size = 32
start = "glorot"
epochs = 2
width = 0.01
batch_size = 8
batch_norm = false
learning_rate = 0.002
[[train]]
networks = "A"
scale = [36, 40]
[[test]]
networks = "A"
views = "both"
"""


def studies() -> None:
    """A study that is complete, and one that was killed before its last test."""
    (HERE / "studies").mkdir()
    (HERE / "studies/tiny.toml").write_text(STUDY.lstrip())
    verydeep("study", "studies/tiny.toml", "studies/complete", "--data", "pictures")
    for path in (HERE / "studies/complete").rglob("*"):
        if path.name in ("state.pt", "state.previous.pt", "last.safetensors", "study.lock"):
            path.unlink()
    shutil.rmtree(HERE / "studies/complete/runs/A-seed0/tensorboard", ignore_errors=True)
    shutil.rmtree(HERE / "studies/complete/logs")
    verydeep("study", "studies/tiny.toml", "studies/half", "--data", "pictures")
    half = HERE / "studies/half"
    keep_only("studies/half", "study.toml", "study.jsonl", "runs", "tests")
    keep_only("studies/half/runs/A-seed0", *FINISHED)
    lines = (half / "study.jsonl").read_text().splitlines(keepends=True)
    last_test = next(n for n, line in enumerate(lines) if '"begun"' in line and ".crops." in line)
    (half / "study.jsonl").write_text("".join(lines[: last_test + 1]))
    for path in [*half.glob("tests/*.crops.*"), *half.glob("tests/*.both.*")]:
        path.unlink()


def shards() -> None:
    """The pictures in shards, with their bytes kept and made smaller."""
    verydeep("shard", "pictures", "shards/whole", "--pictures-per-shard", "10")
    verydeep("shard", "pictures", "shards/smaller", "--smaller-side", "34")


def exports() -> None:
    """ONNX, and a folder for the Hub with its card."""
    (HERE / "exports").mkdir()
    verydeep("export", "runs/jittered", "exports/jittered.onnx")
    verydeep("export", "runs/jittered", "exports/pixels.onnx", "--pixels")
    card = ("--results", "results/dense.npz", "--licence", "MIT", "--name", "someone/small-vgg")
    verydeep("export", "runs/finished", "exports/hub", "--to", "hub", *card, "--half")


def answers() -> None:
    """What every model said then."""
    models = sorted(f"runs/{path.name}" for path in (HERE / "runs").iterdir() if (path / MODEL[1]).is_file())
    said: dict[str, object] = {
        "predictions": {
            model: predictions(model)
            for model in (*models, "exports/hub", "cifar10")
            if model != "runs/classifier"
        }
    }
    said["classifier"] = predictions("runs/classifier")
    said["watched"] = json.loads(verydeep("watch", "runs/finished", "runs/interrupted", "runs/oldest", "--json"))
    said["study"] = json.loads(verydeep("study", "--report", "studies/complete", "--json"))
    results = ("dense", "crops", "ensemble", "fused")
    said["report"] = json.loads(verydeep("report", *(f"results/{name}.npz" for name in results), "--json"))
    (HERE / "expected/answers.json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")


def predictions(model: str) -> dict[str, dict[str, float]]:
    """Probabilities of a model's classes for a picture of each class."""
    shown = [f"pictures/{name}/7.png" for name in CLASSES]
    lines = verydeep("predict", model, *shown, "--top", "10", "--json").splitlines()
    return {
        answer["picture"]: {one["class"]: one["probability"] for one in answer["predictions"]}
        for answer in map(json.loads, lines)
    }


STEPS: tuple[Callable[..., None], ...] = (
    *(pictures, finished, interrupted, other_runs, converted, oldest),
    *(results, features, classifier, studies, shards, exports, answers),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("oldest", type=Path, help="a checkout of commit 765dad1")
    parser.add_argument("--only", nargs="+", choices=[step.__name__ for step in STEPS])
    arguments = parser.parse_args()
    for step in STEPS:
        if not arguments.only or step.__name__ in arguments.only:
            print(step.__name__, flush=True)
            step(*([arguments.oldest] if step is oldest else []))


if __name__ == "__main__":
    main()
