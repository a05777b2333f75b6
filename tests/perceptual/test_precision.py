"""Half precision, autocast, and an image beside itself: every loss against itself in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from verydeep import perceptual
from verydeep.configurations import Architecture
from verydeep.errors import ModelError
from verydeep.images.color import Preprocessing
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG
from verydeep.perceptual import gram_matrix

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
LOSSES = ("ContentLoss", "StyleLoss", "LPIPS", "DISTS")
HALVES = (torch.float16, torch.bfloat16)


@pytest.fixture(scope="module")
def network() -> VGG:
    made = VGG(Architecture("D", 2, 1.0, 32))
    initialize(made, "he", 0)
    return made.eval()


@pytest.fixture(scope="module")
def images(photographs) -> torch.Tensor:
    """Two different cuts of real photographs, of an odd size; of range (0, 1)."""
    cuts = np.stack([one[100:141, 200:237] for one in photographs]) / 255
    return torch.from_numpy(cuts).float().permute(0, 3, 1, 2).contiguous()


def make(kind: str, network: VGG, **options):
    if kind == "DISTS":
        options.pop("engine", None)
    return getattr(perceptual, kind)(network, preprocessing=IMAGENET, range=(0, 1), reduction="none", **options)


@pytest.mark.parametrize("dtype", [HALVES[0], *(pytest.param(one, marks=pytest.mark.heavy) for one in HALVES[1:])])
@pytest.mark.parametrize("kind", LOSSES)
def test_half_precision_gives_float32_and_the_right_value(kind, dtype, network, images):
    """The images are rounded to half precision first, so that only the computation differs."""
    first, second = images.to(dtype), images.flip(3).to(dtype)
    wanted = make(kind, network).double()(first.double(), second.double())
    loss = make(kind, network).to(dtype)
    found = loss(first, second)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0.05 if dtype == torch.bfloat16 else 0.01, atol=0)
    first.requires_grad_()
    (1000 * loss(first, second).sum()).backward()  # scaled, as with float16 gradients must be
    assert first.grad.isfinite().all()
    assert first.grad.any()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", LOSSES)
def test_autocast_gives_float32_and_the_right_value(kind, dtype, network, images):
    wanted = make(kind, network).double()(images.double(), images.double().flip(3))
    with torch.autocast("cpu", dtype):
        found = make(kind, network)(images, images.flip(3))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0.05, atol=0)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("autocast", [False, True])
def test_a_gram_matrix_neither_overflows_nor_underflows(dtype, autocast):
    maps = torch.rand(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)) * 200
    maps[:, 1] *= 1e-5
    wanted = torch.einsum("bcyx,bdyx->bcd", maps.to(dtype).double(), maps.to(dtype).double())
    with torch.autocast("cpu", dtype, enabled=autocast):
        found = gram_matrix(maps.to(dtype), "none")
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("norm", ["l1", "l2", "l2_squared"])
def test_total_variation_in_half_precision(dtype, norm):
    image = torch.rand(1, 3, 200, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    measure = perceptual.TotalVariation(range=(0, 1), norm=norm)
    torch.testing.assert_close(measure(image).double(), measure(image.double()), rtol=1e-5, atol=0)
    flat = torch.full((1, 3, 20, 20), 0.5, dtype=dtype, requires_grad=True)
    measure(flat).backward()
    assert not flat.grad.any()


@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("size", [(41, 37), (64, 33)])
def test_an_image_is_at_distance_0_from_itself(kind, engine, size, network):
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(1))
    loss = make(kind, network, engine=engine)
    assert loss(images, images.clone()).tolist() == [0, 0, 0]
    black = torch.zeros(1, 3, *size)
    assert loss(black, black.clone()).tolist() == [0]


@pytest.mark.parametrize("dtype", [torch.float64, *HALVES])
@pytest.mark.parametrize("kind", LOSSES)
def test_it_is_0_in_every_precision(kind, dtype, network, images):
    loss = make(kind, network).to(dtype)
    assert loss(images.to(dtype), images.to(dtype).clone()).tolist() == [0, 0]


@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("scale", [1e25, 1e37])  # features whose squares overflow, and features that do
def test_a_network_that_overflows_is_said_and_not_measured(kind, engine, scale, images):
    network = VGG(Architecture("D", 2, 1.0, 32))
    initialize(network, "he", 0)
    with torch.no_grad():
        network.conv1_1.weight.mul_(scale)
    for reduced in (images, images.clone().requires_grad_()):
        with pytest.raises(ModelError, match="a distance is NaN or infinite though the images are finite"):
            make(kind, network.eval(), engine=engine)(reduced, images.flip(3))
    unchecked = make(kind, network, engine=engine, check=False)(images, images.flip(3))
    assert not unchecked.isfinite().all()
