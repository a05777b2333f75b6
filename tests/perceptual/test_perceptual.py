"""Losses beside those of `lpips`, `DISTS_pytorch` and `piq` on one network's weights; every misuse we know."""

from __future__ import annotations

import copy
import inspect
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from small_losses import LOSSES as KINDS
from small_losses import make_loss
from small_losses import pair as small_pair
from torch import nn
from torchvision_peer import networks

import verydeep
from verydeep import perceptual
from verydeep.configurations import Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.images.color import Preprocessing
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG
from verydeep.perceptual.lpips import last_relus
from verydeep.perceptual.unit_distance import _UnitDistance
from verydeep.weights.lpips import FILE, linear_weights

lpips = pytest.importorskip("lpips")
piq_perceptual = pytest.importorskip("piq.perceptual")

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
LPIPS_FILE = Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth"
GATYS_STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


@pytest.fixture(scope="module")
def vgg16() -> tuple[nn.Module, VGG]:
    """VGG-16 at full width with random weights, without the FC layers, which nobody here asks for."""
    return networks("D", batch_norm=False, width=1.0, with_fc=False)


@pytest.fixture(scope="module")
def pairs(photographs) -> tuple[torch.Tensor, torch.Tensor]:
    """Fifty cuts of real photographs beside themselves moved, darkened or with noise; of range (0, 1)."""
    random = np.random.default_rng(0)
    firsts, seconds = [], []
    for number in range(50):
        photograph = photographs[number % 2]
        top, left = random.integers(0, 427 - 33), random.integers(0, 640 - 33)
        first = photograph[top : top + 32, left : left + 32] / 255
        moved = photograph[top + 1 : top + 33, left + 1 : left + 33] / 255
        noisy = np.clip(first + random.normal(0, 0.1, first.shape), 0, 1)
        firsts.append(first)
        seconds.append((moved, 0.7 * first, noisy)[number % 3])
    return tuple(torch.from_numpy(np.stack(x)).float().permute(0, 3, 1, 2).contiguous() for x in (firsts, seconds))


@pytest.fixture(scope="module")
def reference(vgg16):
    """The package's own class on this network's weights, with the linear weights that it ships."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchvision.models.vgg16", lambda **options: copy.deepcopy(vgg16[0]))
        return lpips.LPIPS(net="vgg", verbose=False)


@pytest.fixture(scope="module")
@torch.no_grad()
def distances(reference, pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """What the reference gives for them in both of its ranges."""
    first, second = pairs
    unit, signed = reference(first, second, normalize=True), reference(2 * first - 1, 2 * second - 1)
    return unit.flatten(), signed.flatten()


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_lpips_is_the_reference_in_both_of_its_ranges(vgg16, distances, pairs, engine):
    first, second = pairs
    wanted, signed = distances
    assert 0 < wanted.min() < 1e-4 < 0.02 < wanted.mean()
    for range, expected in (((0, 1), wanted), ((-1, 1), signed), ((0, 255), wanted)):
        low, high = range
        loss = perceptual.LPIPS(vgg16[1], preprocessing=IMAGENET, range=range, reduction="none", engine=engine)
        found = loss(low + (high - low) * first, low + (high - low) * second)
        assert found.shape == (50,)
        assert (found - expected).abs().max() < 1e-5
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-7)
    mean = perceptual.LPIPS(vgg16[1], LPIPS_FILE, preprocessing=IMAGENET, range=(0, 1))(first, second)
    assert abs(mean - wanted.mean()) < 1e-5


def test_gradients_of_lpips_are_the_references(vgg16, reference, pairs):
    """In float64, and with a little noise: of equal neighbours rounding decides which is the maximum."""
    loss = perceptual.LPIPS(vgg16[1], preprocessing=IMAGENET, range=(0, 1), reduction="sum")
    theirs = copy.deepcopy(reference).double()
    pair = [x.requires_grad_() for x in dithered(pairs)]
    wanted = torch.autograd.grad(theirs(*pair, normalize=True).sum(), pair)
    found = torch.autograd.grad(loss(*pair), pair)
    for one, gradient in zip(found, wanted, strict=True):
        assert error(one, gradient) < 1e-6
    single = [x.detach().float().requires_grad_() for x in pair]
    found = torch.autograd.grad(loss(*single), single)
    for one, gradient in zip(found, wanted, strict=True):
        errors = [error(*images) for images in zip(one, gradient, strict=True)]
        assert np.median(errors) < 1e-4 and max(errors) < 0.05  # a ReLU at zero to the last bit may tip over


def dithered(pairs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [(x[:6] + torch.rand(x[:6].shape, generator=generator) / 255).clamp(0, 1).double() for x in pairs]


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_lpips_for_each_pixel(vgg16, reference, pairs):
    first, second = (x[:2] for x in pairs)
    reference.spatial = True
    try:
        with torch.no_grad():
            wanted = reference(first, second, normalize=True)
    finally:
        reference.spatial = False
    loss = perceptual.LPIPS(vgg16[1], preprocessing=IMAGENET, range=(0, 1), spatial=True, reduction="none")
    found = loss(first, second)
    assert found.shape == wanted.shape == (2, 1, 32, 32)
    assert (found - wanted).abs().max() < 1e-5


def test_gradients_are_finite_where_a_layer_gives_zeros_alone(vgg16):
    """The reference's root has an infinite slope there."""
    network = copy.deepcopy(vgg16[1])
    network.conv1_2.bias.data.fill_(-1e3)
    loss = perceptual.LPIPS(network, preprocessing=IMAGENET, range=(0, 1))
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss(image, 1 - image.detach()).backward()
    assert torch.isfinite(image.grad).all()


def narrow(configuration: str = "D", *, batch_norm: bool = False) -> VGG:
    network = VGG(Architecture(configuration, 3, 0.03, 32, batch_norm)).eval()
    initialize(network, "he", 0)
    return network


LOSSES = {
    "content": lambda network: perceptual.ContentLoss(
        network, ["conv1_1", "relu2_2"], weights=[1, 0.5], preprocessing=IMAGENET, range=(0, 1)
    ),
    "content, mae": lambda network: perceptual.ContentLoss(
        network, ["relu2_2"], distance="mae", preprocessing=IMAGENET, range=(0, 1), pooling="average"
    ),
    "style": lambda network: perceptual.StyleLoss(
        network, ["relu1_1", "conv2_2"], preprocessing=IMAGENET, range=(0, 1), normalization="places"
    ),
    "variation": lambda network: _of_one(perceptual.TotalVariation(range=(0, 1), norm="l2_squared")),
    "variation, l2": lambda network: _of_one(perceptual.TotalVariation(range=(0, 1))),
}


def _of_one(loss: nn.Module):
    return lambda images, target: loss(images)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    loss = LOSSES[name](narrow())
    generator = torch.Generator().manual_seed(1)
    images, target = (torch.rand(2, 3, 8, 9, dtype=torch.float64, generator=generator) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: loss(x, target), images.requires_grad_(), fast_mode=True)


def test_gradients_of_lpips_and_dists_are_those_of_finite_differences(tmp_path):
    generator = torch.Generator().manual_seed(1)
    channels = [2, 4, 8, 15, 15]
    linear = {f"lin{number}.model.1.weight": torch.rand(1, count, 1, 1) for number, count in enumerate(channels)}
    torch.save(linear, tmp_path / "l.pth")
    torch.save({name: torch.rand(1, 3 + sum(channels), 1, 1) for name in ("alpha", "beta")}, tmp_path / "d.pt")
    options = {"preprocessing": IMAGENET, "range": (0, 1)}
    for loss in (
        perceptual.LPIPS(narrow(), tmp_path / "l.pth", **options),
        perceptual.LPIPS(narrow(), tmp_path / "l.pth", spatial=True, **options),
        perceptual.DISTS(narrow(), tmp_path / "d.pt", **options),
    ):
        pair = [torch.rand(1, 3, 32, 33, dtype=torch.float64, generator=generator) for _ in range(2)]
        pair = [x.requires_grad_() for x in pair]
        assert torch.autograd.gradcheck(loss, pair, fast_mode=True)


def test_gradients_of_the_gradient_are_those_of_finite_differences():
    """As penalties on gradients want them, also where a vector is 0."""
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.rand(2, 4, 3, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    weights = torch.rand(4, dtype=torch.float64, generator=generator)
    for pair in ((first, second), (first, second.requires_grad_()), (first.requires_grad_(), second)):
        assert torch.autograd.gradgradcheck(lambda *maps: _UnitDistance.apply(*maps, weights), pair)
    zero = torch.zeros_like(first).requires_grad_()
    (slope,) = torch.autograd.grad(_UnitDistance.apply(zero, second, weights).sum(), zero, create_graph=True)
    (of_slope,) = torch.autograd.grad(slope.square().sum(), zero)
    assert (slope == 0).all() and (of_slope == 0).all()


def piq_loss(kind: type, theirs: nn.Module, layers: tuple[str, ...], **options) -> nn.Module:
    numbers = [piq_perceptual.VGG16_LAYERS[layer] for layer in layers]
    return kind(copy.deepcopy(theirs.features), numbers, **options)


def test_content_and_style_are_piqs(vgg16, pairs):
    """Its content loss adds channels up where ours has their mean; its Gram matrices are not divided."""
    first, second = (x[:6] for x in pairs)
    options = {"preprocessing": IMAGENET, "range": (0, 1), "reduction": "none"}
    for distance in ("mse", "mae"):
        for layer, channels in (("conv3_3", 256), ("relu4_3", 512)):
            wanted = piq_loss(
                piq_perceptual.ContentLoss, vgg16[0], (layer,), weights=[1.0], distance=distance, reduction="none"
            )(first, second)
            found = perceptual.ContentLoss(vgg16[1], [layer], distance=distance, **options)(first, second)
            assert torch.allclose(channels * found, wanted, rtol=1e-4)
    style = {"weights": [1.0, 0.5, 0.2, 0.1, 0.1]}
    wanted = piq_loss(piq_perceptual.StyleLoss, vgg16[0], GATYS_STYLE, reduction="none", **style)(first, second)
    found = perceptual.StyleLoss(vgg16[1], normalization="none", **style, **options)(first, second)
    assert torch.allclose(found, wanted, rtol=1e-4)
    average = piq_loss(
        piq_perceptual.ContentLoss, vgg16[0], ("relu3_3",), weights=[1.0], replace_pooling=True, reduction="none"
    )(first, second)
    found = perceptual.ContentLoss(vgg16[1], pooling="average", **options)(first, second)
    assert torch.allclose(256 * found, average, rtol=1e-4)


def test_piqs_convolution_is_its_relu_where_that_is_in_place(vgg16, pairs):
    """As torchvision makes it: the tap that piq calls conv3_3 has been overwritten when it is compared."""
    first, second = (x[:6] for x in pairs)
    theirs = copy.deepcopy(vgg16[0])
    for module in theirs.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    loss = piq_loss(piq_perceptual.ContentLoss, theirs, ("conv3_3",), weights=[1.0], reduction="none")
    wanted = loss(first, second)
    found = {
        layer: perceptual.ContentLoss(vgg16[1], [layer], preprocessing=IMAGENET, range=(0, 1), reduction="none")(
            first, second
        )
        for layer in ("conv3_3", "relu3_3")
    }
    assert torch.allclose(256 * found["relu3_3"], wanted, rtol=1e-4)
    assert not torch.allclose(256 * found["conv3_3"], wanted, rtol=0.1)


@pytest.mark.parametrize("norm", ["l1", "l2", "l2_squared"])
def test_total_variation_is_piqs(pairs, norm):
    from piq.tv import total_variation

    wanted = total_variation(pairs[0], reduction="none", norm_type=norm)
    for low, high in ((0, 1), (-1, 1), (0, 255)):
        loss = perceptual.TotalVariation(range=(low, high), norm=norm, reduction="none")
        assert torch.allclose(loss(low + (high - low) * pairs[0]), wanted, rtol=1e-4)
    flat = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    perceptual.TotalVariation(range=(0, 1), norm=norm)(flat).backward()
    assert torch.equal(flat.grad, torch.zeros_like(flat))


def test_dists_is_its_authors(vgg16, pairs):
    authors = pytest.importorskip("DISTS_pytorch.DISTS_pt")
    weights = Path(authors.__file__).parent / "weights.pt"
    first, second = dithered(pairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authors.models, "vgg16", lambda **options: copy.deepcopy(vgg16[0]))
        theirs = authors.DISTS(load_weights=False)
    saved = torch.load(weights, map_location="cpu", weights_only=True)
    theirs.alpha.data, theirs.beta.data = saved["alpha"], saved["beta"]
    loss = perceptual.DISTS(vgg16[1], preprocessing=IMAGENET, range=(-1, 1), reduction="none")
    theirs.double()
    wanted = theirs(first, second)
    assert (loss(2 * first - 1, 2 * second - 1) - wanted).abs().max() < 1e-5
    assert (loss(2 * first.float() - 1, 2 * second.float() - 1) - wanted).abs().max() < 1e-4
    given = [first.clone().requires_grad_() for _ in range(2)]
    theirs(given[0], second, require_grad=True).sum().backward()
    loss(2 * given[1] - 1, 2 * second - 1).sum().backward()
    assert (given[1].grad - given[0].grad).norm() / given[0].grad.norm() < 1e-5


def test_a_gram_matrix_is_what_its_formula_says():
    maps = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    wanted = torch.einsum("bcij,bdij->bcd", maps.double(), maps.double())
    for normalization, divisor in (("none", 1), ("places", 12), ("elements", 60)):
        found = perceptual.gram_matrix(maps, normalization)
        assert torch.allclose(found.double(), wanted / divisor, rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="`normalization` is 'chw'; it must be one of elements, places, none"):
        perceptual.gram_matrix(maps, "chw")
    with pytest.raises(UsageError, match=r"\[None\] makes one image's maps a batch"):
        perceptual.gram_matrix(maps[0])


def content(**options) -> perceptual.ContentLoss:
    return perceptual.ContentLoss(narrow(), ["relu1_2"], preprocessing=IMAGENET, **{"range": (0, 1), **options})


@pytest.mark.parametrize("name", ["ContentLoss", "StyleLoss", "LPIPS", "DISTS"])
def test_the_range_has_no_default(name):
    make = getattr(perceptual, name)
    assert inspect.signature(make).parameters["range"].default is inspect.Parameter.empty
    with pytest.raises(TypeError, match="range"):
        make(narrow(), preprocessing=IMAGENET)


IMAGES = torch.linspace(0, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("images", "target", "said"),
    [
        (2 * IMAGES - 1, IMAGES, r"look like images of range \(-1, 1\): pass range=\(-1, 1\)"),
        (
            IMAGES,
            255 * IMAGES,
            r"target images have values from 0 to 255, .* look like images of range \(0, 255\)",
        ),
        ((255 * IMAGES).byte(), IMAGES, r"images are uint8, which are levels: use range \(0, 255\)"),
        (IMAGES.numpy(), IMAGES, r"array of shape \(1, 3, 8, 8\); it must be \(batch, height, width, 3\)"),
        (IMAGES[0].permute(1, 2, 0).numpy(), IMAGES, r"\[None\] makes one image a batch"),
        (IMAGES.permute(0, 2, 3, 1).numpy().astype(str), IMAGES, "it must be of uint8 or float32"),
        ([[0.5]], IMAGES, "images are of type list; give a torch.Tensor or a numpy.ndarray"),
        (IMAGES, (255 * IMAGES).int(), r"target images are integers \(int32\)"),
        (IMAGES[:, :1], IMAGES[:, :1], "images have 1 channel.*grey='repeat'"),
        (IMAGES, IMAGES[:, :, :7], "a pair must be of one size"),
        (IMAGES.repeat(2, 1, 1, 1), IMAGES, "a pair must be of one size"),
        (IMAGES / 0, IMAGES, "^images have NaN or infinite"),
        (IMAGES, IMAGES / 0, "^target images have NaN or infinite"),
        (IMAGES.permute(0, 2, 3, 1).numpy().astype(np.longdouble), IMAGES, "it must be of uint8 or float32"),
        (IMAGES, IMAGES.double(), r"bring both to one: target\.to\(images\)"),
        (IMAGES[0], IMAGES[0], r"\[None\] makes one image a batch"),
        (IMAGES[:, :, :1], IMAGES[:, :, :1], None),
    ],
)
def test_misuse_is_one_sentence(images, target, said):
    if said is None:
        assert content()(images, target) == 0
        return
    for engine in ("auto", "torch"):
        with pytest.raises(UsageError, match=said):
            content(engine=engine)(images, target)


@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_images_may_be_bytes_and_arrays(kind, engine, tmp_path):
    levels = torch.randint(
        0, 256, (2, 2, 3, 32, 33), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    first, second = levels
    options = {} if kind == "DISTS" else {"engine": engine}
    loss = make_loss(kind, tmp_path, range=(0, 255), reduction="none", **options)
    wanted = loss(first.float(), second.float())
    arrays = [images.permute(0, 2, 3, 1).contiguous().numpy() for images in levels]
    arrays[0].flags.writeable = False
    assert (wanted > 0).all()
    for given in (
        (first, second),
        (first, second.float()),
        arrays,
        (arrays[0], second),
        [x * 1.0 for x in arrays],
        [x.astype(">f4") for x in arrays],
    ):
        found = loss(*given)
        assert found.dtype == (torch.float64 if given[0].dtype == np.float64 else torch.float32)
        torch.testing.assert_close(found.float(), wanted, rtol=1e-4, atol=0)
    assert loss(arrays[0], first).tolist() == [0, 0]
    given = second.float().requires_grad_()
    loss(first, given).sum().backward()
    assert given.grad.any()


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_are_called(kind, tmp_path):
    """Also where the native engine, which calls none, could compute the loss."""
    loss, pair, seen = make_loss(kind, tmp_path), small_pair(), []
    before = loss(*pair)
    handle = loss.features.conv1_1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    torch.testing.assert_close(loss(*pair), before, rtol=1e-4, atol=0)
    assert sum(len(output) for output in seen) == 2 * len(pair[0])
    handle.remove()
    assert torch.equal(loss(*pair), before)


@pytest.mark.parametrize("kind", KINDS)
def test_grey_images_are_taken_when_told_so(kind, tmp_path):
    first, second = (x[:, :1].contiguous() for x in small_pair())
    with pytest.raises(UsageError, match="grey='repeat' takes the channel three times"):
        make_loss(kind, tmp_path)(first, second)
    loss = make_loss(kind, tmp_path, grey="repeat")
    three = [x.expand(-1, 3, -1, -1).contiguous().requires_grad_() for x in (first, second)]
    wanted = loss(*three)
    wanted.backward()
    torch.testing.assert_close(loss(first, three[1].detach()), wanted.detach(), rtol=1e-4, atol=0)
    array = first.permute(0, 2, 3, 1).numpy()
    torch.testing.assert_close(loss(array, second), wanted.detach(), rtol=1e-4, atol=0)
    given = first.clone().requires_grad_()
    loss(given, second).backward()
    assert given.grad.shape == first.shape
    torch.testing.assert_close(given.grad, three[0].grad.sum(1, keepdim=True), rtol=1e-3, atol=1e-6)
    with pytest.raises(UsageError, match="`grey` is 'mean'; it must be one of"):
        make_loss(kind, tmp_path, grey="mean")


def test_total_variation_and_features_take_bytes_arrays_and_grey_images():
    levels = torch.randint(0, 256, (2, 1, 32, 33), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    array, three = levels.permute(0, 2, 3, 1).numpy(), levels.float().expand(-1, 3, -1, -1)
    options = {"range": (0, 255), "grey": "repeat"}
    variation = perceptual.TotalVariation(**options)
    tap = verydeep.features(narrow(), ["relu2_1"], preprocessing=IMAGENET, **options)
    for given in (levels, array, levels.float()):
        assert variation(given) == variation(three) > 0
        assert torch.equal(tap(given)["relu2_1"], tap(three)["relu2_1"])
    with pytest.raises(UsageError, match="images have 1 channel"):
        perceptual.TotalVariation(range=(0, 255))(levels)
    with pytest.raises(UsageError, match="images are uint8"):
        verydeep.features(narrow(), ["relu2_1"])(three.byte())  # preprocessed, as no range is given


def test_misuse_of_arguments_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="did you mean relu1_2"):
        perceptual.ContentLoss(narrow(), ["relu12"], preprocessing=IMAGENET, range=(0, 1))
    with pytest.raises(UsageError, match="give preprocessing, or a model from disk"):
        perceptual.StyleLoss(narrow(), range=(0, 1))
    with pytest.raises(UsageError, match="2 weights for 1 layers"):
        content(weights=[1, 2])
    for wrong, said in ((2, "must be a list of numbers"), (["x"], "list"), ([np.nan], "finite")):
        with pytest.raises(UsageError, match=said):
            content(weights=wrong)
    assert content(weights=torch.tensor([0.5]))(IMAGES, IMAGES) == 0
    for loss in (perceptual.LPIPS, perceptual.DISTS):
        for network in (narrow("E"), narrow(batch_norm=True)):
            with pytest.raises(UsageError, match="without batch normalisation; this network is"):
                loss(network, preprocessing=IMAGENET, range=(0, 1))
    for option in ("reduction", "distance", "engine", "pooling"):
        with pytest.raises(UsageError, match=f"`{option}` is 'x'; it must be one of"):
            content(**{option: "x"})
    with pytest.raises(UsageError, match=r"at full width .* this network is D of width"):
        perceptual.LPIPS(narrow(), preprocessing=IMAGENET, range=(0, 1))
    with pytest.raises(UsageError, match="linear weights are for 64 channels at relu1_2, where the network has 2"):
        perceptual.LPIPS(narrow(), FILE, preprocessing=IMAGENET, range=(0, 1))
    with pytest.raises(UsageError, match="does not exist"):
        perceptual.LPIPS(narrow(), tmp_path / "none.pth", preprocessing=IMAGENET, range=(0, 1))
    (tmp_path / "bad.pth").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="is not a file of learned weights"):
        perceptual.LPIPS(narrow(), tmp_path / "bad.pth", preprocessing=IMAGENET, range=(0, 1))
    torch.save({"other": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="have lin0 to lin4"):
        perceptual.LPIPS(narrow(), tmp_path / "other.pth", preprocessing=IMAGENET, range=(0, 1))
    with pytest.raises(UsageError, match="model is a Linear of torch; give the path of a model"):
        perceptual.StyleLoss(nn.Linear(1, 1), range=(0, 1))


def test_the_bundled_linear_weights_are_the_packages(vgg16, pairs, tmp_path):
    first, second = (x[:2] for x in pairs)
    perceptual.write_learned_weights(LPIPS_FILE, tmp_path / "lpips.safetensors")
    options = {"preprocessing": IMAGENET, "range": (0, 1)}
    for file in (LPIPS_FILE, tmp_path / "lpips.safetensors"):
        found = perceptual.LPIPS(vgg16[1], file, **options)(first, second)
        assert found == perceptual.LPIPS(vgg16[1], **options)(first, second)
    with pytest.raises(UsageError, match=r"has to end with \.safetensors"):
        perceptual.write_learned_weights(LPIPS_FILE, tmp_path / "lpips.pt")
    bundled = linear_weights()
    assert tuple(bundled) == last_relus(Architecture("D"))
    published = torch.load(LPIPS_FILE, map_location="cpu", weights_only=True)
    for number, array in enumerate(bundled.values()):
        assert (array == published[f"lin{number}.model.1.weight"].flatten().numpy()).all()
        assert array.min() >= 0  # their root is taken
    notice = (Path(verydeep.__file__).parent / "weights" / "lpips" / "LICENSE").read_text()
    assert "Copyright (c) 2018, Richard Zhang" in notice


def test_weights_of_dists_are_asked_for(monkeypatch):
    monkeypatch.setattr("verydeep.perceptual.learned.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install --no-deps DISTS_pytorch, or give the path of a copy"):
        perceptual.DISTS(narrow(), preprocessing=IMAGENET, range=(0, 1))


def test_inputs_are_never_modified_and_the_engine_gives_torchs_numbers(pairs):
    network = narrow()
    first, second = (x.clone() for x in pairs)
    for name, make in LOSSES.items():
        loss = make(network)
        by_engine = loss(first, second)
        with_gradients = loss(first.clone().requires_grad_(), second)
        assert torch.allclose(by_engine, with_gradients, rtol=1e-4), name
    assert torch.equal(first, pairs[0]) and torch.equal(second, pairs[1])


def test_dtypes_follow_the_inputs_and_autocast(pairs):
    loss = content()
    first, second = (x[:4] for x in pairs)
    plain = loss(first, second)
    assert loss(first.double(), second.double()).dtype == torch.float64
    assert loss(first.bfloat16(), second.bfloat16()).dtype == torch.float32
    assert torch.equal(loss(first, second), plain)
    with torch.autocast("cpu", torch.bfloat16):
        auto = loss(first, second)
    assert auto.dtype == torch.float32
    assert abs(auto - plain) / plain < 0.05


def test_a_loss_keeps_the_weights_that_it_was_made_with(pairs):
    network = narrow()
    loss = perceptual.ContentLoss(network, ["relu2_2"], preprocessing=IMAGENET, range=(0, 1))
    first, second = (x[:2] for x in pairs)
    before = loss(first, second)
    for parameter in network.parameters():
        parameter.data.add_(1)
    assert torch.equal(loss(first, second), before)
    assert torch.allclose(copy.deepcopy(loss)(first, second), before)
    assert not list(loss.parameters()) or not any(parameter.requires_grad for parameter in loss.parameters())


def test_weights_that_are_loaded_into_a_loss_are_the_engines_too(pairs):
    first, second = (x[:2] for x in pairs)
    for batch_norm in (False, True):
        network = networks("D", batch_norm=batch_norm, width=0.1, with_fc=False)[1]
        loss = perceptual.ContentLoss(network, ["relu5_3"], preprocessing=IMAGENET, range=(0, 1))
        before = loss(first, second)
        state = loss.state_dict()
        changed = "running_var" if batch_norm else "weight"
        twice = {name: 2 * tensor for name, tensor in state.items() if changed in name}
        loss.load_state_dict(twice, strict=False)
        after = loss(first, second)
        assert not torch.allclose(after, before)
        assert torch.allclose(after, loss(first.clone().requires_grad_(), second), rtol=1e-4)


def test_a_package_is_found_without_being_imported(vgg16, monkeypatch):
    package = pytest.importorskip("DISTS_pytorch")
    monkeypatch.setitem(sys.modules, "DISTS_pytorch", types.ModuleType("DISTS_pytorch"))
    sys.modules["DISTS_pytorch"].__spec__ = package.__spec__
    perceptual.DISTS(vgg16[1], preprocessing=IMAGENET, range=(0, 1))
    assert not hasattr(sys.modules["DISTS_pytorch"], "DISTS")
    assert verydeep.__name__ == "verydeep"


def test_a_new_loss_is_a_module_and_an_entry(tmp_path, monkeypatch):
    (tmp_path / "largest_difference.py").write_text(
        """
from verydeep.perceptual.pair import PairLoss

class LargestDifference(PairLoss):
    def _distance(self, taps, target_taps, images, target):
        (layer,) = taps
        return (taps[layer] - target_taps[layer]).abs().flatten(1).amax(1)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    from largest_difference import LargestDifference

    monkeypatch.setitem(perceptual.LOSSES, "largest", LargestDifference)
    network = VGG(Architecture("A", 3, 0.1, 32)).eval()
    initialize(network, "he", 0)
    made = perceptual.loss("largest", network, ["relu2_1"], range=(0, 1), preprocessing=Preprocessing())
    first, second = torch.rand(2, 2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    taps = [
        verydeep.features(network, ["relu2_1"], range=(0, 1), preprocessing=Preprocessing())(x)
        for x in (first, second)
    ]
    wanted = (taps[0]["relu2_1"] - taps[1]["relu2_1"]).abs().amax((1, 2, 3)).mean()
    torch.testing.assert_close(made(first, second), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match=r"no loss is called 'larges'; there are .*; did you mean largest"):
        perceptual.loss("larges", network, range=(0, 1))
