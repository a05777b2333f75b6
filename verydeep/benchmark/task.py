"""What the engines are given to do: a model, and images cut to the sizes that are asked for."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.accounting import multiply_adds
from verydeep.configurations import Architecture, FullyConnected, Pooling
from verydeep.errors import ImageError
from verydeep.images.find import unlabelled
from verydeep.images.geometry import random_offset
from verydeep.images.views import rescale
from verydeep.run_folder import ModelConfig, TrainedOn, provenance
from verydeep.weights.published import PREPROCESSING

SEED = 0


@dataclass(frozen=True)
class Case:
    """Calls that are timed together.

    Attributes:
        name: as it is shown: `batch 16`.
        batches: shape of the pixels of each call, (batch, height, width, 3).
        num_images: that are answered by all the calls together; a mirror image is none of its own.
        multiply_adds: of direct convolution and the FC layers, of all the calls together.

    """

    name: str
    batches: tuple[tuple[int, int, int, int], ...]
    num_images: int
    multiply_adds: int


@dataclass(frozen=True)
class Task:
    """Everything that a process with an engine has to know.

    Attributes:
        folder: where the pixels are, `<case>-<call>.npy`, and the exported network.
        run: folder of the model.
        threads: that an engine may use.
        dynamic: whether images come in shapes that are not known beforehand.
        cases: what is timed.

    """

    folder: Path
    run: Path
    threads: int
    dynamic: bool
    cases: tuple[Case, ...]

    def write(self) -> Path:
        """Write it into its folder, for the processes."""
        path = self.folder / "task.json"
        fields = {**asdict(self), "folder": str(self.folder), "run": str(self.run.resolve())}
        path.write_text(json.dumps(fields), encoding="utf-8")
        return path

    @staticmethod
    def read(path: Path) -> Task:
        """Read it back."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        cases = tuple(
            Case(**{**case, "batches": tuple(tuple(shape) for shape in case["batches"])})
            for case in fields.pop("cases")
        )
        folder, run = Path(fields.pop("folder")), Path(fields.pop("run"))
        return Task(folder, run, cases=cases, **fields)

    def write_pixels(self, cases: Sequence[Sequence[NDArray[np.uint8]]]) -> None:
        """Write the pixels of each call of each case into the folder."""
        for number, calls in enumerate(cases):
            for call, pixels in enumerate(calls):
                np.save(self.folder / f"{number}-{call}.npy", pixels)

    def pixels(self, case: int) -> list[NDArray[np.uint8]]:
        """The pixels of each call of a case."""
        return [np.load(self.folder / f"{case}-{call}.npy") for call in range(len(self.cases[case].batches))]


def random_model(architecture: Architecture) -> tuple[ModelConfig, dict[str, NDArray[Any]]]:
    """Draw a network's weights as He et al. do, with variance 2 / fan-in, so that its layers keep their scale."""
    random = np.random.default_rng(SEED)
    tensors: dict[str, NDArray[Any]] = {
        name: np.full(shape, name.startswith("bn") and name.endswith(("weight", "running_var")), np.float32)
        for name, shape in architecture.tensors.items()
    }
    tensors |= {name: np.array(0) for name in tensors if name.endswith("num_batches_tracked")}
    for layer in architecture.layers:
        if isinstance(layer, Pooling):
            continue
        weight = random.standard_normal(architecture.tensors[f"{layer.name}.weight"], np.float32)
        last = isinstance(layer, FullyConnected) and layer.last
        weight *= sqrt((1 if last else 2) / (layer.in_channels * layer.kernel**2))
        tensors[f"{layer.name}.weight"] = weight
    names = tuple(map(str, range(architecture.num_classes)))
    trained_on, facts = TrainedOn.of_window(architecture.window), provenance(start="he", seed=SEED)
    return ModelConfig(architecture, PREPROCESSING["torchvision"], names, trained_on, facts), tensors


def find_images(folder: Path | None, count: int) -> tuple[list[Image.Image], str]:
    """Photographs of a folder, of scikit-learn, or else noise; and a word of where they come from.

    Raises:
        ImageError: the folder has no images, or one cannot be read.

    """
    if folder is not None:
        if not folder.is_dir():
            raise ImageError(f"`images` {folder} is not a folder; give one with photographs")
        found = unlabelled([folder])
        # Spread over the folder, which may be sorted by class.
        numbers = np.linspace(0, len(found) - 1, min(count, len(found))).astype(int).tolist()
        images = [Image.fromarray(np.asarray(found.source.read(number))) for number in numbers]
        return images, f"{len(images)} images of {folder}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sklearn.datasets import load_sample_images

            arrays = load_sample_images().images
    except ModuleNotFoundError:
        noise = np.random.default_rng(SEED).integers(0, 256, (count, 48, 64, 3), np.uint8)
        images = [Image.fromarray(array).resize((640, 480), Image.Resampling.BICUBIC) for array in noise]
        return images, "seeded noise, as no images are given and scikit-learn is not installed"
    return [Image.fromarray(array) for array in arrays], "two photographs that come with scikit-learn"


def cut(images: list[Image.Image], count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Cut pieces of one size, at random places, each from an image rescaled so that the piece fits closely.

    Returns:
        Of shape (count, height, width, 3).

    """
    random = np.random.default_rng(SEED)
    pieces = []
    for number in range(count):
        image = images[number % len(images)]
        factor = max(width / image.width, height / image.height) * (1 + random.random() / 4)
        across, down = (round(side / factor) for side in (width, height))  # of the piece, in the image
        left = random_offset(image.width, across, random.random())
        top = random_offset(image.height, down, random.random())
        box = (left, top, left + across, top + down)
        pieces.append(np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box)))
    return np.stack(pieces)


def batch_cases(
    architecture: Architecture, images: list[Image.Image], sizes: tuple[int, ...], height: int, width: int
) -> tuple[tuple[Case, ...], list[list[NDArray[np.uint8]]]]:
    """One call for each batch size; the larger batches hold the smaller ones' images."""
    each = multiply_adds(architecture, height, width)
    pixels = cut(images, max(sizes), height, width)
    cases = tuple(Case(f"batch {size}", ((size, height, width, 3),), size, size * each) for size in sorted(sizes))
    return cases, [[pixels[:size]] for size in sorted(sizes)]


def dense_cases(
    architecture: Architecture, images: list[Image.Image], scales: tuple[int, ...]
) -> tuple[tuple[Case, ...], list[list[NDArray[np.uint8]]]]:
    """Section 3.2's test: each image whole at scale Q with its mirror image, a call an image."""
    cases, pixels = [], []
    for scale in scales:
        shown = [np.asarray(rescale(image, scale)) for image in images]
        batches = [np.stack([image, image[:, ::-1]]) for image in shown]
        shapes = tuple((2, *batch.shape[1:3], 3) for batch in batches)
        total = sum(2 * multiply_adds(architecture, *shape[1:3]) for shape in shapes)
        cases.append(Case(f"dense, Q = {scale}", shapes, len(batches), total))
        pixels.append(batches)
    return tuple(cases), pixels
