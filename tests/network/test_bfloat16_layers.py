"""The kernels' products in bfloat16, under autocast. A processor without the instruction skips these."""

from __future__ import annotations

import pytest
import torch
from native_peer import error, native
from torch import Tensor
from torch.nn import functional as F

import verydeep
from verydeep import VGG, Architecture
from verydeep.images.color import Preprocessing
from verydeep.network import native_layers
from verydeep.network.features import Features
from verydeep.network.initialize import initialize
from verydeep.network.native_layers import kernels, pack, unpack

BEST = "avx512_bf16"
pytestmark = pytest.mark.skipif(
    native is None or BEST not in native.available_instructions(), reason="the processor has no bfloat16"
)


@pytest.fixture(autouse=True)
def bfloat16(monkeypatch):
    monkeypatch.setenv("VERYDEEP_INSTRUCTIONS", BEST)
    kernels.layers_on.cache_clear()
    yield
    kernels.layers_on.cache_clear()


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def numbers(inputs: int, outputs: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, inputs, side, side, generator=generator).relu()
    weight = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
    return x, weight, torch.zeros(outputs)


def outputs_and_gradients(inputs: tuple[Tensor, ...], *, on_kernels: bool) -> list[Tensor]:
    """Of a convolution: of the kernels' in bfloat16, or of torch's in float64."""
    given = [one.clone().requires_grad_() for one in inputs]
    if on_kernels:
        with autocast():
            y = unpack(native_layers.convolve(pack(given[0]), *given[1:], relu=False))
    else:
        given = [one.double().requires_grad_() for one in inputs]
        y = F.conv2d(*given, padding=1)
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    y.backward(slope.to(y.dtype))
    return [y.detach(), *(one.grad for one in given)]


@pytest.mark.parametrize(("inputs", "outputs", "side"), [(64, 64, 32), (128, 200, 14), (512, 512, 7), (20, 40, 9)])
def test_errors_on_realistic_numbers(inputs, outputs, side):
    given = numbers(inputs, outputs, side)
    right = outputs_and_gradients(given, on_kernels=False)
    found = outputs_and_gradients(given, on_kernels=True)
    y, to_x, to_weight, to_bias = map(error, found, right)
    assert 1e-4 < y < 1.3e-2
    assert 1e-4 < to_x < 1.3e-2
    assert 1e-4 < to_weight < 1.3e-2
    assert to_bias < 1e-5
    assert all(one.dtype == torch.float32 for one in found)


def test_the_bits_do_not_depend_on_the_number_of_threads():
    given, before, found = numbers(64, 50, 13), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(outputs_and_gradients(given, on_kernels=True))
    finally:
        torch.set_num_threads(before)
    for several in zip(*found, strict=True):
        assert all(torch.equal(one, several[0]) for one in several)


@pytest.mark.parametrize("configuration", ["A", "A-LRN", "C", "D"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_networks_in_a_loop_of_ones_own(configuration, batch_norm):
    # A-LRN and C have layers that torch computes, in bfloat16, between others.
    network = VGG(Architecture(configuration, 10, 0.25, 32, batch_norm=batch_norm), dropout=0.0)
    initialize(network, "he", 0)
    x = torch.randn(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    scores, slopes = [], []
    for low in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            found = network(x)
        found.logsumexp(1).sum().backward()
        assert found.dtype == torch.float32
        scores.append(found)
        slopes.append(network.fc8.weight.grad.clone())
        assert all(one.grad.isfinite().all() for one in network.parameters())
    # Batch norm over few places multiplies what was rounded.
    assert 1e-4 < error(scores[1], scores[0]) < (0.3 if batch_norm else 0.1)
    assert 1e-4 < error(slopes[1], slopes[0]) < 0.4


def test_weights_that_are_kept_are_kept_for_each_precision():
    network = VGG(Architecture("A", num_classes=0, width=0.25)).eval()
    initialize(network, "he", 0)
    features = Features(network, ["relu5_2"], preprocessing=Preprocessing(), range=(0, 1))
    images = torch.rand(1, 3, 48, 48)
    exact = features(images)["relu5_2"]
    with autocast():
        low = features(images)["relu5_2"]
    assert 1e-4 < error(low, exact) < 0.05
    assert torch.equal(features(images)["relu5_2"], exact)


def test_train_takes_them(tmp_path, capsys):
    settings = {"config": "A", "width": 0.1, "epochs": 1, "batch_size": 128}
    verydeep.train("digits", tmp_path / "run", recipe="digits", engine="native", precision="bfloat16", **settings)
    assert "in bfloat16 (native engine)" in capsys.readouterr().err
