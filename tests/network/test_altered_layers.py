"""Layers that users pruned, parametrised, hooked or replaced compute what their modules do, in taps too."""

from __future__ import annotations

import warnings
from types import MethodType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, weight_norm

import verydeep
from verydeep.configurations import Architecture
from verydeep.errors import UsageError
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG

LAYERS = ["relu2_1", "relu6", "fc8"]


class Doubling(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def doubled(network: VGG, name: str) -> None:
    before = network.get_submodule(name)
    module = Doubling(before.in_channels, before.out_channels, before.kernel_size, padding=before.padding)
    module.load_state_dict(before.state_dict())
    setattr(network, name, module)


def normed_by_hook(network: VGG, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it is deprecated, and old code has it
        weight_norm(network.get_submodule(name)).weight_g.data.mul_(1.5)


def normed(network: VGG, name: str) -> None:
    module = parametrizations.weight_norm(network.get_submodule(name))
    module.parametrizations.weight.original0.data.mul_(1.5)


def doubled_by_a_method(network: VGG, name: str) -> None:
    module = network.get_submodule(name)
    module.forward = MethodType(lambda self, x: 2 * nn.Conv2d.forward(self, x), module)


ALTERATIONS = {
    "pruned": lambda network, name: prune.l1_unstructured(network.get_submodule(name), "weight", 0.5),
    "weight norm": normed,
    "weight norm by a hook": normed_by_hook,
    "spectral norm": lambda network, name: parametrizations.spectral_norm(network.get_submodule(name)),
    "forward hook": lambda network, name: network.get_submodule(name).register_forward_hook(lambda *a: 3 * a[2]),
    "pre-hook": lambda network, name: network.get_submodule(name).register_forward_pre_hook(lambda _, x: -x[0]),
    "subclass": doubled,
    "forward of its own": doubled_by_a_method,
}


def network_of(*, batch_norm: bool) -> VGG:
    network = VGG(Architecture("A", 4, 0.06, 32, batch_norm)).eval()
    initialize(network, "he", 0)
    return network


def by_torch(network: VGG, x: Tensor) -> dict[str, Tensor]:
    """What the modules compute one after the other, between torch's ReLUs and poolings."""
    found = {}
    for node in network.architecture.nodes:
        if node.kind == "relu":
            x = F.relu(x)
        elif node.kind == "pooling":
            x = F.max_pool2d(x, 2)
        else:
            x = network.get_submodule(node.name)(x)
        found[node.name] = x
    return found


@pytest.mark.parametrize("alteration", ALTERATIONS)
@pytest.mark.parametrize("layer", ["conv1_1", "conv2_1", "fc6", "fc7"])
@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_a_layer_computes_what_its_module_does(layer, alteration, engine):
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    network = network_of(batch_norm=layer == "conv2_1")
    network.engine = engine
    before = by_torch(network, images)["fc8"].detach()
    ALTERATIONS[alteration](network, layer)
    wanted = by_torch(network, images)
    assert (wanted["fc8"] - before).abs().max() > 1e-3 * before.abs().max()
    tap = verydeep.features(network, LAYERS)
    of_double = tap(images.double())
    for name, found in network.activations(images, LAYERS).items():
        torch.testing.assert_close(found, wanted[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(tap(images)[name], wanted[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(of_double[name].float(), wanted[name], rtol=1e-4, atol=1e-5)
    assert of_double["fc8"].dtype == torch.float64
    assert not any(parameter.requires_grad for parameter in tap.parameters())
    tap(images.requires_grad_())["fc8"].sum().backward()
    assert images.grad is not None and all(parameter.grad is None for parameter in network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_tap_sees_what_pruned_weights_have_become():
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    network = network_of(batch_norm=False)
    prune.l1_unstructured(network.conv2_1, "weight", 0.5)
    tap = verydeep.features(network, LAYERS)
    for given in (images, images.double()):
        tap(given)
    with torch.no_grad():
        network.conv2_1.weight_orig.mul_(2)
    wanted = by_torch(network, images)["fc8"]
    for given in (images, images.double()):
        torch.testing.assert_close(tap(given)["fc8"].float(), wanted, rtol=1e-4, atol=1e-5)


def test_a_borders_mode_is_the_taps_too():
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    network = network_of(batch_norm=False)
    reflecting = nn.Conv2d(3, network.conv1_1.out_channels, 3, padding=1, padding_mode="reflect")
    reflecting.load_state_dict(network.conv1_1.state_dict())
    network.conv1_1 = reflecting
    tap = verydeep.features(network, LAYERS)
    torch.testing.assert_close(tap(images)["fc8"], by_torch(network, images)["fc8"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_images_that_are_a_negated_view(engine):
    numbers = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    negated = torch.complex(numbers, -numbers).conj().imag
    assert negated.is_neg()
    network = network_of(batch_norm=False)
    network.engine = engine
    torch.testing.assert_close(network(negated), network(numbers))
    torch.testing.assert_close(verydeep.features(network, LAYERS)(negated)["fc8"][:, :, 0, 0], network(numbers))


@pytest.mark.parametrize("dropout", [1.0, -0.5, 1.5, float("nan")])
def test_dropout_is_a_probability_below_1(dropout):
    with pytest.raises(UsageError, match="at least 0 and below 1"):
        VGG(Architecture("A", 4, 0.06, 32), dropout=dropout)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(3, 32, 32), "shape (3, 32, 32)"),
        (torch.zeros(1, 4, 32, 32), "shape (1, 4, 32, 32)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "uint8"),
    ],
)
def test_what_cannot_be_preprocessed_images_is_refused_in_a_sentence(images, said):
    with pytest.raises(UsageError) as refusal:
        network_of(batch_norm=False).activations(images, LAYERS)
    assert said in str(refusal.value)
