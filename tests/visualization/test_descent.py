"""Images that are changed: the objective is the losses', it goes down, and low layers keep all of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from verydeep.errors import UsageError, VerydeepError
from verydeep.inference.torch_engine import open_network
from verydeep.perceptual import ContentLoss, StyleLoss, TotalVariation
from verydeep.plan import nodes_to
from verydeep.visualization.descent import descend, invert
from verydeep.visualization.memory import bytes_of, check_memory
from verydeep.visualization.objective import Objective, Terms
from verydeep.visualization.pixels import noise_like, to_pixels, to_tensor

BOTH = Terms(("relu2_1", "relu3_2"), ("relu1_1", "relu2_1"), (3, 1), None, 2.0, 5.0, 0.5)


@pytest.fixture
def opened(small):
    network, preprocessing = open_network(small, ["relu1_1"])
    return network, preprocessing


@pytest.fixture
def pair(photographs):
    """Two real photographs, made small."""
    return tuple(to_tensor(np.asarray(Image.fromarray(photograph).resize((64, 43)))) for photograph in photographs)


def test_the_objective_is_the_losses_with_their_weights(opened, small, pair):
    content, style = pair
    objective = Objective(*opened, BOTH, content=content, style=style)
    image = noise_like(content, 0)
    total, parts = objective(image)
    options = {"range": (0, 1), "engine": "torch"}
    wanted_content = ContentLoss(
        small, list(BOTH.content), weights=list(objective.content_weights.values()), **options
    )(image, content)
    wanted_style = StyleLoss(small, list(BOTH.style), weights=list(objective.style_weights.values()), **options)(
        image, style
    )
    variation = TotalVariation(range=(0, 1), norm="l2_squared")(image) / image.numel()
    assert parts.content == pytest.approx(wanted_content.item() / 2, rel=1e-4)
    assert parts.style == pytest.approx(wanted_style.item() / 5, rel=1e-4)
    assert parts.variation == pytest.approx(variation.item(), rel=1e-5)
    assert total.item() == pytest.approx((wanted_content + wanted_style + 0.5 * variation).item(), rel=1e-4)


def test_parts_are_shares(opened, pair):
    """0 for the image itself; 1 for one for which a layer gives nothing."""
    content, _ = pair
    objective = Objective(*opened, BOTH, content=content, style=content)
    _, itself = objective(content)
    assert itself.content == pytest.approx(0, abs=1e-9)
    assert itself.style == pytest.approx(0, abs=1e-9)
    for tap in objective._content.values():
        tap.zero_()  # what is wanted becomes nothing, of which the weights keep the measure
    assert objective(content)[1].content == pytest.approx(1, rel=1e-4)


def test_it_goes_down_and_stays_within_its_range(opened, pair):
    content, style = pair
    objective = Objective(*opened, BOTH, content=content, style=style, pooling="average")
    before = content.clone()
    outcomes = [descend(objective, content, steps) for steps in (2, 8, 40)]
    totals = [outcomes[0].before.total, *(outcome.after.total for outcome in outcomes)]
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < 0.3 * totals[0]
    assert outcomes[-1].image.min() >= 0 and outcomes[-1].image.max() <= 1
    assert objective(outcomes[-1].image)[1].total == pytest.approx(outcomes[-1].after.total, rel=1e-4)
    assert torch.equal(content, before)


@pytest.mark.parametrize(("layer", "least"), [("conv1_1", 0.98), ("relu2_1", 0.7)])
def test_low_layers_keep_the_image(opened, pair, layer, least):
    content, _ = pair
    outcome = invert(*opened, layer, content, num_steps=60)
    correlation = np.corrcoef(outcome.image.flatten(), content.flatten())[0, 1]
    assert correlation > least
    assert outcome.after.content < 0.1 * outcome.before.content


def test_the_same_seed_gives_the_same_bits(opened, pair):
    content, _ = pair
    first, second, other = (
        invert(*opened, "relu2_1", content, num_steps=5, seed=seed).image for seed in (3, 3, 4)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_it_stops_when_it_is_told_to(opened, pair):
    content, _ = pair
    done = []
    outcome = invert(
        *opened, "conv1_1", content, num_steps=50, advance=done.append, stopped=lambda: len(done) >= 3
    )
    assert (outcome.num_steps, outcome.stopped, len(done)) == (3, True, 3)
    assert outcome.after.total < outcome.before.total


def test_a_step_astray_is_taken_back(opened, pair, monkeypatch):
    content, style = pair
    objective = Objective(*opened, BOTH, content=content, style=style)

    class Wild(torch.optim.LBFGS):
        def step(self, closure):
            loss = closure()
            with torch.no_grad():
                self.param_groups[0]["params"][0].uniform_(0, 1)
            return loss

    monkeypatch.setattr(torch.optim, "LBFGS", Wild)
    outcome = descend(objective, content, 4)
    assert outcome.after.total <= outcome.before.total


def test_the_network_is_left_as_it_is(opened, pair):
    network, _ = opened
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    invert(*opened, "relu3_1", pair[0], num_steps=2)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_network_of_nan_is_one_sentence(opened, pair):
    network, _ = opened
    nn.init.constant_(network.get_submodule("conv1_1").weight, float("nan"))
    with pytest.raises(VerydeepError, match="not finite"):
        invert(*opened, "relu1_1", pair[0], num_steps=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"content_layers": ("relu1_1",), "content_weight": -1}, "`content_weight` is -1"),
        ({"content_layers": ("relu1_1",), "variation_weight": float("nan")}, "`variation_weight` is nan"),
        ({"content_layers": ("relu1_1",), "content_weight": 0}, "there is nothing to optimise"),
        ({"style_layers": ("relu1_1",), "style_layer_weights": (1, 2)}, "there are 2 weights for 1 layers"),
        ({"style_layers": ("relu1_1",), "style_layer_weights": (-2,)}, "style layers have the weights -2"),
        ({"style_layers": ("relu1_1", "relu1_1")}, "named twice"),
    ],
)
def test_weights_that_cannot_be(arguments, said):
    with pytest.raises(UsageError, match=said):
        Terms(**arguments)


def test_what_does_not_fit_in_memory_is_said_with_a_size_that_does(opened):
    path = nodes_to(opened[0].architecture, ["relu1_1"])
    channels = opened[0].architecture.convolutions[0].out_channels
    assert bytes_of(path, 10, 20) == 4 * 2 * 2 * channels * 200
    check_memory(path, 10, 20, available=bytes_of(path, 10, 20))
    with pytest.raises(UsageError, match="use a `size` of 18 or less"):
        check_memory(path, 20, 40, available=bytes_of(path, 10, 20))
    with pytest.raises(UsageError, match=r"takes .* GB up to relu1_1"):
        check_memory(path, 10**6, 10**6)
    with pytest.raises(UsageError, match=r"takes .* GB up to relu1_1"):
        check_memory(path, 10**6, 10**6, layers=["relu1_1"])
    kept = 4 * (2 + 1) * 20 * 10 * path[-1].channels  # the output, and two copies of the largest map
    check_memory(path, 10, 20, available=kept, layers=["relu1_1"])
    with pytest.raises(UsageError, match="takes"):
        check_memory(path, 10, 20, available=kept - 1, layers=["relu1_1"])


def test_pixels_are_kept():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(to_pixels(to_tensor(pixels)), pixels)
