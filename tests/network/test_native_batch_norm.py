"""Batch normalisation on our own kernels beside torch's in float64, alone and in networks that train."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_peer import INSTRUCTIONS, error, native
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from verydeep import VGG, Architecture
from verydeep.network import native_layers
from verydeep.network.features import Features
from verydeep.network.initialize import initialize
from verydeep.network.native_layers import (
    Maps,
    Normalization,
    Statistics,
    convolutions,
    normalization,
    pack,
    poolings,
    unpack,
)
from verydeep.network.synchronized import BatchNorm

pytestmark = pytest.mark.skipif(native is None, reason="the package was installed without a compiler")
EPS = 1e-5


def numbers(channels: int, *, by_batch: bool) -> list[Tensor]:
    """Factors, some of them negative, summands, and statistics where these are constants."""
    generator = torch.Generator().manual_seed(channels)
    draws = [torch.randn(channels, generator=generator) for _ in range(4)]
    return draws[:2] if by_batch else [*draws[:2], draws[2], draws[3].square() + 0.1]


def statistics_of(maps: Maps, constants: list[Tensor]) -> Statistics:
    """Constants, or where there are none the batch's."""
    if constants:
        return Statistics(*constants)
    images, channels, height, width = maps.sizes
    module = BatchNorm(channels)
    count, mean, variance = module.take_statistics(images * height * width, *native_layers.moments(maps))
    return Statistics(mean, variance, count)


def both(x: Tensor, *, by_batch: bool, relu: bool, max_pool: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The output, and gradients at the input, the factors and the summands: here, and by torch in float64."""
    weight, bias, *constants = numbers(x.shape[1], by_batch=by_batch)
    here = [one.clone().requires_grad_() for one in (x, weight, bias)]
    maps = pack(here[0])
    norm = Normalization(*here[1:], statistics_of(maps, constants), EPS)
    y = unpack(native_layers.batch_norm(maps, norm, relu=relu, max_pool=max_pool))
    exact = [one.double().requires_grad_() for one in (x, weight, bias)]
    known = [one.double() for one in constants] or [None, None]
    z = F.batch_norm(exact[0], *known, *exact[1:], training=by_batch, eps=EPS)
    z = F.relu(z) if relu else z
    z = F.max_pool2d(z, 2) if max_pool else z
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    y.backward(slope)
    z.backward(slope.double())
    return [y.detach(), *(one.grad for one in here)], [z.detach(), *(one.grad for one in exact)]


@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 19),
    st.integers(1, 19),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_shape(images, channels, height, width, by_batch, relu, max_pool):
    by_batch = by_batch and images * height * width > 30  # of few numbers gradients are differences of equals
    max_pool = max_pool and min(height, width) > 1
    x = torch.randn(images, channels, height, width, generator=torch.Generator().manual_seed(channels))
    found, right = both(x, by_batch=by_batch, relu=relu, max_pool=max_pool)
    for one, other in zip(found, right, strict=True):
        assert one.shape == other.shape
        assert error(one, other) < 2e-5


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(
    "channels, side, max_pool", [(16, 32, False), (64, 28, True), (40, 7, True), (128, 2, False)]
)
def test_errors_are_as_small_as_torchs(channels, side, max_pool):
    x = torch.randn(16, channels, side, side, generator=torch.Generator().manual_seed(0)) + 0.5
    found, right = both(x, by_batch=True, relu=True, max_pool=max_pool)
    assert all(error(one, other) < 2e-6 for one, other in zip(found, right, strict=True))


def test_a_large_mean_does_not_cancel_what_varies():
    x = 1000 + torch.randn(4, 20, 30, 30, generator=torch.Generator().manual_seed(0))
    mean, squares = native_layers.moments(pack(x))
    exact = x.double()
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)), rtol=1e-6, atol=0)
    variance = exact.var((0, 2, 3), correction=0)
    torch.testing.assert_close(squares.double() / (4 * 30 * 30), variance, rtol=1e-5, atol=0)
    found, right = both(x, by_batch=True, relu=False, max_pool=False)
    assert error(found[0], right[0]) < 1e-4  # x itself is rounded to 6e-5 of what varies
    by_torch = F.batch_norm(x, None, None, *numbers(20, by_batch=True), training=True, eps=EPS)
    assert error(found[0], right[0]) < 2 * error(by_torch, right[0])


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("channels, side, max_pool", [(20, 30, True), (64, 7, True), (33, 40, False)])
def test_the_bits_do_not_depend_on_the_number_of_threads(channels, side, max_pool):
    x = torch.randn(5, channels, side, side, generator=torch.Generator().manual_seed(0))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(both(x, by_batch=True, relu=True, max_pool=max_pool)[0])
    finally:
        torch.set_num_threads(before)
    for several in zip(*found, strict=True):
        assert all(torch.equal(one, several[0]) for one in several)


def test_nan_is_seen():
    x = torch.randn(2, 20, 6, 6)
    x[0, 3, 2, 2] = float("nan")
    found, right = both(x, by_batch=True, relu=True, max_pool=True)
    for one, other in zip(found, right, strict=True):
        assert torch.equal(one.isnan(), other.isnan())


# ---- in a convolution that normalises what it reads


def both_convolved(x: Tensor, outputs: int, *, by_batch: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Normalised, rectified and convolved: the output, its moments, and all gradients; and by torch in float64."""
    weight, bias, *constants = numbers(x.shape[1], by_batch=by_batch)
    generator = torch.Generator().manual_seed(outputs)
    kernels = torch.randn(outputs, x.shape[1], 3, 3, generator=generator) / (3 * x.shape[1] ** 0.5)
    given = [x, weight, bias, kernels, torch.randn(outputs, generator=generator)]
    here = [one.clone().requires_grad_() for one in given]
    maps = pack(here[0])
    norm = Normalization(*here[1:3], statistics_of(maps, constants), EPS)
    convolved = native_layers.convolve_normalized(maps, norm, *here[3:], measure=True)
    assert convolved.measured is not None
    y = unpack(convolved)
    exact = [one.double().requires_grad_() for one in given]
    known = [one.double() for one in constants] or [None, None]
    z = F.relu(F.batch_norm(exact[0], *known, *exact[1:3], training=by_batch, eps=EPS))
    z = F.conv2d(z, *exact[3:], padding=1)
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    y.backward(slope)
    z.backward(slope.double())
    mean, variance = z.mean((0, 2, 3)), z.var((0, 2, 3), correction=0)
    found = [y.detach(), *convolved.measured.moments, *(one.grad for one in here)]
    right = [mean, variance * (z.numel() / outputs)]
    return found, [z.detach(), *(one.detach() for one in right), *(one.grad for one in exact)]


@given(
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(5, 19),
    st.integers(5, 40),
    st.booleans(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_convolution_of_any_shape_normalises_what_it_reads(images, channels, outputs, height, width, by_batch):
    x = torch.randn(images, channels, height, width, generator=torch.Generator().manual_seed(channels)) + 1
    assert native_layers.normalizes(pack(x).sizes)
    found, right = both_convolved(x, outputs, by_batch=by_batch)
    for one, other in zip(found, right, strict=True):
        assert one.shape == other.shape
        # As one ReLU that flips moves a gradient.
        assert error(one, other) < 2e-5 or (one - other).abs().max() < 1e-2


@pytest.mark.usefixtures("instructions")
def test_a_normalising_convolution_has_the_same_bits_for_any_number_of_threads():
    x = torch.randn(5, 40, 30, 30, generator=torch.Generator().manual_seed(0))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(both_convolved(x, 33, by_batch=True)[0])
    finally:
        torch.set_num_threads(before)
    for several in zip(*found, strict=True):
        assert all(torch.equal(one, several[0]) for one in several)


def test_gradients_that_are_not_wanted_are_not_computed(calls):
    x = pack(torch.randn(2, 20, 12, 12))
    weight, bias, *constants = numbers(20, by_batch=False)
    norm = Normalization(weight, bias, Statistics(*constants), EPS)
    kernels, shifts = torch.randn(5, 20, 3, 3, requires_grad=True), torch.zeros(5)
    unpack(native_layers.convolve_normalized(x, norm, kernels, shifts)).sum().backward()
    assert kernels.grad is not None and shifts.grad is None
    assert calls["weight_gradient"] == 1 and "normalized_data_gradient" not in calls


def test_a_large_mean_of_the_output_does_not_cancel_what_varies():
    generator = torch.Generator().manual_seed(0)
    x, kernels = (torch.randn(size, generator=generator) for size in ((4, 16, 30, 30), (20, 16, 3, 3)))
    found = native_layers.convolve(pack(x), kernels, torch.full((20,), 1e4), measure=True)
    y = unpack(found).double()
    torch.testing.assert_close(found.measured.moments[0].double(), y.mean((0, 2, 3)), rtol=1e-6, atol=0)
    variance = found.measured.moments[1].double() / (4 * 30 * 30)
    torch.testing.assert_close(variance, y.var((0, 2, 3), correction=0), rtol=1e-5, atol=0)


# ---- in networks


def small(config: str = "D", **options) -> VGG:
    network = VGG(Architecture(config, 7, width=0.25, window=32, batch_norm=True), dropout=0.0, **options)
    initialize(network, "he", seed=0)
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.normal_(1, 0.3, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
            module.running_mean.normal_(0, 0.1, generator=generator)
    return network


def step(network: VGG, x: Tensor, engine: str) -> dict[str, Tensor]:
    """Scores, gradients and what the running statistics have become."""
    network = copy.deepcopy(network)
    network.engine = engine
    x = x.clone().requires_grad_()
    scores = network(x)
    scores.square().sum().backward()
    found = {name: one.grad for name, one in network.named_parameters()}
    return {"scores": scores.detach(), "x": x.grad, **found, **dict(network.named_buffers())}


# Behind a 1x1 or a 5x5 convolution it is torch's.
@pytest.mark.parametrize("config, layers", [("A", 8), ("A-LRN", 8), ("B-5x5", 0), ("C", 10), ("D", 13)])
@pytest.mark.parametrize("training", [True, False])
def test_a_step_is_torchs(calls, config, layers, training):
    network, x = (
        small(config).train(training),
        torch.randn(3, 3, 45, 32, generator=torch.Generator().manual_seed(5)),
    )
    found = step(network, x, "auto")
    assert calls.get("batch_norm", 0) + calls.get("normalized_data_gradient", 0) == layers
    right = step(network, x, "torch")
    exact = step(network.double(), x.double(), "torch")
    for name, one in found.items():
        if name.startswith("conv") and name.endswith("bias") and training:
            assert one.abs().max() < 1e-3  # 0 but for rounding: the mean is subtracted
        elif name.endswith("num_batches_tracked"):
            assert one == right[name] == int(training)
        elif "running" in name or name == "scores":
            assert error(one, exact[name]) < 1e-5, name
        else:
            # As near as torch is: one ReLU or maximum that flips moves a gradient by a hundredth.
            assert error(one, exact[name]) < max(1e-4, 3 * error(right[name], exact[name]), 2e-2), name


def test_frozen_normalisation_in_training(calls):
    """Layers that are frozen stay in evaluation mode, with constants for statistics."""
    network, x = small("A"), torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    network.train()
    for name in ("conv1_1", "bn1_1", "conv2_1", "bn2_1"):
        network.get_submodule(name).eval().requires_grad_(False)
    before = network.bn2_1.running_mean.clone()
    found, right = step(network, x, "auto"), step(network, x, "torch")
    assert calls["batch_norm_gradient"] == 8
    assert torch.equal(found["bn2_1.running_mean"], before)
    assert found["bn2_1.weight"] is None
    for name in ("scores", "bn3_1.running_var", "bn3_1.weight", "conv3_1.weight"):
        assert error(found[name], right[name]) < 2e-2, name


@pytest.mark.parametrize("layers", [["conv1_2", "bn1_2", "relu1_2", "pool1"], ["bn3_3", "relu4_1"], ["pool2"]])
def test_taps_on_either_side(layers):
    network, x = small().eval(), torch.randn(2, 3, 34, 45, generator=torch.Generator().manual_seed(5))
    found = {}
    for engine, dtype in (("auto", torch.float32), ("torch", torch.float64)):
        network.to(dtype).engine = engine
        given = x.to(dtype, copy=True).requires_grad_()
        taps = Features(network, layers)(given)
        sum(one.sin().sum() for one in taps.values()).backward()
        found[engine] = [*taps.values(), given.grad]
    for one, other in zip(found["auto"], found["torch"], strict=True):
        assert one.shape == other.shape and error(one, other) < 1e-4


def test_features_of_a_network_that_trains_leave_its_statistics_alone(calls):
    network, x = small("A").train(), torch.randn(2, 3, 32, 32)
    before = {name: one.clone() for name, one in network.named_buffers()}
    Features(network, ["relu2_1"], trainable=True)(x)["relu2_1"].sum().backward()
    assert calls["batch_norm"] == 2 and "channel_statistics" not in calls
    assert all(torch.equal(one, before[name]) for name, one in network.named_buffers())


def test_gradients_of_gradients():
    network = small("A").double().train()
    x, v = (
        torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) for n in (5, 6)
    )

    def curvature(network: VGG, x: Tensor, v: Tensor) -> list[Tensor]:
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
        return list(torch.autograd.grad((slope * v).sum(), [x, network.bn2_1.weight, network.conv2_1.weight]))

    right = curvature(network, x, v)
    found = curvature(network.float(), x.float(), v.float())
    assert all(error(one, other) < 5e-3 for one, other in zip(found, right, strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_gradients_behind_a_checkpoint(training):
    """There a layer may read what it keeps only once."""
    network = small("A").train(training)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5)).requires_grad_()
    found = []
    for run in (network, lambda x: checkpoint(network, x, use_reentrant=False)):
        (slope,) = torch.autograd.grad(run(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), network.conv2_1.weight)[0])
    assert error(found[1], found[0]) < 1e-5


def test_statistics_that_changed_before_the_gradient_are_noticed():
    """Where torch goes on with the new ones."""
    network, x = small("A").eval(), torch.randn(2, 3, 32, 32)
    scores = network(x)
    network.train()(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        scores.sum().backward()


def test_nothing_is_kept_after_the_gradient(monkeypatch):
    """Pooled maps too are freed with all else that was saved, though the loss is still there."""
    network, x = small("A").train(), torch.randn(2, 3, 32, 32)
    made: list[weakref.ref[Tensor]] = []

    def noted(*what) -> Tensor:
        tensor = new(*what)
        made.append(weakref.ref(tensor))
        return tensor

    new = native_layers.kernels.new
    for module in (convolutions, normalization, poolings):
        monkeypatch.setattr(module, "new", noted)
    loss = network(x).sum()
    assert any(one() is not None for one in made)
    loss.backward()
    assert not any(one() is not None for one in made)


def test_what_is_not_plain_is_not_measured(calls):
    """Moments are for a normalisation on the kernels; one with a hook is the module's."""
    network, x = small("A").train(), torch.randn(2, 3, 32, 32)
    for name in [name for name, module in network.named_modules() if isinstance(module, BatchNorm)]:
        network.get_submodule(name).register_forward_hook(lambda *_: None)
    measured = []
    for name in ("convolve", "convolve_normalized"):
        real = getattr(native_layers, name)

        def noticed(*given, real=real, measure=False, **options):
            measured.append(measure)
            return real(*given, measure=measure, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native_layers, name, noticed)
            network(x)
    assert measured and not any(measured)


def test_a_hook_sees_its_module_called(calls):
    network, x = small("A").eval(), torch.randn(2, 3, 32, 32)
    seen = []
    network.bn3_1.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    network(x).sum().backward()
    assert seen == [(2, 64, 8, 8)] and calls["batch_norm"] + calls["normalized_data_gradient"] == 7


def test_a_batch_of_one_number_is_refused_as_torch_does():
    network = small("A").train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        network.apply_node(network.architecture.nodes[1], torch.randn(1, 16, 1, 1))
    # The kernels leave it to torch.
    maps = pack(torch.randn(1, 16, 1, 1))
    assert not network._is_native(network.architecture.nodes[1], maps)


def test_numbers_of_channels_are_checked():
    assert native is not None
    layers = native.Layers(instructions=INSTRUCTIONS[-1], threads=1)
    maps, sizes = native.maps((1, 20, 4, 4)), (1, 20, 4, 4)
    right, wrong = torch.ones(20).numpy(), torch.ones(32).numpy()
    for mean, weight in ((wrong, right), (right, wrong)):
        with pytest.raises(ValueError, match="20 are wanted"):
            layers.batch_norm(maps, sizes, ((mean, right, EPS), weight, right), False, maps, None)
    with pytest.raises(ValueError, match="another shape"):
        layers.channel_statistics(maps, sizes, torch.zeros(3, 20).numpy())
