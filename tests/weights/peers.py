"""The libraries' own VGG networks, made a sixteenth as wide by their own tables, with random weights."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from torch import nn
from torchvision.models import vgg as torchvision_vgg

NARROWER = 16
TORCHVISION = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}
KERAS = {"D": "VGG16", "E": "VGG19"}


def narrow(table: dict) -> dict:
    return {name: [v if v == "M" else v // NARROWER for v in column] for name, column in table.items()}


def fill(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights that keep the signal's size, random biases, and statistics of a used normalisation."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            deviation = (2 / module.weight[0].numel()) ** 0.5
            module.weight.data.normal_(0, deviation, generator=generator)
            module.bias.data.normal_(0, 0.05, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.05, generator=generator)
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.num_batches_tracked.fill_(1234)
    return network.eval()


def torchvision_network(configuration: str, batch_norm: bool = False, num_classes: int = 7) -> nn.Module:
    """Torchvision's network, its channels divided where its module takes them from."""

    def linear(inputs: int, outputs: int) -> nn.Linear:
        return nn.Linear(inputs // NARROWER, outputs // NARROWER if outputs == 4096 else outputs)

    narrower = SimpleNamespace(**vars(nn) | {"Linear": linear})
    with mock.patch.object(torchvision_vgg, "cfgs", narrow(torchvision_vgg.cfgs)):
        layers = torchvision_vgg.make_layers(torchvision_vgg.cfgs[configuration], batch_norm)
    with mock.patch.object(torchvision_vgg, "nn", narrower):
        narrower.Module = nn.Module
        network = torchvision_vgg.VGG(layers, num_classes, init_weights=False)
    return fill(network)


def timm_network(configuration: str, batch_norm: bool = False, num_classes: int = 7) -> nn.Module:
    """timm's network, likewise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import timm
        from timm.models import vgg as timm_vgg

    head, classifier = timm_vgg.ConvMlp, timm_vgg.ClassifierHead

    def narrow_head(inputs: int, outputs: int, *others, **named) -> nn.Module:
        return head(inputs, outputs // NARROWER, *others, **named)

    def narrow_classifier(inputs: int, *others, **named) -> nn.Module:
        return classifier(inputs // NARROWER, *others, **named)

    name = TORCHVISION[configuration] + "_bn" * batch_norm
    with (
        mock.patch.object(timm_vgg, "cfgs", narrow(timm_vgg.cfgs)),
        mock.patch.object(timm_vgg, "ConvMlp", narrow_head),
        mock.patch.object(timm_vgg, "ClassifierHead", narrow_classifier),
    ):
        return fill(timm.create_model(name, num_classes=num_classes))


def keras_network(configuration: str, num_classes: int = 7, top: bool = True):
    """Keras's network, likewise; its answers are scores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Keras and its dependencies, about themselves
        import keras
        from keras.src.applications import vgg16, vgg19

        def convolution(channels: int, *others, **named):
            return keras.layers.Conv2D(channels // NARROWER, *others, **named)

        def dense(units: int, *others, **named):
            return keras.layers.Dense(units // NARROWER if units == 4096 else units, *others, **named)

        home = {"D": vgg16, "E": vgg19}[configuration]
        narrower = SimpleNamespace(**vars(keras.layers) | {"Conv2D": convolution, "Dense": dense})
        with mock.patch.object(home, "layers", narrower):
            network = getattr(home, KERAS[configuration])(
                include_top=top, weights=None, classes=num_classes, classifier_activation=None
            )
        random = np.random.default_rng(0)
        for layer in network.layers:
            if layer.weights:
                kernel, bias = (weight.shape for weight in layer.weights)
                deviation = (2 / np.prod(kernel[:-1])) ** 0.5
                layer.set_weights([random.normal(0, deviation, kernel), random.normal(0, 0.05, bias)])
    return network


def keras_scores(network, pixels: np.ndarray) -> np.ndarray:
    """What Keras's network answers for pixels of 0 to 255, by Keras's own preprocessing."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        import keras

        preprocessed = keras.applications.vgg16.preprocess_input(pixels.astype(np.float32))
        return np.asarray(network(preprocessed).detach().cpu())
