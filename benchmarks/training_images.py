"""Training images a second on one core: ours beside torchvision's ImageFolder pipeline.

    python benchmarks/training_images.py FOLDER [--rounds 7] [--images 96]

Of each image: its file read and decoded, rescaled to S, cropped to 224 at random, mirrored half of the time,
shifted along the principal colors, normalised, in a float32 batch. Torchvision: `ImageFolder` with `Resize`,
`RandomCrop`, `RandomHorizontalFlip`, `ToTensor`, a color shift and `Normalize`, in batches by `DataLoader` without
processes; S drawn for each image where it is a range. In turns in one process on one thread, by its time on the
processor; files come from the page cache.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from verydeep.images.batches import TrainingBatches
from verydeep.images.color import ColorShift, Preprocessing, PrincipalColors
from verydeep.images.find import unlabelled
from verydeep.images.views import TrainingView
from verydeep.network.preprocess import Preprocess

BATCH, WINDOW = 32, 224
MEAN, DEVIATION = (123.68, 116.78, 103.94), (58.4, 57.1, 57.4)
COLORS = PrincipalColors(
    (0.2175, 0.0188, 0.0045),
    ((-0.5675, -0.5808, -0.5836), (0.7192, -0.0045, -0.6948), (0.4009, -0.8140, 0.4203)),
)


def theirs(folder: Path, scale: tuple[int, int], count: int) -> Callable[[], int]:
    directions, values = torch.tensor(COLORS.eigenvectors).T, torch.tensor(COLORS.eigenvalues)

    def resize(image: Image.Image) -> Image.Image:
        return transforms.functional.resize(image, random.randint(*scale))  # type: ignore[no-any-return]

    def shift(pixels: Tensor) -> Tensor:
        return pixels + (directions @ (values * 0.1 * torch.randn(3)))[:, None, None]

    pipeline = transforms.Compose(
        [
            transforms.Lambda(resize),
            transforms.RandomCrop(WINDOW),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Lambda(shift),
            transforms.Normalize([level / 255 for level in MEAN], [level / 255 for level in DEVIATION]),
        ]
    )
    loader = DataLoader(Subset(ImageFolder(folder, pipeline), range(count)), BATCH)
    return lambda: sum(len(labels) for _, labels in loader)


def ours(folder: Path, scale: tuple[int, int], count: int) -> Callable[[], int]:
    images = unlabelled(sorted(folder.glob("*/*.*"))).select(range(count))
    view = TrainingView(scale, WINDOW, color_shift=ColorShift(COLORS, 0.1))
    batches = TrainingBatches(images, view, BATCH, 0)
    preprocess = Preprocess(Preprocessing(MEAN, DEVIATION))

    def epoch() -> int:
        shown = 0
        for step in range(count // BATCH):
            batch = batches[step]
            assert batch.color_shifts is not None
            shown += len(preprocess(torch.from_numpy(batch.pixels), torch.from_numpy(batch.color_shifts)))
        return shown

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=96)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for scale in ((256, 512), (256, 256), (384, 384)):
        variants = {
            name: make(arguments.folder, scale, arguments.images)
            for name, make in (("torchvision", theirs), ("verydeep", ours))
        }
        rates: dict[str, list[float]] = {name: [] for name in variants}
        for number in range(arguments.rounds + 1):
            for name, epoch in variants.items():
                start = time.process_time()
                shown = epoch()
                if number:  # the first round fills the page cache
                    rates[name].append(shown / (time.process_time() - start))
        told = "  ".join(f"{name} {statistics.median(found):6.1f} images/s" for name, found in rates.items())
        ratio = statistics.median(b / a for a, b in zip(*rates.values(), strict=True))
        print(f"S = {scale}: {told}  x {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
