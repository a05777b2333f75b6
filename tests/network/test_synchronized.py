"""Dropout and normalisation over a batch that is shared out, against torch's over the whole batch."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import nn

from verydeep.configurations import Architecture
from verydeep.network.initialize import initialize
from verydeep.network.synchronized import BatchNorm, Dropout, synchronize
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


def apart(parts: list[torch.Tensor], layers: list[BatchNorm]) -> torch.Tensor:
    """Run each layer on its part of a batch in a thread of its own; their sums are exchanged, with gradients."""
    barrier = threading.Barrier(len(parts), timeout=60)
    given: dict[int, torch.Tensor] = {}

    def run(number: int) -> torch.Tensor:
        def sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
            barrier.wait()  # until the sum before has been taken by all
            given[number] = tensor
            barrier.wait()
            return sum(given[other] for other in range(len(parts)))

        layers[number].sum_over_processes = sum_over_processes
        return layers[number].train()(parts[number])

    with ThreadPoolExecutor(len(parts)) as pool:
        return torch.cat(list(pool.map(run, range(len(parts)))))


@pytest.mark.parametrize("ratio", [0, 1, 1000, 10_000])
@pytest.mark.parametrize("sizes", [[3, 3], [1, 4, 2]])
def test_parts_are_normalised_as_torch_does_the_whole(ratio, sizes):
    """At any ratio of mean and deviation: what comes out, the running statistics and all gradients.

    The reference is torch's on the same numbers in float64, so that its rounding is none of the difference.
    """
    torch.manual_seed(0)
    deviation = torch.tensor([1.0, 2, 3, 0.1])[:, None, None]
    x = (torch.randn(sum(sizes), 4, 5, 3) + torch.tensor([ratio, -ratio, ratio, ratio])[:, None, None]) * deviation
    x.requires_grad_()
    exact = x.detach().double().requires_grad_()
    reference = nn.BatchNorm2d(4).double()
    with torch.no_grad():
        reference.weight.normal_()
        reference.bias.normal_()
    layers = [BatchNorm(4) for _ in sizes]
    for layer in layers:
        layer.load_state_dict(reference.state_dict())
    weights = torch.randn_like(x)
    wanted = reference.train()(exact)
    found = apart(list(x.split(sizes)), layers)
    (wanted * weights).sum().backward()
    (found * weights).sum().backward()
    close = partial(torch.testing.assert_close, check_dtype=False)
    close(found, wanted, rtol=1e-5, atol=1e-5)
    close(x.grad, exact.grad, rtol=1e-4, atol=1e-4 * float(exact.grad.abs().max()))
    for name in ("weight", "bias"):
        close(sum(getattr(one, name).grad for one in layers), getattr(reference, name).grad, rtol=1e-4, atol=1e-4)
    for layer in layers:
        close(layer.running_mean, reference.running_mean, rtol=1e-6, atol=1e-6)
        close(layer.running_var, reference.running_var, rtol=1e-5, atol=1e-6)
        assert layer.num_batches_tracked == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions_are_torchs(dtype):
    torch.manual_seed(0)
    x = (torch.randn(6, 4, 5, 3) + 3).to(dtype)
    reference, ours = nn.BatchNorm2d(4), BatchNorm(4)
    if dtype == torch.float64:
        reference, ours = reference.double(), ours.double()
    ours.sum_over_processes = lambda sums: sums
    found = ours.train()(x)
    assert found.dtype == dtype
    tolerance = 1e-12 if dtype == torch.float64 else 0.02
    torch.testing.assert_close(found, reference.train()(x), rtol=tolerance, atol=tolerance)


def test_alone_and_in_evaluation_it_is_torchs():
    x = torch.randn(6, 4, 5, 3)
    reference, ours = nn.BatchNorm2d(4), BatchNorm(4)
    assert torch.equal(ours.train()(x), reference.train()(x))
    ours.sum_over_processes = lambda sums: pytest.fail("nothing is to be exchanged in evaluation")
    assert torch.equal(ours.eval()(x), reference.eval()(x))


def test_a_network_is_told_as_a_whole():
    network = VGG(Architecture("B", 5, 1 / 32, 32, True))
    initialize(network, "he", 0)
    synchronize(network, 2, 8, lambda tensor: tensor)
    assert network.dropout.part == (2, 8)
    assert all(module.sum_over_processes for module in network.modules() if isinstance(module, nn.BatchNorm2d))
