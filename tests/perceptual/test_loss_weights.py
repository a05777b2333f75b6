"""Weights of the losses: they stay where they are, are never stale, and can be trained."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from importlib import import_module

import pytest
import torch
from small_losses import IMAGENET, LOSSES, make_loss, network, pair
from torch import nn
from torchvision import tv_tensors

from verydeep import perceptual
from verydeep.errors import UsageError
from verydeep.network.features import Features


def gradient(loss, x, y):
    x = x.clone().requires_grad_()
    loss(x, y).backward()
    return x.grad


def where(loss):
    """What must not change by a call: the tensors themselves, their memory, device, precision and mode."""
    tensors = {**dict(loss.named_parameters()), **dict(loss.named_buffers())}
    return {n: (id(t), t.data_ptr(), t.device, t.dtype, t.is_inference(), t._version) for n, t in tensors.items()}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.func.grad, torch.func.vmap, "meta"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_first_call_may_be_in_any_mode(kind, mode, dtype, tmp_path):
    """As a validation before training is, which shows images of another device or precision than the weights."""
    loss = make_loss(kind, tmp_path)
    before = where(loss)
    x, y = pair(dtype)
    if mode == "meta":
        assert loss(x.to("meta"), y.to("meta")).device.type == "meta"
    elif mode in (torch.func.grad, torch.func.vmap):
        mode(lambda a, b: loss(a.reshape(-1, 3, 32, 33), b.reshape(-1, 3, 32, 33)))(x, y)
    else:
        with mode():
            loss(x, y)
    assert where(loss) == before
    wanted = make_loss(kind, tmp_path, engine="torch").double()
    right = gradient(wanted, x.double(), y.double())
    assert (gradient(loss, x, y) - right).norm() < 1e-3 * right.norm()
    assert where(loss) == before


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_that_is_made_or_moved_in_inference_mode_has_gradients_after_it(kind, tmp_path):
    x, y = pair()
    with torch.inference_mode():
        made = make_loss(kind, tmp_path)
        moved = make_loss(kind, tmp_path).double().float()
        loaded = make_loss(kind, tmp_path)
        loaded.load_state_dict(moved.state_dict(), assign=True)
        for loss in (made, moved, loaded):
            loss(x, y)
        target = y.clone()  # an image of that mode
    wanted = gradient(make_loss(kind, tmp_path), x, y)
    for loss in (made, moved, loaded):
        torch.testing.assert_close(gradient(loss, x, target), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_threads_of_different_modes_share_one_copy(kind, tmp_path, monkeypatch):
    loss, found, made = make_loss(kind, tmp_path), [], []
    copied = Features._copy
    monkeypatch.setattr(Features, "_copy", lambda *given: made.append(given[1:]) or copied(*given))
    x, y = pair(torch.float64)
    start = threading.Barrier(6)

    def work(mode):
        start.wait()
        with mode():
            found.append(loss(x, y).item())
        found.append(gradient(loss, x, y).sum().item())

    modes = (torch.inference_mode, torch.no_grad, torch.enable_grad)
    threads = [threading.Thread(target=work, args=(mode,)) for mode in 2 * modes]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 12 and len(set(found)) == 2
    assert made == [(torch.device("cpu"), torch.float64)]


def step(weight, optimizer):
    weight.grad = weight.clone()
    optimizer.step()
    weight.grad = None


CHANGES = {
    "in place": lambda loss, weight: weight.mul_(0.5),
    "another memory": lambda loss, weight: setattr(weight, "data", weight * 0.5),
    "another parameter": lambda loss, weight: setattr(
        loss.features.conv1_2, "weight", nn.Parameter(weight * 0.5, requires_grad=False)
    ),
    "load_state_dict": lambda loss, weight: loss.load_state_dict(
        {
            name: tensor * (0.5 if name.endswith("conv1_2.weight") else 1)
            for name, tensor in loss.state_dict().items()
        }
    ),
    "a fused step": lambda loss, weight: step(weight, torch.optim.SGD([weight], 0.5, fused=True)),
    "apply": lambda loss, weight: loss.apply(
        lambda module: module.weight.mul_(0.5) if module is loss.features.conv1_2 else None
    ),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("change", CHANGES)
def test_no_copy_is_stale(change, kind, tmp_path):
    loss = make_loss(kind, tmp_path)
    for step in (1, 2):
        loss(*pair()), loss(*pair(torch.float64))  # what they keep
        with torch.no_grad():
            for _ in range(2):  # the second may take the memory that the first gave back
                CHANGES[change](loss, loss.features.conv1_2.weight)
        wanted = make_loss(kind, tmp_path, engine="torch").double()
        with torch.no_grad():
            wanted.features.conv1_2.weight.mul_(0.25**step)
        right = wanted(*pair(torch.float64)).item()
        assert loss(*pair()).item() == pytest.approx(right, rel=1e-4)
        assert loss(*pair(torch.float64)).item() == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unfrozen_weights_have_gradients_and_are_never_stale(kind, engine, dtype, tmp_path):
    loss = make_loss(kind, tmp_path, engine=engine)
    wanted = make_loss(kind, tmp_path, engine="torch").double().requires_grad_(True)
    x, y = pair(dtype)
    loss(x, y)  # makes what is kept of frozen weights
    loss.requires_grad_(True)
    loss(x, y).backward()
    wanted(x.double(), y.double()).backward()
    for (name, one), right in zip(loss.named_parameters(), wanted.parameters(), strict=True):
        assert one.grad.dtype == torch.float32, name
        assert (one.grad - right.grad).norm() < 1e-3 * right.grad.norm(), name
    optimiser = torch.optim.SGD(loss.parameters(), lr=1e-3 / max(p.grad.norm() for p in loss.parameters()))
    with torch.no_grad():
        before = loss(x, y)
    optimiser.step()
    with torch.no_grad():
        after = loss(x, y)
        assert after < before
        for parameter in loss.parameters():
            parameter.data.mul_(0.9)  # as some optimisers write, of which torch does not tell
        torch.testing.assert_close(loss(x, y), make_changed(kind, tmp_path, loss)(x, y), rtol=1e-4, atol=0)
        assert loss(x, y) != after
    loss.requires_grad_(False)
    torch.testing.assert_close(loss(x, y), make_changed(kind, tmp_path, loss)(x, y), rtol=1e-4, atol=0)


def make_changed(kind, folder, loss):
    """A new loss with the weights of another."""
    made = make_loss(kind, folder, engine="torch")
    made.load_state_dict(loss.state_dict())
    return made


@pytest.mark.parametrize("kind", LOSSES)
def test_a_part_of_the_weights_can_be_unfrozen(kind, tmp_path):
    loss = make_loss(kind, tmp_path)
    loss.features.conv1_2.requires_grad_(True)
    for images in (pair(), pair(torch.float64)):
        loss(*images).backward()
    with_gradients = {name for name, parameter in loss.named_parameters() if parameter.grad is not None}
    assert with_gradients == {"features.conv1_2.weight", "features.conv1_2.bias"}
    whole = make_loss(kind, tmp_path).double().requires_grad_(True)
    for _ in range(2):
        whole(*pair(torch.float64)).backward()
    found, wanted = loss.features.conv1_2.weight.grad, whole.features.conv1_2.weight.grad
    assert (found - wanted).norm() < 1e-3 * wanted.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_linear_weights_of_lpips_are_trained_alone(dtype, tmp_path):
    loss = make_loss("LPIPS", tmp_path)
    linear = list(loss.parameters(recurse=False))
    assert [len(weights) for weights in linear] == [2, 4, 8, 15, 15]
    for weights in linear:
        weights.requires_grad_(True)
    loss(*pair(dtype)).backward()
    x, y = pair(torch.float64)
    taps = [loss.features(one) for one in (x, y)]
    for layer, weights in zip(loss.features.layers, linear, strict=True):
        u, v = (one[layer] / (one[layer].norm(dim=1, keepdim=True) + 1e-10) for one in taps)
        torch.testing.assert_close(weights.grad.double(), (u - v).square().mean((0, 2, 3)), rtol=1e-4, atol=1e-8)
    assert all(parameter.grad is None for parameter in loss.features.parameters())
    before = loss(*pair(dtype)).item()
    torch.optim.SGD(linear, lr=0.1).step()
    assert loss(*pair(dtype)).item() < before
    with torch.no_grad():
        assert loss(*pair(dtype)).item() < before


def test_the_linear_weights_of_lpips_are_in_its_state(tmp_path):
    loss, other = make_loss("LPIPS", tmp_path), make_loss("LPIPS", tmp_path)
    with torch.no_grad():
        loss.relu1_2.mul_(0.9)
    assert loss(*pair()) != other(*pair())
    other.load_state_dict(loss.state_dict())
    assert other(*pair()) == loss(*pair())
    whole = nn.ModuleDict({"loss": make_loss("LPIPS", tmp_path)})
    before = whole["loss"].relu1_2.clone()
    earlier = {f"loss.{name}": x for name, x in loss.state_dict().items() if name.startswith("features.")}
    whole.load_state_dict(earlier)  # as it was saved when they were no part of it
    assert torch.equal(whole["loss"].relu1_2, before)
    assert torch.equal(whole["loss"].features.conv1_1.weight, loss.features.conv1_1.weight)


@pytest.mark.parametrize("kind", LOSSES)
def test_copies_pickles_and_casts(kind, tmp_path):
    loss = make_loss(kind, tmp_path)
    x, y = pair()
    wanted, double = loss(x, y), loss(x.double(), y.double())
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    copies = [copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), torch.load(file, weights_only=False)]
    for one in copies:
        assert one(x, y) == wanted
        assert one(x.double(), y.double()) == double
        with torch.no_grad():
            one.features.conv1_1.weight.zero_()
        assert one(x, y) != wanted
    assert loss(x, y) == wanted
    assert loss.double()(x.double(), y.double()) == double
    torch.testing.assert_close(loss(x, y), wanted)
    half = loss.half()
    torch.testing.assert_close(half(x.half(), y.half()), wanted, rtol=0.05, atol=0)
    torch.testing.assert_close(half(x, y), wanted, rtol=0.05, atol=0)
    torch.testing.assert_close(half.float()(x, y), wanted, rtol=0.05, atol=0)


@pytest.mark.parametrize("kind", LOSSES)
def test_replicas_of_data_parallelism_in_threads(kind, tmp_path, monkeypatch):
    """`nn.DataParallel` gives a thread for each device a replica without parameters."""
    module = import_module("torch.nn.parallel.replicate")
    monkeypatch.setattr(
        module,
        "_broadcast_coalesced_reshape",
        lambda tensors, *_, **__: [[one.clone() for one in tensors] for _ in range(2)],
    )
    for trained in (False, True):
        loss = make_loss(kind, tmp_path, reduction="sum").requires_grad_(trained)
        for dtype in (torch.float32, torch.float64):
            x, y = pair(dtype)
            loss.zero_grad()
            replicas, found = module.replicate(loss, [0, 1]), [None, None]

            def work(n, replicas=replicas, found=found, x=x, y=y):
                found[n] = replicas[n](x[n : n + 1], y[n : n + 1])

            threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
            whole = make_loss(kind, tmp_path, reduction="sum").requires_grad_(trained)
            wanted = whole(x, y)
            torch.testing.assert_close(found[0] + found[1], wanted, rtol=1e-4, atol=0)
            if trained:
                (found[0] + found[1]).backward()
                wanted.backward()
                for one, right in zip(loss.parameters(), whole.parameters(), strict=True):
                    assert (one.grad - right.grad).norm() < 1e-3 * right.grad.norm()


@pytest.mark.parametrize("kind", LOSSES)
def test_weights_without_values_are_one_sentence(kind, tmp_path):
    x, y = pair()
    for images in ((x, y), (x.clone().requires_grad_(), y)):
        with pytest.raises(UsageError, match="weights are on the meta device, which has no values"):
            make_loss(kind, tmp_path).to("meta")(*images)
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        with pytest.raises(UsageError, match=f"the weights are {dtype}"):
            make_loss(kind, tmp_path).to(dtype)(x, y)
    with pytest.raises(UsageError, match=r"images are torch.float8_e4m3fn; convert them with \.float\(\)"):
        make_loss(kind, tmp_path)(x.to(torch.float8_e4m3fn), y.to(torch.float8_e4m3fn))


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_is_made_on_the_processor_whatever_the_default_device_is(kind, tmp_path):
    wanted = make_loss(kind, tmp_path)(*pair())
    made = network()
    with torch.device("meta"):
        loss = getattr(perceptual, kind)(
            made,
            *([["conv1_2", "relu3_1"]] if kind in ("ContentLoss", "StyleLoss") else [tmp_path / f"{kind}.pth"]),
            preprocessing=IMAGENET,
            range=(0, 1),
        )
    assert loss(*pair()) == wanted


def test_features_that_are_trained_stay_where_they_are():
    made = network()
    features = Features(made, ["relu2_1"], trainable=True)
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    features(x)["relu2_1"].sum().backward()
    assert made.conv1_1.weight.dtype == torch.float32
    assert made.conv1_1.weight.grad.dtype == torch.float32 and made.conv1_1.weight.grad.any()


def test_images_of_a_subclass_are_equal_to_plain_ones(tmp_path):
    """As torchvision's images are, which torch turns into plain ones on the way."""
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images = tv_tensors.Image(x.clone()).requires_grad_()
    for kind in LOSSES:
        loss = make_loss(kind, tmp_path, reduction="none")(images, x)
        assert loss.tolist() == [0, 0]
        loss.sum().backward()
