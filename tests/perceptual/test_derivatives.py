"""Derivatives of the losses: every transform of torch, on every engine, beside plain autograd in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from small_losses import IMAGENET, LOSSES, make_loss, network, pair
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

from verydeep import perceptual
from verydeep.configurations import Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.network.features import Features
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG
from verydeep.perceptual.unit_distance import _UnitDistance

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # which `jacfwd` itself uses

ENGINES = {kind: ("auto",) if kind == "DISTS" else ("auto", "torch") for kind in LOSSES}  # DISTS has torch alone

Loss = Callable[[Tensor, Tensor], Tensor]


DIRECTION = torch.randn(2, 3, 32, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) / 100


def direction(x: Tensor) -> Tensor:
    return DIRECTION.to(x)


def value(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    return loss(x, y)


def slope(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(x, y), x)[0]


def slope_of_target(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    return slope(lambda b, a: loss(a, b), y, x)


def along(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    return (slope(loss, x, y) * direction(x)).sum()


def curvature(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    """The Hessian times the direction."""
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(x, y), x, create_graph=True)
    return torch.autograd.grad((found * direction(x)).sum(), x)[0]


def mixed(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    """The gradient by the target of the slope along the direction."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(x, y), x, create_graph=True)
    return torch.autograd.grad((found * direction(x)).sum(), y)[0]


def jvp_in_a_dual_level(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(loss(forward_ad.make_dual(x, direction(x)), y)).tangent


def backward_in_a_dual_level(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.clone().requires_grad_(), direction(x))
        return forward_ad.unpack_dual(torch.autograd.grad(loss(dual, y), dual)[0]).tangent


def plain_autograd_of_a_transform(loss: Loss, x: Tensor, y: Tensor) -> Tensor:
    y = y.clone().requires_grad_()
    return torch.autograd.grad((grad(loss)(x, y) * direction(x)).sum(), y)[0]


TRANSFORMS: dict[str, tuple[Loss, Loss]] = {
    # What is done, and what is wanted.
    "grad": (lambda loss, x, y: grad(loss)(x, y), slope),
    "grad of target": (lambda loss, x, y: grad(loss, argnums=1)(x, y), slope_of_target),
    "vmap": (lambda loss, x, y: vmap(lambda a, b: loss(a[None], b[None]))(x, y).sum(), value),
    "vmap twice": (
        lambda loss, x, y: vmap(vmap(lambda a, b: loss(a[None], b[None])))(x[None], y[None]).sum(),
        value,
    ),
    "vmap of one side": (
        lambda loss, x, y: vmap(lambda b: loss(x, b), in_dims=1)(y[:, None].expand(-1, 2, -1, -1, -1))[1],
        value,
    ),
    "vmap of grad": (lambda loss, x, y: vmap(grad(lambda a, b: loss(a[None], b[None])))(x, y), slope),
    "jacrev": (lambda loss, x, y: jacrev(loss)(x, y), slope),
    "jacfwd": (lambda loss, x, y: jacfwd(lambda t: loss(x + t * direction(x), y))(x.new_zeros(())), along),
    "jvp": (lambda loss, x, y: jvp(loss, (x, y), (direction(x), torch.zeros_like(y)))[1], along),
    "dual level": (jvp_in_a_dual_level, along),
    "jvp of grad": (lambda loss, x, y: jvp(lambda a: grad(loss)(a, y), (x,), (direction(x),))[1], curvature),
    "grad of grad": (
        lambda loss, x, y: grad(lambda a: (grad(loss)(a, y) * direction(x)).sum())(x),
        curvature,
    ),
    "create_graph": (curvature, curvature),
    "backward in a dual level": (backward_in_a_dual_level, curvature),
    "hessian": (
        lambda loss, x, y: hessian(lambda t: loss(x + t * direction(x), y))(x.new_zeros(())),
        lambda loss, x, y: (curvature(loss, x, y) * direction(x)).sum(),
    ),
    "grad of grad, mixed": (
        lambda loss, x, y: grad(lambda b: (grad(loss)(x, b) * direction(x)).sum())(y),
        mixed,
    ),
    "plain autograd of grad": (plain_autograd_of_a_transform, mixed),
}


def error(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found.double() - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_every_transform_is_right_on_every_engine(transform, kind, tmp_path):
    done, wanted = TRANSFORMS[transform]
    reference = make_loss(kind, tmp_path, engine="torch", reduction="sum").double()
    right = wanted(reference, *pair(torch.float64)).detach()
    for engine in ENGINES[kind]:
        loss = make_loss(kind, tmp_path, engine=engine, reduction="sum")
        # float64 takes copies of the weights. The first call is the transform: it must spoil none that is kept.
        for dtype, most in ((torch.float64, 1e-6), (torch.float32, 1e-3)):
            assert error(done(loss, *pair(dtype)).detach(), right) < most, (engine, dtype)
            plain = slope(loss, *pair(dtype))
            assert error(plain, slope(reference, *pair(torch.float64))) < most, (engine, dtype)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_gradients_of_a_batch_of_slopes(kind, engine, tmp_path):
    reference = make_loss(kind, tmp_path, reduction="sum").double()
    loss = make_loss(kind, tmp_path, reduction="none", engine=engine)
    x, y = pair()
    x.requires_grad_()
    found = torch.autograd.grad(loss(x, y), x, torch.eye(2), is_grads_batched=True)[0].sum(0)
    assert error(found, slope(reference, *pair(torch.float64))) < 1e-3


@pytest.mark.parametrize("kind", LOSSES)
def test_all_kinds_of_derivatives_are_those_of_finite_differences(kind, tmp_path):
    loss = make_loss(kind, tmp_path)
    images = [x[:1].requires_grad_() for x in pair(torch.float64)]
    options = {"fast_mode": True, "check_batched_grad": True}
    assert torch.autograd.gradcheck(loss, images, check_forward_ad=True, **options)
    assert torch.autograd.gradgradcheck(loss, images, check_fwd_over_rev=True, **options)


@pytest.mark.parametrize(("configuration", "batch_norm"), [("A-LRN", False), ("A", True)])
def test_all_kinds_of_derivatives_of_features(configuration, batch_norm):
    made = VGG(Architecture(configuration, 2, 0.02, 32, batch_norm)).eval()
    initialize(made, "he", 0)
    features = Features(made, ["fc6"])
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.autograd.gradcheck(
        lambda x: features(x)["fc6"],
        image.requires_grad_(),
        fast_mode=True,
        check_forward_ad=True,
        check_batched_grad=True,
    )


def test_derivatives_of_the_learned_distance_by_its_weights():
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.rand(2, 4, 3, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    weights = torch.rand(4, dtype=torch.float64, generator=generator)
    given = [x.requires_grad_() for x in (first, second, weights)]
    assert torch.autograd.gradcheck(_UnitDistance.apply, given)
    assert torch.autograd.gradgradcheck(_UnitDistance.apply, given)
    assert torch.autograd.gradcheck(lambda w: _UnitDistance.apply(first.detach(), second.detach(), w), weights)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_weights_can_be_given_for_a_call(kind, engine, tmp_path):
    """`torch.func.functional_call`, as training of weights by transforms does it."""
    loss = make_loss(kind, tmp_path, engine=engine)
    x, y = pair(torch.float64)
    weights = {name: weight.double() for name, weight in loss.named_parameters()}
    found = grad(lambda given: functional_call(loss, given, (x, y)))(weights)
    loss = make_loss(kind, tmp_path, engine="torch").double().requires_grad_(True)
    loss(x, y).backward()
    for name, weight in loss.named_parameters():
        torch.testing.assert_close(found[name], weight.grad)


@pytest.mark.parametrize("kind", LOSSES)
def test_values_are_looked_at_within_transforms(kind, tmp_path):
    loss = make_loss(kind, tmp_path)
    x, y = pair()
    for transform in (grad, vmap):
        with pytest.raises(UsageError, match=r"look like images of range \(-1, 1\)"):
            transform(lambda a, b: loss(a.reshape(-1, 3, 32, 33), b.reshape(-1, 3, 32, 33)))(2 * x - 1, y)
    with torch.no_grad():
        loss.features.conv1_1.weight.mul_(1e37)
    for transform in (grad, vmap):
        with pytest.raises(ModelError, match="a distance is NaN or infinite"):
            transform(lambda a, b: loss(a.reshape(-1, 3, 32, 33), b.reshape(-1, 3, 32, 33)))(x, y)


@pytest.mark.parametrize("kind", LOSSES)
def test_what_records_operations_sees_all_of_them(kind, tmp_path):
    """The native engine's results would be constants of the record."""
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils.flop_counter import FlopCounterMode

    loss, other = make_loss(kind, tmp_path), make_loss(kind, tmp_path)
    x, y = pair()
    wanted = loss(y, x.flip(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is old, and says so; and cannot see checks of shapes
        traced = torch.jit.trace(loss, (x, y), check_trace=False)
    torch.testing.assert_close(traced(y, x.flip(3)), wanted, rtol=1e-4, atol=0)
    torch.testing.assert_close(make_fx(other)(x, y)(y, x.flip(3)), wanted, rtol=1e-4, atol=0)
    counts = []
    for engine in ("auto", "torch"):
        with FlopCounterMode(display=False) as counter:
            make_loss(kind, tmp_path, engine=engine)(x, y)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("kind", LOSSES)
def test_losses_under_torch_compile(kind, tmp_path):
    torch.compiler.reset()  # what it has compiled for other losses counts towards its limit
    loss = make_loss(kind, tmp_path)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    wanted = slope(loss, *pair())
    assert error(slope(compiled, *pair()), wanted.double()) < 1e-4
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        half = torch.compile(loss, fullgraph=True, backend="aot_eager")(*pair())
    assert half.dtype == torch.float32
    assert abs(half - loss(*pair())) < 0.1 * half
    images = [(255 * one[:, :1]).byte() for one in pair()]
    loss = make_loss(kind, tmp_path, range=(0, 255), grey="repeat")
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*images), loss(*images), rtol=1e-3, atol=0)
    variation = perceptual.TotalVariation(range=(0, 255), grey="repeat")
    compiled = torch.compile(variation, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images[0]), variation(images[0]))


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_an_image_is_at_distance_0_from_itself_while_gradients_are_taken(kind, engine, tmp_path):
    loss = make_loss(kind, tmp_path, reduction="none", engine=engine)
    x, y = pair()
    images = torch.cat([x, y])
    beside = torch.cat([x[:1], y[:1], y[:1], x[:1]])  # the first and third are the same
    for layout in (torch.contiguous_format, torch.channels_last):
        other = beside.contiguous(memory_format=layout)
        for given in ((images.clone().requires_grad_(), other), (other.clone().requires_grad_(), images)):
            distances = loss(*given)
            assert distances[[0, 2]].tolist() == [0, 0]
            assert (distances[[1, 3]] > 0).all()
            distances.sum().backward()
            assert not given[0].grad[[0, 2]].any()
            assert given[0].grad[[1, 3]].flatten(1).any(1).all()


def test_a_loss_of_a_network_with_batch_normalisation_keeps_its_statistics():
    made = network(batch_norm=True)
    loss = perceptual.StyleLoss(made, ["conv2_1"], preprocessing=IMAGENET, range=(0, 1))
    before = loss(*pair()), slope(loss, *pair())
    made.train()
    made.activations(torch.randn(4, 3, 32, 32), ["relu2_2"])
    after = loss(*pair()), slope(loss, *pair())
    assert torch.equal(before[0], after[0]) and torch.equal(before[1], after[1])


def square(x: Tensor) -> Tensor:
    return x.square().sum()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_gradients_that_have_gradients_are_the_same_where_parameters_are_tied(batch_norm):
    """A weight that is also in the history of its layer's input counts once for each."""
    made = VGG(Architecture("D", 10, 0.25, 32, batch_norm)).eval()
    initialize(made, "he", 0)
    made.conv3_3.weight = made.conv3_2.weight
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    (plain,) = torch.autograd.grad(square(made(images)), made.conv3_2.weight)
    (found,) = torch.autograd.grad(square(made(images)), made.conv3_2.weight, create_graph=True)
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))


@pytest.mark.parametrize("width", [0.25, 0.2])
def test_batches_of_gradients_on_layers_of_any_number_of_channels(width):
    """Multiples of 16, of which nothing has to be cut off, and others."""
    made = VGG(Architecture("D", 10, width, 32)).eval()
    initialize(made, "he", 0)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scores = made(images)[0]
    rows = [torch.autograd.grad(score, images, retain_graph=True)[0] for score in scores[:3]]
    (found,) = torch.autograd.grad(scores[:3], images, torch.eye(3), is_grads_batched=True)
    right = torch.stack(rows)
    torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))


def replicated(loss: perceptual.ContentLoss) -> None:
    for module in loss.features.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.padding_mode = "replicate"


def dilated(loss: perceptual.ContentLoss) -> None:
    loss.features.conv2_1.dilation = loss.features.conv2_1.padding = (2, 2)


def another_epsilon(loss: perceptual.ContentLoss) -> None:
    loss.features.bn2_1.eps = 0.5


@pytest.mark.parametrize("change", [replicated, dilated, another_epsilon])
@pytest.mark.parametrize("gradients", [False, True])
def test_what_weights_do_not_tell_is_computed_all_the_same(change, gradients):
    """Kinds of padding, dilation and epsilon are set on the loss's own copy of the network."""
    made = VGG(Architecture("A", 0, 0.25, 32, True)).eval()
    initialize(made, "he", 0)
    x, y = pair()
    x.requires_grad_(gradients)
    found = []
    for engine in ("auto", "torch"):
        options = {"preprocessing": IMAGENET, "range": (0, 1), "engine": engine}
        loss = perceptual.ContentLoss(made, ["relu2_1", "relu3_2"], **options)
        change(loss)
        found.append(loss(x, y))
    torch.testing.assert_close(*found, rtol=1e-4, atol=0)


def test_a_network_without_kernels_of_its_own_is_computed_by_torch():
    made = VGG(Architecture("B-5x5", 0, 0.1, 32)).eval()
    initialize(made, "he", 0)
    x, y = pair()
    options = {"preprocessing": IMAGENET, "range": (0, 1)}
    for loss in (perceptual.ContentLoss, perceptual.StyleLoss):
        auto, by_torch = (loss(made, ["relu2_1"], engine=engine, **options) for engine in ("auto", "torch"))
        torch.testing.assert_close(auto(x, y), by_torch(x, y))
