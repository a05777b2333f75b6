"""All four losses on a narrow VGG-16 of random weights, for tests of their derivatives and weights."""

from __future__ import annotations

from pathlib import Path

import torch

from verydeep import perceptual
from verydeep.configurations import Architecture
from verydeep.images.color import Preprocessing
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CHANNELS = (2, 4, 8, 15, 15)
LOSSES = ("ContentLoss", "StyleLoss", "LPIPS", "DISTS")


def network(*, batch_norm: bool = False) -> VGG:
    made = VGG(Architecture("D", 0, 0.03, 32, batch_norm)).eval()
    initialize(made, "he", 0)
    # With biases of 0 an input of zeros would give sums of 0, where a ReLU has no slope: engines that round these
    # sums otherwise would have other gradients.
    generator = torch.Generator().manual_seed(2)
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.05, generator=generator)
    return made


def make_loss(kind: str, folder: Path, **options) -> perceptual.ContentLoss:
    """A loss with the same random weights each time."""
    options = {"preprocessing": IMAGENET, "range": (0, 1), **options}
    if kind in ("ContentLoss", "StyleLoss"):
        return getattr(perceptual, kind)(network(), ["conv1_2", "relu3_1"], **options)
    generator = torch.Generator().manual_seed(3)
    if kind == "LPIPS":
        tensors = {f"lin{n}": torch.rand(1, count, 1, 1, generator=generator) for n, count in enumerate(CHANNELS)}
        tensors = {f"{name}.model.1.weight": tensor for name, tensor in tensors.items()}
    else:
        options.pop("engine", None)
        shape = (1, 3 + sum(CHANNELS), 1, 1)
        tensors = {name: torch.rand(shape, generator=generator) for name in ("alpha", "beta")}
    torch.save(tensors, folder / f"{kind}.pth")
    return getattr(perceptual, kind)(network(), folder / f"{kind}.pth", **options)


def pair(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Two pairs of images of range (0, 1)."""
    images = torch.rand(2, 2, 3, 32, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return images[0].float().to(dtype), images[1].float().to(dtype)
