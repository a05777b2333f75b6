"""Each convolution of one training step, forwards and backwards: our kernels beside torch's, in its better layout.

    python benchmarks/convolution_passes.py [--side 224] [--width 1.0] [--batch 4] [--threads 1] [--rounds 3] \
        [--precision float32]

For each layer of D and each pass (outputs, gradient of the input, gradient of the weights), GFLOP/s of the direct
convolution's operations. Ours has bias, ReLU, pooling and their gradients within; torch's are bare convolutions,
the better of NCHW and channels-last for each pass. On one thread processor time is measured, else time by the
clock. The last column of each pass is the share of what this processor multiplies at best in float32, of the
products that are done: Winograd's are a quarter of the direct convolution's. With --precision bfloat16 torch's are
of bfloat16 numbers, and ours as under autocast.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

import verydeep._native as native
from verydeep.configurations import Architecture, Convolution, Pooling
from verydeep.network import native_layers
from verydeep.processor import instruction_set

PASSES = ("outputs", "to input", "to weights")


def ours(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *, pooled: bool, low: bool
) -> list[Callable[[], Any]]:
    """The three passes of a layer."""
    bordered = x.shape[1] == 3
    maps = native_layers.pack(x, bordered=bordered)
    leaves = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]

    def outputs(to_input: bool, to_weights: bool) -> torch.Tensor:
        tensor = maps.tensor.detach().requires_grad_(to_input)
        given = native_layers.Maps(tensor, maps.sizes, rectified=not bordered, bordered=bordered)
        arguments = [one.requires_grad_(to_weights) for one in leaves]
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            return native_layers.convolve(given, *arguments, relu=True, max_pool=pooled).tensor

    graphs = [outputs(True, False), outputs(False, True)]
    slope = torch.randn_like(graphs[0])
    backwards = [lambda graph=graph: graph.backward(slope, retain_graph=True) for graph in graphs]
    return [lambda: outputs(False, False), *backwards]


def torchs(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, layout: torch.memory_format
) -> list[Callable[[], Any]]:
    """The same without ReLU and pooling, in the type of `x`."""
    x, weight = x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
    slope = torch.randn(len(x), len(weight), *x.shape[2:], dtype=x.dtype).contiguous(memory_format=layout)

    def backward(*mask: bool) -> Any:
        return torch.ops.aten.convolution_backward(
            slope, x, weight, [len(weight)], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, list(mask)
        )

    return [
        lambda: F.conv2d(x, weight, bias, padding=1),
        lambda: backward(True, False, False),
        lambda: backward(False, True, True),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    instructions = instruction_set(native)
    peak = native.peak(instructions, "float32", options.threads)
    print(f"{instructions}, {options.threads} threads, at best {peak / 1e9:.0f} GFLOP/s")
    print("| layer | " + " | ".join(f"{one}: ours, torch, ratio, share" for one in PASSES) + " |")
    print("|---|" + "---|" * len(PASSES))
    sums = torch.zeros(2, len(PASSES), dtype=torch.float64)
    side, layers = options.side, Architecture("D", 10, options.width, options.side).layers
    for number, layer in enumerate(layers):
        if isinstance(layer, Pooling):
            side //= 2
        if not isinstance(layer, Convolution):
            continue
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(options.batch, layer.in_channels, side, side, generator=generator)
        x = x if layer.in_channels == 3 else x.relu()
        weight = torch.randn(layer.out_channels, layer.in_channels, 3, 3, generator=generator) / 50
        bias = torch.zeros(layer.out_channels)
        pooled = isinstance(layers[number + 1], Pooling)
        low = options.precision == "bfloat16"
        rivals = [ours(x, weight, bias, pooled=pooled, low=low)]
        theirs = [one.bfloat16() if low else one for one in (x, weight, bias)]
        rivals += [torchs(*theirs, one) for one in (torch.contiguous_format, torch.channels_last)]
        operations = 2 * 9 * x.numel() * layer.out_channels
        cells = []
        for which, name in enumerate(PASSES):
            seconds: list[list[float]] = [[] for _ in rivals]
            for _ in range(options.rounds + 1):
                for rival, taken in zip(rivals, seconds, strict=True):
                    start = clock()
                    rival[which]()
                    taken.append(clock() - start)
            mine, *others = (statistics.median(taken[1:]) for taken in seconds)
            best = min(others)
            done = operations if layer.in_channels == 3 else operations / 4
            cells.append(
                f"{operations / mine / 1e9:.0f}, {operations / best / 1e9:.0f}, {best / mine:.1f}, "
                f"{done / mine / peak:.0%}"
            )
            if not (layer.in_channels == 3 and name == "to input"):
                sums[:, which] += torch.tensor([mine, best])
        print(f"| {layer.name} | " + " | ".join(cells) + " |", flush=True)
    for name, (mine, best) in zip((*PASSES, "all"), [*sums.T.tolist(), sums.sum(1).tolist()], strict=True):
        print(f"{name}: {mine:.3f} s, torch {best:.3f} s, {best / mine:.2f} times as fast")


if __name__ == "__main__":
    main()
