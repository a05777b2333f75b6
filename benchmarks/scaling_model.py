"""What efficiency to expect of D on 8 to 512 GPUs: a model from measured bytes and their order, no measurement.

    python benchmarks/scaling_model.py [--image-rate 1300] [--batch 32]

Measured here, in one training step of D at 224 pixels on this processor: when, as a share of the backward pass,
each layer's gradient is there, and how many bytes it has. Assumed: images a second of one GPU, and what its
links carry. Modelled: the gradients go out in DistributedDataParallel's buckets, one after the other, each as a
ring's all-reduce that moves 2 (N - 1) / N of its bytes through the narrowest link; the step ends when both the
backward pass and the last bucket have. Latency: 20 microseconds for each of a ring's steps. No slow workers, no
waiting for images; the optimizer's time is in the images a second.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch.nn import functional as F

from verydeep.configurations import Architecture
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG

BUCKET = 25 * 2**20  # bytes after which DistributedDataParallel closes a bucket
FORWARD = 1 / 3  # share of a step's compute: the backward pass multiplies twice as much
GPUS_A_NODE = 8
LATENCY = 20e-6
# Bytes a second that a ring gets through the narrowest of its links, for each GPU of a node that drives one.
LINKS = {
    "NVLink within the node": 200e9,
    "8 x 200 Gbit/s a node": 8 * 20e9,
    "100 Gbit/s a node": 10e9,
    "25 Gbit/s a node": 2.5e9,
}


def measured_gradients(batch_size: int = 8) -> list[tuple[str, int, float]]:
    """Name, bytes, and when it was ready as a share of the backward pass, in the order of readiness."""
    network = VGG(Architecture("D"), engine="torch").lay_out()
    initialize(network, "he", 0)
    ready: list[tuple[str, int, float]] = []
    for name, parameter in network.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda tensor, name=name: ready.append((name, 4 * tensor.numel(), time.perf_counter()))
        )
    images, labels = torch.randn(batch_size, 3, 224, 224), torch.randint(1000, (batch_size,))
    for _ in range(2):  # the first warms up
        ready.clear()
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(images).float(), labels)
        start = time.perf_counter()
        loss.backward()
        seconds = time.perf_counter() - start
    return [(name, size, (at - start) / seconds) for name, size, at in ready]


def buckets(gradients: list[tuple[str, int, float]], bytes_a_number: int) -> list[tuple[float, float]]:
    """Bytes of each bucket and when it is full, as DistributedDataParallel fills them."""
    filled: list[tuple[float, float]] = []
    size = 0.0
    for _, whole, at in gradients:
        size += whole * bytes_a_number / 4
        if size >= BUCKET:
            filled.append((size, at))
            size = 0.0
    if size:
        filled.append((size, gradients[-1][2]))
    return filled


def efficiency(filled: list[tuple[float, float]], compute: float, gpus: int, link: float) -> float:
    """Time of a step on one GPU over its time on `gpus`."""
    nodes = max(1, gpus // GPUS_A_NODE)
    ring = gpus if nodes == 1 else nodes
    sent = 0.0
    for size, at in filled:
        ready = compute * (FORWARD + (1 - FORWARD) * at)
        sent = max(sent, ready) + 2 * (ring - 1) / ring * size / link + 2 * (ring - 1) * LATENCY
    return compute / max(compute, sent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-rate", type=float, default=1300, help="of one GPU in training (default: 1300)")
    parser.add_argument("--batch", type=int, default=32, help="images a GPU in a step (default: 32)")
    arguments = parser.parse_args()
    gradients = measured_gradients()
    total = sum(size for _, size, _ in gradients)
    fully_connected = sum(size for name, size, _ in gradients if name.startswith("fc"))
    last = max(at for name, _, at in gradients if name.startswith("fc"))
    print(f"gradients {total / 1e6:.0f} MB, of the FC layers {fully_connected / 1e6:.0f} MB,")
    print(f"which are ready after {100 * last:.1f} % of the backward pass\n")
    compute = arguments.batch / arguments.image_rate
    print(f"a GPU of {arguments.image_rate:g} images/s, {arguments.batch} of them a step: {1e3 * compute:.1f} ms")
    print("| links | gradients in | 8 | 16 | 64 | 512 |\n|---|---|---|---|---|---|")
    for name, link in LINKS.items():
        for precision, size in (("float32", 4), ("bfloat16", 2)):
            filled = buckets(gradients, size)
            columns = (8,) if "within" in name else (16, 64, 512)
            shares = [f"{100 * efficiency(filled, compute, gpus, link):.0f} %" for gpus in columns]
            cells = shares + [""] * 3 if "within" in name else ["", *shares]
            print(f"| {name} | {precision} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
