"""The network against torchvision's and Keras's, with the same weights, on real photographs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg as torchvision_vgg
from torchvision.transforms import v2

from verydeep.configurations import Architecture, LocalResponseNorm
from verydeep.errors import UsageError
from verydeep.network.initialize import initialize
from verydeep.network.normalize import local_response_norm
from verydeep.network.vgg import VGG

TORCHVISION = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network(configuration: str, batch_norm: bool = False, **fields) -> VGG:
    model = VGG(Architecture(configuration, batch_norm=batch_norm, **fields)).eval()
    initialize(model, "he", seed=1)
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
        if isinstance(module, (nn.BatchNorm2d, nn.Conv2d)):
            module.bias.data.normal_(0, 0.05, generator=generator)
    return model


def torchvision_twin(model: VGG) -> nn.Module:
    """Torchvision's network of the same configuration, with our weights, matched by order."""
    architecture = model.architecture
    name = TORCHVISION[architecture.configuration] + "_bn" * architecture.batch_norm
    with torch.device("meta"):  # it takes our tensors for its own: 138 million need not be drawn, nor copied
        twin = getattr(torchvision_vgg, name)(num_classes=architecture.num_classes, init_weights=False).eval()
    ours, theirs = model.state_dict(), twin.state_dict()
    assert len(ours) == len(theirs)
    twin.load_state_dict(
        {name: tensor.reshape(theirs[name].shape) for name, tensor in zip(theirs, ours.values(), strict=True)},
        assign=True,
    )
    return twin


def recast(twin: nn.Module) -> nn.Module:
    """Torchvision's network as Section 3.2 tests it: its FC layers as convolutions, nothing pooled adaptively."""
    layers: list[nn.Module] = [twin.features]
    for number, kernel in ((0, 7), (3, 1), (6, 1)):
        linear = twin.classifier[number]
        convolution = nn.Conv2d(linear.in_features // kernel**2, linear.out_features, kernel)
        convolution.weight.data = linear.weight.data.reshape(convolution.weight.shape)
        convolution.bias.data = linear.bias.data
        layers += [convolution, nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


@pytest.fixture(scope="module")
def batch(photographs) -> torch.Tensor:
    transform = v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(256, antialias=True),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, DEVIATION),
        ]
    )
    return torch.stack([transform(photograph) for photograph in photographs])


@torch.inference_mode()
def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Equal to float32 rounding: errors of a few units in the last place of the largest score."""
    return bool((ours - theirs).abs().max() <= 2e-5 * theirs.abs().max())


@pytest.mark.parametrize(
    ("configuration", "batch_norm"),
    [
        pytest.param(name, norm, marks=pytest.mark.heavy if (name, norm) != ("D", False) else ())
        for name in TORCHVISION
        for norm in (False, True)
    ],
)
@torch.inference_mode()
def test_logits_are_torchvisions(configuration, batch_norm, batch):
    model = network(configuration, batch_norm)
    twin = torchvision_twin(model)
    theirs = twin(batch)
    assert close(model(batch), theirs)
    model.to(memory_format=torch.channels_last)
    assert close(model(batch.to(memory_format=torch.channels_last)), theirs)
    if configuration == "D":
        dense = batch[:, :, :, :].repeat(1, 1, 1, 2)[:, :, :, :320]
        maps = model.score_map(dense)
        assert maps.shape == (2, 1000, 1, 4)
        assert close(maps, recast(twin)(dense))


@pytest.mark.heavy
@pytest.mark.parametrize(("configuration", "name"), [("D", "VGG16"), ("E", "VGG19")])
@torch.inference_mode()
def test_logits_are_keras(configuration, name, photographs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Keras and its dependencies, about themselves
        import keras

        peer = getattr(keras.applications, name)(weights=None, classifier_activation=None, classes=50)
        model = network(configuration, num_classes=50)
        convolutional = [layer for layer in peer.layers if layer.weights]
        ours = [layer.name for layer in model.architecture.layers if not layer.name.startswith("pool")]
        for layer, our_name in zip(convolutional, ours, strict=True):
            module = model.get_submodule(our_name)
            weight = module.weight.detach().permute(2, 3, 1, 0).numpy()
            layer.set_weights([weight.reshape(layer.weights[0].shape), module.bias.detach().numpy()])
        pixels = np.stack([photograph[100:324, 200:424] for photograph in photographs]).astype(np.float32)
        preprocessed = keras.applications.vgg16.preprocess_input(pixels.copy())
        theirs = torch.as_tensor(np.asarray(peer(preprocessed).detach().cpu()))
    mean = torch.tensor([123.68, 116.779, 103.939])
    bgr = (torch.from_numpy(pixels) - mean).flip(-1).permute(0, 3, 1, 2)
    assert close(model(bgr), theirs)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("configuration", ["A", "A-LRN", "C"])
@torch.inference_mode()
def test_dense_test_of_one_window_is_its_crop(configuration, batch_norm, batch):
    model = network(configuration, batch_norm, width=0.1, num_classes=7)
    assert model.score_map(batch).shape == (2, 7, 1, 1)
    assert torch.equal(model.score_map(batch)[:, :, 0, 0], model(batch))


@pytest.mark.parametrize("window", [32, 64, pytest.param(224, marks=pytest.mark.heavy)])
@given(st.integers(0, 70), st.integers(0, 70))
def test_score_map_size_is_as_told(window, more_height, more_width):
    architecture = Architecture("A", num_classes=3, width=0.02, window=window)
    height, width = window + more_height, window + more_width
    with torch.inference_mode():
        maps = VGG(architecture).eval().score_map(torch.zeros(1, 3, height, width))
    assert maps.shape == (1, 3, *architecture.score_map_size(height, width))


def test_forward_is_the_mean_of_the_map():
    model = network("B", width=0.1, num_classes=5, window=64)
    images = torch.randn(2, 3, 130, 97)
    with torch.inference_mode():
        assert torch.equal(model(images), model.score_map(images).mean((2, 3)))


def test_lrn_is_alexnets_formula():
    """In float64, by the sum of squares over five channels, not divided by five."""
    model = network("A-LRN", width=0.25, num_classes=4, window=32).double()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64) * 50
    x = F.relu(F.conv2d(images, model.conv1_1.weight, model.conv1_1.bias, padding=1))
    channels = x.shape[1]
    expected = torch.stack(
        [
            x[:, c] / (2 + 1e-4 * (x[:, max(0, c - 2) : min(channels, c + 3)] ** 2).sum(1)) ** 0.75
            for c in range(channels)
        ],
        1,
    )
    assert torch.allclose(model.activations(images, ["norm1_1"])["norm1_1"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.bfloat16, 8e-3)]
)
def test_lrn_is_torchs_and_its_gradient(dtype, bound):
    maps = (torch.randn(2, 11, 6, 5) * 60).requires_grad_()
    theirs = F.local_response_norm(maps.double(), 5, alpha=5e-4, beta=0.75, k=2)
    slopes = torch.randn(theirs.shape, dtype=torch.float64)
    (wanted,) = torch.autograd.grad(theirs, maps, slopes)
    rounded = maps.detach().to(dtype).requires_grad_()
    ours = local_response_norm(rounded, LocalResponseNorm())
    (found,) = torch.autograd.grad(ours, rounded, slopes.to(dtype))
    assert ours.dtype == dtype
    assert (ours - theirs).norm() < bound * theirs.norm()
    assert (found - wanted).norm() < max(bound, 1e-6) * wanted.norm()


def test_gradients_are_those_of_finite_differences():
    model = network("C", width=0.02, num_classes=3, window=32).double()
    images = torch.randn(1, 3, 32, 40, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(model, (images,), eps=1e-6, atol=1e-5, fast_mode=True)


def test_input_is_left_alone():
    model = network("A", width=0.05, num_classes=3, window=32)
    images = torch.randn(1, 3, 40, 40)
    before = images.clone()
    model(images)
    assert torch.equal(images, before)


def test_too_small_an_image_says_what_is_needed():
    model = network("D", width=0.02, num_classes=3)
    with pytest.raises(UsageError, match=r"image is 250x50 pixels; .* at least 224"):
        model(torch.zeros(1, 3, 50, 250))


def test_a_wrong_shape_is_caught_by_the_signature():
    from jaxtyping import TypeCheckError

    with pytest.raises(TypeCheckError):
        network("A", width=0.02, window=32).score_map(torch.zeros(1, 4, 32, 32))
