"""Every named layer is torchvision's node on the same weights; taps stay, gradients are right, names checked."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision_peer import networks, node_names

import verydeep
from verydeep import perceptual
from verydeep.api.features import EngineFeatures
from verydeep.configurations import CONFIGURATIONS, Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.images.color import Preprocessing
from verydeep.network.features import Features
from verydeep.network.initialize import initialize
from verydeep.network.preprocess import Preprocess
from verydeep.network.ranges import RangeWarning
from verydeep.network.vgg import VGG
from verydeep.perceptual import TotalVariation
from verydeep.run_folder import ModelConfig, TrainedOn, write_model

native = pytest.importorskip("verydeep.inference.native")

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def network_of(
    configuration: str = "D", *, batch_norm: bool = False, num_classes: int = 4, width: float = 0.06
) -> VGG:
    """A narrow network of windows of 32 pixels, with statistics that batch normalisation could have met."""
    network = VGG(Architecture(configuration, num_classes, width, 32, batch_norm)).eval()
    initialize(network, "he", 0)
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
        elif isinstance(module, torch.nn.Conv2d):
            module.bias.data.uniform_(-0.1, 0.1, generator=generator)
    return network


def config_of(network: VGG, channels: str = "RGB") -> ModelConfig:
    classes = tuple(map(str, range(network.architecture.num_classes)))
    preprocessing = Preprocessing(IMAGENET.mean, IMAGENET.deviation, channels)
    return ModelConfig(network.architecture, preprocessing, classes, TrainedOn((32, 32)))


def tensors_of(network: VGG) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def engine_features(config: ModelConfig, tensors: dict[str, np.ndarray], layers, **options) -> EngineFeatures:
    return EngineFeatures(native.NativeEngine(config, tensors, layers, **options), layers)


def preprocessed(images, range=(0, 1), preprocessing: Preprocessing = IMAGENET) -> torch.Tensor:
    """As a tap takes them, with its checks."""
    return Features(network_of("A"), ["conv1_1"], preprocessing=preprocessing, range=range).preprocessed(images)


def pixels_of(photographs: list[np.ndarray], height: int, width: int) -> np.ndarray:
    return np.stack([photograph[60 : 60 + height, 90 : 90 + width] for photograph in photographs])


def batch_of(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


def error(found, wanted) -> float:
    found, wanted = (np.asarray(x.detach() if isinstance(x, torch.Tensor) else x) for x in (found, wanted))
    assert found.shape == wanted.shape
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("configuration", ["A", "B", "D", "E"])
@torch.no_grad()
def test_every_layer_is_torchvisions_node(configuration, batch_norm, photographs):
    theirs, ours = networks(configuration, batch_norm=batch_norm, width=0.06)
    nodes = node_names(theirs, ours.architecture)
    assert tuple(nodes) == verydeep.layer_names(ours)
    extractor = create_feature_extractor(theirs, {theirs_name: name for name, theirs_name in nodes.items()})
    pixels = pixels_of(photographs, 224, 224)
    images = preprocessed(batch_of(pixels))
    wanted = extractor(images)
    found = verydeep.features(ours, layers=list(nodes))(images)
    by_engine = engine_features(config_of(ours), tensors_of(ours), list(nodes))(pixels)
    assert list(found) == list(by_engine) == list(nodes)
    for name, tensor in wanted.items():
        shape = tensor.shape if tensor.ndim == 4 else (*tensor.shape, 1, 1)
        assert error(found[name], tensor.reshape(shape)) < 1e-5, name
        assert error(by_engine[name], tensor.reshape(shape)) < 1e-5, name


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("configuration", ["A-LRN", "C"])
@torch.no_grad()
def test_the_two_that_torchvision_lacks(configuration, batch_norm, photographs):
    """Convolutions by hooks on our network, the rest by what their names say; and the native engine."""
    network = network_of(configuration, batch_norm=batch_norm)
    pixels = pixels_of(photographs, 70, 96)
    every = verydeep.layer_names(network)
    assert ("norm1_1" in every) == (configuration == "A-LRN")
    images = preprocessed(batch_of(pixels))
    seen: dict[str, torch.Tensor] = {}
    for name, module in network.named_modules():
        if name.startswith(("conv", "bn")):
            module.register_forward_hook(lambda m, inputs, output, name=name: seen.update({name: output.clone()}))
    seen["fc8"] = network.score_map(images)
    found = Features(network, every)(images)
    for name, tensor in seen.items():
        assert torch.equal(found[name], tensor) or error(found[name], tensor) < 1e-5, name
    for name in every:
        if name.startswith("relu"):
            place = name.removeprefix("relu")
            before = next(found[f"{kind}{place}"] for kind in ("bn", "conv", "fc") if f"{kind}{place}" in found)
            assert torch.equal(found[name], before.relu()), name
    for name, by_engine in engine_features(config_of(network), tensors_of(network), every)(pixels).items():
        assert error(by_engine, found[name]) < 1e-5, name


@pytest.mark.parametrize("batch_norm", [False, True])
def test_average_pooling(batch_norm, photographs):
    network = network_of("A-LRN", batch_norm=batch_norm)
    pixels = pixels_of(photographs, 71, 66)
    layers = ["relu1_1", "norm1_1", "pool1", "conv3_1", "pool5", "fc7"]
    found = Features(network, layers, preprocessing=IMAGENET, range=(0, 1), pooling="average")(batch_of(pixels))
    by_engine = engine_features(config_of(network), tensors_of(network), layers, pooling="average")(pixels)
    for name in layers:
        assert error(by_engine[name], found[name]) < 1e-5, name
    wanted = torch.nn.functional.avg_pool2d(found["norm1_1"], 2)
    assert torch.equal(found["pool1"], wanted)
    with pytest.raises(UsageError, match="`pooling` is 'mean'; it must be one of max, average"):
        Features(network, ["pool1"], pooling="mean")


def test_a_tap_is_what_it_was_when_it_was_computed(photographs):
    network = network_of("D", batch_norm=True)
    features = Features(network, verydeep.layer_names(network))
    features.engine = "torch"  # our kernels compute several nodes at once
    copies: dict[str, torch.Tensor] = {}
    apply = Features.apply_node

    def copying(self, node, x):
        result = apply(self, node, x)
        copies[node.name] = result.detach().clone()
        return result

    images = batch_of(pixels_of(photographs, 64, 64)).requires_grad_()
    before = images.detach().clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Features, "apply_node", copying)
        taps = features(images)
    sum(tap.square().sum() for tap in taps.values()).backward()
    assert torch.equal(images, before)
    for name, tap in taps.items():
        assert torch.equal(tap, copies[name]), name


def test_no_more_is_computed_than_the_deepest_layer_needs():
    network = network_of("E")
    features = Features(network, ["conv3_2", "relu1_2"])
    assert [name for name, _ in features.named_children()] == [
        "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2",
    ]  # fmt: skip
    assert features.nodes[-1].name == "conv3_2"
    tensors = {name: tensor for name, tensor in tensors_of(network).items() if name.startswith(("conv1", "conv2"))}
    few = engine_features(config_of(network), tensors, ["pool2"])
    assert few(np.zeros((1, 32, 32, 3), np.uint8))["pool2"].shape == (1, 8, 8, 8)


@pytest.mark.parametrize(("batch_norm", "pooling"), [(False, "max"), (True, "average")])
@pytest.mark.parametrize("layer", ["conv2_1", "relu3_1", "norm1_1", "pool4", "fc6"])
def test_gradients_are_those_of_finite_differences(layer, batch_norm, pooling):
    network = network_of("A-LRN", batch_norm=batch_norm, width=0.02)
    features = Features(network, [layer], preprocessing=IMAGENET, range=(0, 1), pooling=pooling)
    images = torch.rand(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert torch.autograd.gradcheck(lambda x: features(x)[layer], images.requires_grad_(), fast_mode=True)


def test_weights_are_frozen_and_the_network_stays_as_it_was():
    network = network_of("A", batch_norm=True).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    features = Features(network, ["relu2_1"]).train()
    images = torch.randn(2, 3, 40, 40, requires_grad=True)
    features(images)["relu2_1"].sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in features.parameters())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    features.double()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.conv1_1.weight.dtype == torch.float32
    trained = Features(network, ["relu2_1"], trainable=True)
    trained(images)["relu2_1"].sum().backward()
    assert network.conv1_1.weight.grad is not None and network.conv3_1.weight.grad is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_tap_sees_what_the_network_has_become(engine, dtype):
    """Weights are shared: whoever watches a network in training sees it as it is now."""
    network = network_of("A").to(dtype)
    tap = verydeep.features(network, ["relu2_1"], engine=engine)
    x = torch.rand(1, 3, 32, 32).to(dtype)
    for _ in range(2):
        right = network.activations(x, ["relu2_1"])["relu2_1"]
        torch.testing.assert_close(
            tap(x)["relu2_1"], right, rtol=0.02 if dtype == torch.bfloat16 else 1e-4, atol=1e-5
        )
        with torch.no_grad():
            network.conv1_1.weight.mul_(3)
            network.conv2_1.weight.neg_()


def test_weights_follow_the_images_without_loss():
    network = network_of("A")
    features = Features(network, ["relu3_2"], preprocessing=IMAGENET, range=(0, 1))
    images = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(2))
    first = features(images)["relu3_2"]
    double = features(images.double())["relu3_2"]
    half = features(images.bfloat16())["relu3_2"]
    assert (double.dtype, half.dtype) == (torch.float64, torch.float32)
    assert error(first, double) < 1e-5
    assert error(half, double) < 0.02
    assert torch.equal(features(images)["relu3_2"], first)
    narrow = Features(copy.deepcopy(network).bfloat16(), ["relu3_2"], preprocessing=IMAGENET, range=(0, 1))
    assert narrow(images)["relu3_2"].dtype == torch.bfloat16
    assert error(narrow(images)["relu3_2"].float(), first) < 0.02
    with torch.autocast("cpu", torch.bfloat16):
        auto = features(images)["relu3_2"]
    assert auto.dtype in (torch.bfloat16, torch.float32)  # of torch, and of our own kernels
    assert error(auto.float(), first) < 0.02
    features = Features(network, ["relu3_2"])
    assert features(images.to("meta"))["relu3_2"].device.type == "meta"  # wherever they are


@pytest.mark.slow
def test_under_torch_compile(photographs):
    network = network_of("D", batch_norm=True)
    features = Features(network, ["conv1_2", "relu2_2", "pool3"], preprocessing=IMAGENET, range=(0, 1))
    compiled = torch.compile(features, fullgraph=True, backend="aot_eager")
    images = batch_of(pixels_of(photographs, 40, 48))
    given = [images.clone().requires_grad_() for _ in range(2)]
    results = [module(x) for module, x in zip((features, compiled), given, strict=True)]
    for name in features.layers:
        assert error(results[1][name], results[0][name]) < 1e-5
    for result in results:
        sum(tap.square().mean() for tap in result.values()).backward()
    assert error(given[1].grad, given[0].grad) < 1e-4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("relu4_4", "did you mean relu4_3"),
        ("conv43", "conv4_3"),
        ("ReLU4_3", "did you mean relu4_3"),
        ("block4_conv3", "did you mean conv4_3"),
        ("block3_pool", "did you mean pool3"),
        ("bn1_1", "it is not batch-normalised; did you mean "),
        ("norm1_1", "configuration A-LRN alone has LRN"),
        ("features.28", "not indices: conv1_1, relu1_1"),
        ("28", "not indices"),
        ("fc9", "did you mean fc"),
        ("logits", "it has conv1_1, relu1_1"),
    ],
)
def test_a_wrong_name_is_answered_with_the_near_ones(name, said):
    network = network_of("D")
    for make in (
        lambda: verydeep.features(network, layers=["relu1_2", name]),
        lambda: engine_features(config_of(network), tensors_of(network), [name]),
    ):
        with pytest.raises(UsageError) as raised:
            make()
        assert str(raised.value).startswith(f"configuration D has no layer {name!r}; ")
        assert said in str(raised.value)


def test_layers_are_a_list_of_different_names():
    network = network_of("A")
    with pytest.raises(UsageError, match=r"write \['relu1_1'\]"):
        verydeep.features(network, "relu1_1")
    with pytest.raises(UsageError, match="no layer is given"):
        verydeep.features(network, [])
    with pytest.raises(UsageError, match="'relu1_1' is named twice"):
        verydeep.features(network, ["relu1_1", "pool1", "relu1_1"])


def test_a_network_that_is_features_only_has_no_fc7(tmp_path):
    network = network_of("D", num_classes=0)
    write_model(tmp_path / "features", config_of(network), tensors_of(network))
    for engine in ("torch", "native"):
        with pytest.raises(UsageError, match="this network is features only: it ends at pool5 and has no fc7"):
            verydeep.features(tmp_path / "features", ["fc7"], engine=engine)
    with pytest.raises(UsageError, match="leave out range and grey"):
        verydeep.features(tmp_path / "features", ["pool5"], engine="native", range=(0, 255), grey="repeat")
    with pytest.raises(UsageError, match="leave out check"):
        verydeep.features(tmp_path / "features", ["pool5"], engine="native", check=False)
    found = verydeep.features(tmp_path / "features", ["pool5"], range=(0, 255))(torch.full((1, 3, 32, 32), 9.0))
    by_engine = verydeep.features(tmp_path / "features", ["pool5"], engine="native")(
        np.full((1, 32, 32, 3), 9, np.uint8)
    )
    assert error(by_engine["pool5"], found["pool5"]) < 1e-5


@pytest.mark.parametrize(
    ("layers", "side", "needed"),
    [(["pool5"], 31, 32), (["relu5_1"], 15, 16), (["fc7"], 31, 32), (["conv1_1"], 1, 0)],
)
def test_images_that_are_too_small_are_refused_with_the_size_that_is_needed(layers, side, needed):
    network = network_of("A")
    tap, engine = Features(network, layers), engine_features(config_of(network), tensors_of(network), layers)
    if not needed:
        assert tap(torch.zeros(1, 3, side, 5))[layers[0]].shape == (1, 4, side, 5)
        return
    with pytest.raises(UsageError, match=f"40x{side} pixels.* needs both sides to be at least {needed}"):
        tap(torch.zeros(1, 3, side, 40))
    with pytest.raises(UsageError, match=f"40x{side} pixels.* needs both sides to be at least {needed}"):
        engine(np.zeros((1, side, 40, 3), np.uint8))


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_any_range_gives_what_the_model_takes(channels, photographs):
    preprocessing = Preprocessing((123.7, 116.8, 103.9), (58.4, 57.1, 57.4), channels)
    pixels = pixels_of(photographs, 20, 30)
    wanted = Preprocess(preprocessing)(torch.from_numpy(pixels))
    unit = batch_of(pixels)
    for range, images in (((0, 1), unit), ((-1, 1), 2 * unit - 1), ((0, 255), 255 * unit)):
        before = images.clone()
        assert (preprocessed(images, range, preprocessing) - wanted).abs().max() < 1e-5
        assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("range", "images", "said"),
    [
        ((0, 1), torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2), r"they look like images of range \(-1, 1\)"),
        ((0, 1), torch.linspace(0, 255, 12).reshape(1, 3, 2, 2), r"they look like images of range \(0, 255\)"),
        ((-1, 1), torch.linspace(0, 255, 12).reshape(1, 3, 2, 2), r"they look like images of range \(0, 255\)"),
        ((0, 255), torch.linspace(-1, 1, 12).reshape(1, 3, 2, 2), r"they look like images of range \(-1, 1\)"),
        ((0, 1), torch.linspace(0, 1.01, 12).reshape(1, 3, 2, 2), r"overshoot so: use images.clamp\(0, 1\)"),
        ((0, 1), torch.linspace(-0.02, 1.03, 12).reshape(1, 3, 2, 2), r"use images.clamp\(0, 1\)"),
        ((-1, 1), torch.linspace(-1.02, 1.01, 12).reshape(1, 3, 2, 2), r"use images.clamp\(-1, 1\)"),
        ((0, 255), torch.linspace(-3, 260, 12).reshape(1, 3, 2, 2), r"use images.clamp\(0, 255\)"),
        ((0, 1), torch.linspace(-2.1, 2.6, 12).reshape(1, 3, 2, 2), "normalised by mean and deviation already"),
        ((0, 255), torch.linspace(-120, 150, 12).reshape(1, 3, 2, 2), "mean subtracted already"),
        ((0, 255), torch.linspace(-500, 500, 12).reshape(1, 3, 2, 2), "clamp them"),
        ((0, 1), torch.tensor([0.5, torch.nan]).repeat(6).reshape(1, 3, 2, 2), "NaN or infinite"),
        ((0, 1), torch.tensor([0.5, torch.inf]).repeat(6).reshape(1, 3, 2, 2), "NaN or infinite"),
        ((0, 1), torch.zeros(1, 3, 2, 2, dtype=torch.uint8), r"uint8, which are levels: use range \(0, 255\)"),
        ((0, 1), torch.zeros(1, 1, 2, 2), "have 1 channel, .*grey"),
        ((0, 1), torch.zeros(1, 4, 2, 2), "have 4 channels, .*transparency"),
        ((0, 1), torch.zeros(1, 5, 5, 3), "channels must come first"),
        ((0, 1), torch.zeros(3, 2, 2), r"\[None\] makes one image a batch"),
        ((0, 1), torch.zeros(0, 3, 2, 2), "so they are empty"),
        (
            (0, 1),
            np.zeros((1, 3, 2, 2)),
            r"an array of shape \(1, 3, 2, 2\); it must be \(batch, height, width, 3\)",
        ),
        ((0, 1), [0.5], "of type list; give a torch.Tensor"),
    ],
)
def test_images_that_cannot_be_meant_are_refused(range, images, said):
    with pytest.raises(UsageError, match=said):
        preprocessed(images, range)


def test_a_range_is_one_of_three_and_what_looks_like_another_is_warned_of():
    for wrong in ((0, 2), (1, 0)):
        with pytest.raises(UsageError, match=r"images have the range \(0, 1\) or \(-1, 1\) or \(0, 255\)"):
            TotalVariation(range=wrong)
    with pytest.raises(UsageError, match="it must be 2 numbers"):
        TotalVariation(range=255)
    with pytest.raises(UsageError, match="does not know how its images are preprocessed"):
        Features(network_of("A"), ["pool1"], range=(0, 1))
    for range in ((-1, 1), (0, 255)):
        with pytest.warns(RangeWarning, match=r"they look like range \(0, 1\)") as warnings:
            preprocessed(torch.rand(1, 3, 8, 8), range)
        assert warnings[0].filename == __file__  # not a line of the package's
    features = Features(network_of("A"), ["pool1"], preprocessing=IMAGENET, range=(0, 1), check=False)
    features(torch.full((1, 3, 2, 2), 9.0))


def test_the_native_engine_loads_no_torch(tmp_path):
    network = network_of("A")
    write_model(tmp_path / "A", config_of(network, "BGR"), tensors_of(network))
    code = f"""
import sys, numpy as np, verydeep
tap = verydeep.features({str(tmp_path / "A")!r}, ["relu2_1", "fc7"], engine="native")
assert tap(np.zeros((2, 40, 40, 3), np.uint8))["relu2_1"].shape == (2, 8, 20, 20)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("batch_norm", [False, True])
@torch.no_grad()
def test_the_native_engine_takes_preprocessed_numbers_too(batch_norm, photographs):
    network = network_of("B", batch_norm=batch_norm)
    pixels = pixels_of(photographs, 40, 48)
    layers = ["conv1_1", "conv2_1", "relu2_2"]
    engine = engine_features(config_of(network, "BGR"), tensors_of(network), layers)
    images = preprocessed(batch_of(pixels), (0, 1), config_of(network, "BGR").preprocessing)
    for name, maps in engine.engine.run_preprocessed(images.permute(0, 2, 3, 1).numpy(), layers).items():
        assert error(maps, engine(pixels)[name]) < 1e-5, name


def test_names_of_all_twelve():
    for configuration in CONFIGURATIONS:
        for batch_norm in (False, True):
            architecture = Architecture(configuration, batch_norm=batch_norm)
            every = verydeep.layer_names(architecture)
            assert len(set(every)) == len(every)
            convolutions = [name for name in every if name.startswith("conv")]
            assert len(convolutions) == len(architecture.convolutions)
            assert sum(name.startswith("bn") for name in every) == batch_norm * len(convolutions)


def test_another_librarys_weights_need_no_names_of_classes(tmp_path, photographs, monkeypatch):
    """And those that do not tell their preprocessing get it as an argument, by every function that taps them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    theirs, _ = networks("A", batch_norm=False, width=1 / 16)
    torch.save(theirs.state_dict(), tmp_path / "vgg11.pth")
    layers = ["relu1_1", "relu3_2"]
    with pytest.raises(ModelError, match="does not say how images are preprocessed"):
        verydeep.features(tmp_path / "vgg11.pth", layers, range=(0, 1))
    images = batch_of(pixels_of(photographs, 64, 48))
    for preprocessing in ("torchvision", IMAGENET):
        tap = verydeep.features(tmp_path / "vgg11.pth", layers, range=(0, 1), preprocessing=preprocessing)
        with torch.no_grad():
            shown = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(images)
            wanted = theirs.features[:10](shown)
            torch.testing.assert_close(tap(images)["relu3_2"], wanted, rtol=1e-3, atol=1e-4)
    loss = perceptual.ContentLoss(
        tmp_path / "vgg11.pth", layers, range=(0, 1), preprocessing="torchvision", engine="torch"
    )
    assert loss(images, images.flip(3)) > 0
    assert verydeep.layer_names(tmp_path / "vgg11.pth")[-1] == "fc8"


def test_another_librarys_module_is_no_model():
    with pytest.raises(UsageError, match="a VGG of torchvision; give the path of a model or of weights, a name"):
        verydeep.features(torchvision.models.vgg11(init_weights=False), ["relu1_1"])


@pytest.mark.parametrize("step", ["layers", "gram"])
def test_arrays_where_lists_or_tensors_are_meant(step):
    if step == "layers":
        taps = verydeep.features(network_of("A"), np.array(["relu1_1", "pool2"]))
        assert list(taps(torch.zeros(1, 3, 32, 32))) == ["relu1_1", "pool2"]
    else:
        with pytest.raises(UsageError, match=r"a tensor is wanted: torch\.from_numpy\(maps\)"):
            perceptual.gram_matrix(np.zeros((1, 2, 3, 3), np.float32))
