"""Dropout and normalisation over a batch that is shared out, against torch's over the whole batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from verydeep.configurations import Architecture
from verydeep.network.initialize import initialize
from verydeep.network.together import BatchNorm, Dropout, work_together
from verydeep.network.vgg import VGG


def test_dropout_keeps_the_mean_and_drops_as_many_as_asked():
    layer = Dropout(0.3).train()
    torch.manual_seed(0)
    x = layer(torch.ones(100, 1000))
    assert abs(float((x == 0).float().mean()) - 0.3) < 0.01
    assert set(x.unique().tolist()) == {0.0, float(torch.tensor(1) / 0.7)}
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


def test_a_part_of_a_batch_drops_what_the_whole_does():
    whole, part = Dropout(0.5).train(), Dropout(0.5).train()
    x = torch.randn(7, 30, 1, 1)
    torch.manual_seed(3)
    wanted = whole(x)
    seen = []
    for first, last in ((0, 3), (3, 7)):
        part.part = (first, 7)
        torch.manual_seed(3)
        seen.append(part(x[first:last]))
    assert torch.equal(torch.cat(seen), wanted)


def test_dropout_keeps_the_precision():
    layer = Dropout(0.5).train()
    assert layer(torch.ones(4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def halves_of(x: torch.Tensor, layers: list[BatchNorm]) -> list[torch.Tensor]:
    """Run two layers on the two halves of a batch; their sums are exchanged."""
    parts = x.chunk(2)
    known = []
    for layer, part in zip(layers, parts, strict=True):
        layer.sum_over_processes = lambda sums: (known.append(sums), sums)[1]
        layer.train()(part)
        layer.reset_running_stats()
    total = known[0] + known[1]
    for layer in layers:
        layer.sum_over_processes = lambda sums: total
    return [layer(part) for layer, part in zip(layers, parts, strict=True)]


@pytest.mark.parametrize("shift", [0.0, 10.0])
def test_halves_are_normalised_as_the_whole(shift):
    torch.manual_seed(0)
    x = torch.randn(6, 4, 5, 3) * torch.tensor([1.0, 2, 3, 0.1])[:, None, None] + shift
    reference = nn.BatchNorm2d(4)
    with torch.no_grad():
        reference.weight.normal_()
        reference.bias.normal_()
    layers = []
    for _ in range(2):
        layer = BatchNorm(4)
        layer.load_state_dict(reference.state_dict())
        layers.append(layer)
    with torch.no_grad():
        seen = torch.cat(halves_of(x, layers))
        wanted = reference.train()(x)
    torch.testing.assert_close(seen, wanted, rtol=1e-3, atol=1e-3 if shift else 1e-5)
    for layer in layers:
        torch.testing.assert_close(layer.running_mean, reference.running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.running_var, reference.running_var, rtol=1e-3, atol=1e-4)
        assert layer.num_batches_tracked == 1


def test_gradients_are_torchs():
    """With one process, which holds the whole batch, the sum over processes is the identity."""
    torch.manual_seed(0)
    reference, ours = nn.BatchNorm2d(4).train(), BatchNorm(4).train()
    ours.sum_over_processes = lambda sums: sums
    inputs = [
        torch.randn(6, 4, 5, 3, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2)
    ]
    weights = torch.randn(6, 4, 5, 3)
    for layer, x in zip((reference, ours), inputs, strict=True):
        (layer(x) * weights).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.weight.grad, reference.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.bias.grad, reference.bias.grad)


def test_alone_and_in_evaluation_it_is_torchs():
    x = torch.randn(6, 4, 5, 3)
    reference, ours = nn.BatchNorm2d(4), BatchNorm(4)
    assert torch.equal(ours.train()(x), reference.train()(x))
    ours.sum_over_processes = lambda sums: pytest.fail("nothing is to be exchanged in evaluation")
    assert torch.equal(ours.eval()(x), reference.eval()(x))


def test_a_network_is_told_as_a_whole():
    network = VGG(Architecture("B", 5, 1 / 32, 32, True))
    initialize(network, "he", 0)
    work_together(network, 2, 8, lambda tensor: tensor)
    assert network.dropout.part == (2, 8)
    assert all(module.sum_over_processes for module in network.modules() if isinstance(module, nn.BatchNorm2d))
