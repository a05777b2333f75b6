"""The layers on our own kernels beside torch's in float64, and where they leave the work to torch."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_peer import INSTRUCTIONS, error, native
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from verydeep import VGG, Architecture
from verydeep.network import native_layers
from verydeep.network.features import Features
from verydeep.network.initialize import initialize
from verydeep.network.native_layers import Maps, pack, support, unpack
from verydeep.processor import has_bfloat16

pytestmark = pytest.mark.skipif(native is None, reason="the package was installed without a compiler")


def he(outputs: int, inputs: int, generator: torch.Generator) -> Tensor:
    return torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5


def layer_both(x: Tensor, weight: Tensor, bias: Tensor, *, relu: bool, max_pool: bool, bordered: bool = False):
    """Outputs and gradients of a layer here, and by torch in float64."""
    here = [one.clone().requires_grad_() for one in (x, weight, bias)]
    y = unpack(native_layers.convolve(pack(here[0], bordered=bordered), *here[1:], relu=relu, max_pool=max_pool))
    exact = [one.double().requires_grad_() for one in (x, weight, bias)]
    z = F.conv2d(*exact, padding=1)
    z = F.relu(z) if relu else z
    z = F.max_pool2d(z, 2) if max_pool else z
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    y.backward(slope)
    z.backward(slope.double())
    return [y.detach(), *(one.grad for one in here)], [z.detach(), *(one.grad for one in exact)]


@given(
    st.integers(1, 3),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 14),
    st.integers(1, 14),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_layers_of_any_shape(images, inputs, outputs, height, width, relu, max_pool):
    generator = torch.Generator().manual_seed(inputs * 71 + outputs)
    x = torch.randn(images, inputs, height, width, generator=generator).relu()
    bias = torch.randn(outputs, generator=generator) * 0.1
    max_pool = max_pool and min(height, width) > 1
    found, right = layer_both(x, he(outputs, inputs, generator), bias, relu=relu, max_pool=max_pool)
    # Winograd's sums err by some roundings a term; a ReLU or a maximum may flip where two numbers are that near.
    flips = 2e-3 if relu or max_pool else 0
    for one, other in zip(found, right, strict=True):
        assert one.shape == other.shape
        assert error(one, other) < 1e-5 + flips


# The layers of D at full width and a quarter, on small maps.
@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(
    "inputs, outputs, side", [(3, 64, 32), (64, 64, 32), (128, 256, 14), (512, 512, 7), (32, 32, 2)]
)
def test_errors_on_realistic_numbers(inputs, outputs, side):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, inputs, side, side, generator=generator)
    x = x if inputs == 3 else x.relu()
    found, right = layer_both(
        x, he(outputs, inputs, generator), torch.zeros(outputs), relu=False, max_pool=False, bordered=inputs == 3
    )
    by_torch = [one.clone().requires_grad_() for one in (x, he(outputs, inputs, generator))]
    y = F.conv2d(*by_torch, padding=1)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)))
    output, to_x, to_weight, to_bias = map(error, found, right)
    assert output < 1.5e-6
    assert to_x < 3e-6
    assert to_weight < max(1.5e-6, error(by_torch[1].grad, right[2]))
    assert to_bias < 1e-6


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize(
    "inputs, side, max_pool", [(3, 30, False), (20, 30, True), (40, 3, False), (64, 12, True)]
)
def test_the_bits_do_not_depend_on_the_number_of_threads(inputs, side, max_pool):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, inputs, side, side, generator=generator)
    weight, bias = he(50, inputs, generator), torch.randn(50, generator=generator)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(layer_both(x, weight, bias, relu=True, max_pool=max_pool)[0])
    finally:
        torch.set_num_threads(before)
    for several in zip(*found, strict=True):
        assert all(torch.equal(one, several[0]) for one in several)


@pytest.mark.usefixtures("instructions")
def test_pooling_as_torch_has_it_where_numbers_are_equal_or_none():
    numbers = torch.tensor([0.0, -0.0, 1.0, 1.0, 2.0, -1.0, float("nan"), float("inf"), -float("inf")])
    chosen = torch.tensor(list(product(range(len(numbers)), repeat=4)))
    windows = numbers[chosen[::3]][: 16 * 128].view(1, 16, 128, 2, 2)
    x = windows.permute(0, 1, 3, 2, 4).reshape(1, 16, 2, 256).contiguous()
    slope = torch.randn(1, 16, 1, 128)
    gradients = []
    for native_one in (True, False):
        given = x.clone().requires_grad_()
        y = unpack(native_layers.max_pool(pack(given))[0]) if native_one else F.max_pool2d(given, 2)
        y.backward(slope)
        gradients.append((y.detach(), given.grad))
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one.nan_to_num(7), other.nan_to_num(7))


@pytest.mark.usefixtures("instructions")
def test_the_relu_as_torch_has_it_at_zero_and_nan():
    x = torch.tensor([0.0, -0.0, 1.0, -1.0, float("nan"), float("inf")]).repeat(16, 1).view(1, 16, 2, 3)
    slope = torch.randn(x.shape)
    found = []
    for relu in (lambda given: unpack(pack(given).relu()), F.relu):
        given = x.clone().requires_grad_()
        y = relu(given)
        y.backward(slope)
        found.append((y.detach().nan_to_num(7), given.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_nan_and_infinity_are_seen():
    generator = torch.Generator().manual_seed(0)
    for wrong in (float("nan"), float("inf")):
        x = torch.randn(1, 20, 9, 9, generator=generator)
        x[0, 3, 4, 4] = wrong
        found, _ = layer_both(x, he(20, 20, generator), torch.zeros(20), relu=True, max_pool=True)
        assert not found[0].isfinite().all() and not found[2].isfinite().all()


@pytest.mark.usefixtures("instructions")
def test_a_dropped_row_gets_no_gradient():
    for height, width in ((5, 6), (9, 9), (13, 4), (3, 3)):
        x = torch.randn(1, 16, height, width)
        for pool in (lambda maps: native_layers.max_pool(maps)[0], native_layers.average_pool):
            given = x.clone().requires_grad_()
            unpack(pool(pack(given))).sum().backward()
            other = x.clone().requires_grad_()
            (F.avg_pool2d if pool is native_layers.average_pool else F.max_pool2d)(other, 2).sum().backward()
            assert torch.equal(given.grad, other.grad)


def test_batches_of_none_and_any_strides():
    generator = torch.Generator().manual_seed(0)
    weight, bias = he(20, 18, generator), torch.randn(20, generator=generator)
    found, right = layer_both(torch.zeros(0, 18, 8, 8), weight, bias, relu=True, max_pool=True)
    assert found[0].shape == (0, 20, 4, 4) and not found[2].any() and not found[3].any()
    wide = torch.randn(3, 18, 12, 20, generator=generator)
    views = [
        wide[:, :, ::2, 3:11],
        wide.transpose(2, 3),
        wide.to(memory_format=torch.channels_last),
        wide[:1].expand(4, -1, -1, -1),
        wide.flip(0)[1:],
    ]
    for x in views:
        found, right = layer_both(x, weight, bias, relu=False, max_pool=False)
        assert all(error(one, other) < 1e-5 for one, other in zip(found, right, strict=True))


def small(config: str = "D", *, window: int = 32, seed: int = 0, **options) -> VGG:
    network = VGG(Architecture(config, num_classes=7, width=0.25, window=window), **options)
    initialize(network, "he", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.05, generator=generator)
    return network.eval()


def gradients(network: VGG, x: Tensor, engine: str) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    network = copy.deepcopy(network)
    network.engine = engine
    x = x.clone().requires_grad_()
    scores = network(x)
    scores.square().sum().backward()
    return scores.detach(), {name: one.grad for name, one in network.named_parameters()}, x.grad


@pytest.mark.parametrize("config", ["A", "A-LRN", "B", "C", "D", "E"])
def test_whole_networks(config, calls):
    network, x = small(config), torch.randn(3, 3, 35, 32, generator=torch.Generator().manual_seed(5))
    scores, by_name, to_x = gradients(network, x, "auto")
    assert calls["convolve"] + calls["convolve_images"] >= 7
    right, rights, right_x = gradients(network, x, "torch")
    assert error(scores, right) < 1e-5
    # As near as two layouts of torch are: one ReLU or maximum that flips moves a gradient by a thousandth.
    assert error(to_x, right_x) < 2e-2
    assert all(error(by_name[name], rights[name]) < 2e-2 for name in rights)


LAYERS = ["conv1_2", "relu1_2", "pool1", "conv3_3", "relu3_3", "relu4_1"]


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("layers", [LAYERS, ["relu2_2"], ["pool2", "conv3_1"], ["conv1_1", "relu1_1"]])
def test_taps_before_the_relu_of_pooled_maps_and_several(layers, pooling):
    network = small()
    x = torch.randn(2, 3, 34, 45, generator=torch.Generator().manual_seed(5))
    found = {}
    for engine in ("auto", "torch"):
        network.engine = engine
        tap = Features(network, layers, pooling=pooling)
        given = x.clone().requires_grad_()
        taps = tap(given)
        sum(one.sin().sum() for one in taps.values()).backward()
        found[engine] = [*taps.values(), given.grad]
    for one, other in zip(found["auto"], found["torch"], strict=True):
        assert one.shape == other.shape and error(one, other) < 1e-4


def test_gradients_add_up_and_graphs_are_kept():
    network, x = small(), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    _, once, _ = gradients(network, x, "auto")
    scores = network(x)
    for _ in range(2):
        scores.square().sum().backward(retain_graph=True)
    other = network(x + 1)  # two graphs at once
    scores.square().sum().backward()
    other.sum().backward()
    third = {name: one.grad for name, one in network.named_parameters()}
    network.zero_grad()
    network(x + 1).sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(third[name], 3 * once[name] + parameter.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing(reentrant):
    network, x = small(), torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    scores, _, to_x = gradients(network, x, "auto")
    given = x.clone().requires_grad_()
    found = checkpoint(network, given, use_reentrant=reentrant)
    found.square().sum().backward()
    assert torch.equal(found, scores) and torch.equal(given.grad, to_x)


def test_frozen_layers_cost_nothing_backwards(calls):
    network, x = small("A"), torch.randn(2, 3, 32, 32)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(("conv5", "fc")))
    network(x).sum().backward()
    # conv5_2 and conv5_1 have gradients of weights, and conv5_2 alone one of its input.
    assert (calls["weight_gradient"], calls["data_gradient"]) == (2, 1)
    assert "images_data_gradient" not in calls and "images_weight_gradient" not in calls
    assert network.conv4_2.weight.grad is None and network.conv5_1.weight.grad is not None


def test_a_part_of_a_layer_may_be_frozen():
    network, x = small("A"), torch.randn(2, 3, 32, 32)
    network.conv1_1.weight.requires_grad_(False)
    network.conv3_1.bias.requires_grad_(False)
    _, right, _ = gradients(network, x, "torch")
    _, found, _ = gradients(network, x, "auto")
    assert found["conv1_1.weight"] is None and found["conv3_1.bias"] is None
    assert error(found["conv1_1.bias"], right["conv1_1.bias"]) < 2e-2


def test_several_threads_and_torchs_own():
    network = small("A")
    images = [torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    right = [gradients(network, x, "auto")[2] for x in images]
    found: dict[int, Tensor] = {}

    def work(number: int) -> None:
        for _ in range(3):
            torch.randn(200, 200) @ torch.randn(200, 200)  # torch's threads beside ours
            found[number] = gradients(network, images[number], "auto")[2]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[number], right[number]) for number in range(4))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_computes():
    code = """
import os, torch
from verydeep import VGG, Architecture
from verydeep.network.initialize import initialize
network = VGG(Architecture("A", num_classes=3, width=0.1, window=32))
initialize(network, "he", seed=0)
x = torch.ones(1, 3, 32, 32, requires_grad=True)
network(x).sum().backward()
child = os.fork()
if not child:
    torch.set_num_threads(1)
    network(x).sum().backward()
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# ---- where torch computes


def runs_native(network: nn.Module, x: Tensor, calls: dict[str, int]) -> bool:
    calls.clear()
    network(x)
    return calls.get("convolve", 0) > 0


def test_a_hook_sees_its_module_called(calls):
    network, x = small("A"), torch.randn(2, 3, 32, 32, requires_grad=True)
    seen: list[tuple[int, ...]] = []
    handles = [
        network.conv3_1.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape))),
        network.conv4_1.register_full_backward_hook(lambda module, to, of: seen.append(tuple(to[0].shape))),
        network.conv2_1.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape))),
    ]
    network(x).sum().backward()
    assert sorted(seen) == sorted([(2, 32, 16, 16), (2, 64, 8, 8), (2, 64, 4, 4)]) or len(seen) == 3
    assert calls["convolve"] == 7 - 3  # the other layers stay on the kernels
    for handle in handles:
        handle.remove()
    assert runs_native(network, x, calls)


@pytest.mark.filterwarnings("ignore")  # tracing warns of much
def test_what_is_not_plain_autograd_runs_on_torch(calls):
    network, x = small("A"), torch.randn(2, 3, 32, 32)
    right = network(x).detach()
    assert runs_native(network, x, calls)
    assert not runs_native(network.double(), x.double(), calls)
    network.float()
    with torch.autocast("cpu", torch.float16):
        assert not runs_native(network, x, calls)
    with torch.autocast("cpu", torch.bfloat16):
        assert runs_native(network, x, calls) == has_bfloat16(native)
    calls.clear()
    torch.func.grad(lambda image: network(image).sum())(x)
    torch.func.vmap(network)(x[:, None])
    torch.func.jvp(network, (x,), (x,))
    exported = torch.export.export(network, (x,))
    traced = torch.jit.trace(network, x, check_trace=False)
    assert not calls
    for one in (exported.module(), traced):
        torch.testing.assert_close(one(x), right, rtol=1e-3, atol=1e-4)
    with torch.inference_mode():
        frozen = x.clone()
        assert runs_native(network, frozen, calls)  # no derivatives are taken here
    network.requires_grad_(False)
    assert not runs_native(network, frozen, calls)

    class Marked(Tensor):
        pass

    assert not runs_native(network, x.as_subclass(Marked), calls)


@pytest.mark.filterwarnings("ignore:`torch.jit")  # of torch itself
@pytest.mark.parametrize("batch_norm", [False, True])
def test_forward_mode_by_a_weight_runs_on_torch(batch_norm):
    """What follows the layer with the tangent has plain weights, but no plain input."""
    network = VGG(Architecture("A", 7, width=0.25, window=32, batch_norm=batch_norm)).eval()
    initialize(network, "he", seed=0)
    x, weight = torch.randn(2, 3, 32, 32), network.conv2_1.weight.detach()
    tangent = torch.randn_like(weight)

    def scores(weight: Tensor) -> Tensor:
        return torch.func.functional_call(network, {"conv2_1.weight": weight}, (x,))

    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(scores(forward_ad.make_dual(weight, tangent))).tangent
    network.engine = "torch"
    with forward_ad.dual_level():
        right = forward_ad.unpack_dual(scores(forward_ad.make_dual(weight, tangent))).tangent
    assert right is not None and error(found, right) < 1e-4


def test_torchs_default_type_and_device_change_nothing():
    network, x = small("A"), torch.randn(2, 3, 32, 32, requires_grad=True)
    norm = VGG(Architecture("A", 7, width=0.25, window=32, batch_norm=True), dropout=0.0)
    initialize(norm, "he", seed=0)

    def found() -> list[Tensor]:
        norm.load_state_dict(first)
        norm.train()
        for one in (norm, network):
            one.zero_grad()
        relu = Features(network, ["relu2_1"])(x)["relu2_1"]
        gram = native_layers.gram(native_layers.pack(relu.detach()))
        (norm(x).sum() + network(x).sum() + relu.sum()).backward()
        grads = [
            one.grad for one in (norm.conv1_1.weight, norm.conv2_1.bias, norm.bn2_1.weight, network.conv3_1.bias)
        ]
        return [relu.detach(), gram, norm.bn1_1.running_mean.clone(), *grads]

    first = {name: one.clone() for name, one in norm.state_dict().items()}
    right = found()
    torch.set_default_dtype(torch.float64)
    try:
        doubled = found()
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        elsewhere = found()
    for others in (doubled, elsewhere):
        assert all(torch.equal(one, other) for one, other in zip(others, right, strict=True))


def test_a_parametrised_weight_is_used(calls):
    network, x = small("A"), torch.randn(2, 3, 32, 32)
    nn.utils.parametrizations.weight_norm(network.conv3_1)
    network.conv3_1.parametrizations.weight.original0.data.mul_(2)
    found = network(x)
    network.engine = "torch"
    assert error(found, network(x)) < 1e-5
    network.conv2_1.forward = lambda x: torch.zeros(len(x), 32, 16, 16)  # as adapters do
    network.engine = "auto"
    by_hand = network(x)
    network.engine = "torch"
    assert error(by_hand, network(x)) < 1e-5


def test_without_the_compiled_part(monkeypatch):
    network, x = small("A"), torch.randn(2, 3, 32, 32)
    right = network(x)
    monkeypatch.setattr(support, "native_module", lambda: None)
    assert error(network(x), right) < 1e-5


@pytest.mark.usefixtures("instructions")
@pytest.mark.parametrize("channels, height, width", [(16, 70, 51), (40, 9, 13), (64, 3, 2), (7, 1, 1)])
@pytest.mark.parametrize("rectified", [True, False])
def test_gram_matrices(channels, height, width, rectified):
    generator = torch.Generator().manual_seed(channels)
    x = torch.randn(2, channels, height, width, generator=generator)
    slope = torch.randn(2, channels, channels, generator=generator)
    found, right = [], []
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            here = x.clone().requires_grad_()
            maps = pack(here)
            gram = native_layers.gram(maps.relu() if rectified else maps)
            (gram * slope).sum().backward()
        finally:
            torch.set_num_threads(before)
        found.append([gram.detach(), here.grad])
    exact = x.double().requires_grad_()
    rows = (exact.relu() if rectified else exact).flatten(2)
    right = rows @ rows.transpose(1, 2)
    (right * slope.double()).sum().backward()
    assert error(found[0][0], right) < 2e-6 and error(found[0][1], exact.grad) < 2e-6
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_gradients_of_gram_matrices_have_gradients():
    x = torch.randn(2, 20, 6, 5, generator=torch.Generator().manual_seed(0))

    def curvature(x: Tensor, gram) -> Tensor:
        (slope,) = torch.autograd.grad(gram(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    found = curvature(x.clone().requires_grad_(), lambda x: native_layers.gram(pack(x).relu()))
    exact = x.double().requires_grad_()
    right = curvature(exact, lambda x: x.relu().flatten(2) @ x.relu().flatten(2).transpose(1, 2))
    assert error(found, right) < 1e-5


def test_gradients_of_gradients():
    network = small("A").double()
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    v = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))

    def curvature(network: VGG, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        x = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
        (found,) = torch.autograd.grad((slope * v).sum(), x, retain_graph=True)
        (to_weight,) = torch.autograd.grad((slope * v).sum(), network.conv2_1.weight)
        return found, to_weight

    right = curvature(network, x, v)
    found = curvature(network.float(), x.float(), v.float())
    assert all(error(one, other) < 1e-3 for one, other in zip(found, right, strict=True))


@pytest.mark.parametrize("low", [False, True])
def test_fully_connected_layers_are_float32_under_autocast_too(low):
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((5, 70), (30, 70), (30,))]
    slope = torch.randn(5, 30, generator=generator, dtype=torch.float64)

    def gradients(tensors: list[Tensor], compute) -> list[Tensor]:
        given = [one.clone().requires_grad_() for one in tensors]
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            y = compute(*given)
        first = torch.autograd.grad(y, given, slope.to(y.dtype), retain_graph=True)
        y.square().sum().backward()  # the gradients of the call before are not written over
        # Of a gradient: how the one to the input changes with the weights.
        (to_x,) = torch.autograd.grad(compute(*given).square().sum(), given[0], create_graph=True)
        (second,) = torch.autograd.grad(to_x.square().sum(), given[1])
        return [y, *first, *(one.grad for one in given), second]

    right = gradients(exact, F.linear)
    found = gradients([one.float() for one in exact], native_layers.linear)
    assert all(one.dtype == torch.float32 for one in found)
    assert all(error(one, other) < 1e-6 for one, other in zip(found, right, strict=True))


def test_memory_is_kept_for_the_next_step_and_bounded():
    assert native is not None
    native.free_kept_buffers()
    assert native.kept_buffer_bytes() == 0
    network, x = small("A"), torch.randn(4, 3, 64, 64)
    kept = []
    for _ in range(4):
        network(x).sum().backward()
        network.zero_grad()
        kept.append(native.kept_buffer_bytes())
    assert kept[0] > 0 and kept[1:] == [kept[1]] * 3
    for side in (72, 80, 88, 96):
        network(torch.randn(1, 3, side, side)).sum().backward()
        network.zero_grad()
    assert native.kept_buffer_bytes() < 1.1 * kept[-1]  # the most that was used at once
    native.free_kept_buffers()
    assert native.kept_buffer_bytes() == 0


def test_arrays_of_other_sizes_are_refused():
    assert native is not None
    layers = native.Layers(instructions=INSTRUCTIONS[-1], threads=1)
    maps = native.maps((1, 16, 4, 4))
    with pytest.raises(ValueError, match="are wanted"):
        layers.max_pool(maps, (1, 16, 8, 8), maps, native.argmax((1, 16, 4, 4)))
    with pytest.raises(ValueError, match="no memory holds"):
        native.maps((1 << 60, 16, 4, 4))
    with pytest.raises(ValueError, match="3 channels"):
        native.bordered_images((1, 4, 4, 4))


def test_maps_say_what_they_are():
    maps = pack(torch.ones(2, 5, 6, 7))
    assert isinstance(maps, Maps) and maps.sizes == (2, 5, 6, 7) and maps.tensor.ndim == 1
    assert torch.equal(unpack(maps), torch.ones(2, 5, 6, 7))


def test_a_buffer_that_did_not_fit_leaves_the_bound_on_those_that_are_kept():
    native.free_kept_buffers()

    def use(sides) -> int:
        for side in sides:
            native.maps((1, 16, side, side))  # one after the other, each of another layout
        return native.kept_buffer_bytes()

    kept = use(range(40, 80))
    with pytest.raises(MemoryError):
        native.maps((1024, 64, 4000, 4000))  # 4 TB
    assert use(range(80, 40, -1)) <= kept
    native.free_kept_buffers()
