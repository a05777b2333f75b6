"""Pages of each kind, of tiny runs whose folders, classes and images have long names."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from verydeep.cli import main

LONG = "with_a_name_that_is_far_longer_than_a_telephone_is_wide"
CLASSES = ("cat", f"dog_{LONG}", f"dog_{LONG}_indeed", '<b>&"ü $x$', "e", "f")
RUN, OTHER = f"runs/A_{LONG}", "runs/B"
TINY = "--width 0.02 --window 32 --train-scale 36 --epochs 1 --batch-size 16"
OLD_FILES = Path(__file__).parent / "old_files"


def make_photographs(folder: Path, side: int = 40) -> None:
    """A folder of six classes, ten images each."""
    random = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 60, (side, side + 10, 3)) + 35 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"image_{LONG}_{number}.png")


def make_pages() -> dict[str, Path]:
    """Make a page of each kind in the folder that the process is in.

    Returns:
        By name, pages of: a report of which everything is named, one of which nothing is, an image, and a study.

    """
    make_photographs(Path("photos"))
    verydeep(f"train photos {RUN} {TINY}")
    verydeep(f"train photos {OTHER} --config B {TINY}")
    tests = {
        "dense": f"{RUN} photos",
        "crops": f"{OTHER} photos --views crops --grid 2",
        "both": f"{RUN} {OTHER} photos",
    }
    for name, words in tests.items():
        verydeep(f"evaluate {words} --out {name}.npz")
    verydeep("fuse dense.npz crops.npz --out fused.npz")
    results = "dense.npz crops.npz both.npz fused.npz"
    verydeep(f"report {results} --page report.html --models {RUN} {OTHER} --data photos")
    verydeep(f"report {results} --page bare.html")
    image = next((Path("photos") / CLASSES[1]).iterdir())
    verydeep(f"visualize {RUN} {image} --page image.html --steps 1 --size 48 --layers conv1_1 pool5 fc8")
    shutil.copytree(OLD_FILES / "studies" / "complete", "study")
    shutil.copytree(OLD_FILES / "pictures", "pictures")
    verydeep("study --out study --report")
    return {
        "report": Path("report.html"),
        "bare report": Path("bare.html"),
        "image": Path("image.html"),
        "study": Path("study/index.html"),
    }


def verydeep(words: str) -> None:
    main(words.split())
