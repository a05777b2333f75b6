"""torchvision's VGG at any width with random weights, the same weights in ours, and the names of its nodes."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torchvision.models import vgg

from verydeep.configurations import Architecture, Convolution, FullyConnected, Pooling
from verydeep.network.vgg import VGG


def networks(configuration: str, *, batch_norm: bool, width: float, with_fc: bool = True) -> tuple[nn.Module, VGG]:
    """Torchvision's network with weights and statistics drawn at random, and ours with the same, for testing.

    No ReLU is in place, so that torchvision's own taps are not overwritten.
    Without FC layers they are features only.
    """
    architecture = Architecture(configuration, num_classes=5 if with_fc else 0, width=width, batch_norm=batch_norm)
    plan: list[int | str] = []
    for layer in architecture.layers:
        if isinstance(layer, Convolution):
            plan.append(layer.out_channels)
        elif isinstance(layer, Pooling):
            plan.append("M")
    with torch.device("meta"):
        theirs = vgg.VGG(vgg.make_layers(plan, batch_norm), init_weights=False)
    theirs.features = vgg.make_layers(plan, batch_norm)
    sizes = [layer.out_channels for layer in architecture.layers if isinstance(layer, FullyConnected)]
    theirs.classifier = nn.Sequential(*_fully_connected([49 * plan[-2], *sizes]) if with_fc else [])
    generator = torch.Generator().manual_seed(7)
    for module in theirs.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
        elif isinstance(module, nn.Conv2d | nn.Linear):
            deviation = (2 / module.weight[0].numel()) ** 0.5
            module.weight.data.normal_(0, deviation, generator=generator)
            module.bias.data.uniform_(-0.1, 0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    ours = VGG(architecture)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    tensors = theirs.state_dict().values()
    ours.load_state_dict(
        {
            name: tensor.reshape(shape).clone()
            for (name, shape), tensor in zip(shapes.items(), tensors, strict=True)
        }
    )
    return theirs.eval(), ours.eval()


def _fully_connected(sizes: list[int]) -> list[nn.Module]:
    linear = [nn.Linear(before, after) for before, after in itertools.pairwise(sizes)]
    return [linear[0], nn.ReLU(), nn.Dropout(), linear[1], nn.ReLU(), nn.Dropout(), linear[2]]


def node_names(theirs: nn.Module, architecture: Architecture) -> dict[str, str]:
    """Torchvision's name of each node of ours, counted through its modules."""
    found: dict[str, str] = {}
    modules = iter([(f"features.{name}", type(module)) for name, module in theirs.features.named_children()])
    for layer in architecture.layers[:-3]:
        if isinstance(layer, Pooling):
            found[layer.name], kind = next(modules)
            assert kind is nn.MaxPool2d
            continue
        found[layer.name], kind = next(modules)
        assert kind is nn.Conv2d
        if layer.batch_norm:
            found[f"bn{layer.place}"], kind = next(modules)
            assert kind is nn.BatchNorm2d
        found[f"relu{layer.place}"], kind = next(modules)
        assert kind is nn.ReLU
    assert next(modules, None) is None
    fully_connected = {"fc6": 0, "relu6": 1, "fc7": 3, "relu7": 4, "fc8": 6}
    return found | {name: f"classifier.{number}" for name, number in fully_connected.items()}
