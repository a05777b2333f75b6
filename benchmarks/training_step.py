"""A training step side by side: torchvision's network with torch's defaults, with torch's best, and ours.

    python benchmarks/training_step.py [--rounds 7] [--cases D-224 ...] [--compile] [--memory]

All variants take turns in one process, so that they meet the same machine; medians of the rounds, and ratios to
the first variant of the case. A step is: pixels as bytes -> preprocessing, forward, loss, backward, SGD with
momentum and weight decay. "Plain" is torch's defaults: float32, channels first. "Best" is what we know to be
fastest of torch: products in bfloat16 by autocast, channels last, fused SGD; with --compile, torch.compile too.
With --memory each variant makes its steps in a process of its own, whose greatest resident memory is told.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg as torchvision_vgg

from verydeep.configurations import Architecture
from verydeep.images.batches import Batch, TrainingBatches
from verydeep.images.color import Preprocessing
from verydeep.images.image_set import Arrays, ImageSet
from verydeep.images.views import TrainingView
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG
from verydeep.run_folder import ModelConfig, TrainedOn
from verydeep.training.loop import Trainer
from verydeep.training.recipe import Recipe
from verydeep.training.unreadable import UnreadableLog

CASES = {  # configuration, width, side, batch, classes
    "D-224": ("D", 1.0, 224, 16, 1000),
    "A-224": ("A", 1.0, 224, 16, 1000),
    "D-64-narrow": ("D", 0.25, 64, 128, 50),
    "D-32-narrow": ("D", 0.25, 32, 128, 10),
}
TORCHVISION_LETTER = {"A": "A", "B": "B", "D": "D", "E": "E"}


def torchvision_network(architecture: Architecture, dropout: float) -> nn.Module:
    """Torchvision's network, narrowed and its head cut to the window where the case asks for it."""
    plan = torchvision_vgg.cfgs[TORCHVISION_LETTER[architecture.configuration]]
    narrow = [entry if entry == "M" else architecture.channels(entry) for entry in plan]
    network = torchvision_vgg.VGG(torchvision_vgg.make_layers(narrow), num_classes=architecture.num_classes)
    kernel, hidden = architecture.window // 32, architecture.channels(4096)
    network.avgpool = nn.AdaptiveAvgPool2d(kernel)
    network.classifier = nn.Sequential(
        nn.Linear(narrow[-2] * kernel**2, hidden),
        nn.ReLU(True),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.ReLU(True),
        nn.Dropout(dropout),
        nn.Linear(hidden, architecture.num_classes),
    )
    return network.train()


def torchvision_step(
    architecture: Architecture, batch: Batch, recipe: Recipe, best: bool = False, compiled: bool = False
) -> Callable[[], float]:
    network = torchvision_network(architecture, recipe.dropout)
    layout = torch.channels_last if best else torch.contiguous_format
    network = network.to(memory_format=layout)
    optimizer = torch.optim.SGD(
        network.parameters(),
        recipe.learning_rate,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True if best else None,
    )
    mean = torch.tensor(Preprocessing().mean)[:, None, None]
    labels = torch.from_numpy(batch.labels)

    def loss_of(pixels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=best):
            return F.cross_entropy(network((pixels - mean) / 58.0), labels)

    forward = torch.compile(loss_of) if compiled else loss_of

    def step() -> float:
        pixels = torch.from_numpy(batch.pixels).permute(0, 3, 1, 2).float().contiguous(memory_format=layout)
        loss = forward(pixels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def our_step(architecture: Architecture, batch: Batch, recipe: Recipe, precision: str) -> Callable[[], float]:
    network = VGG(architecture, dropout=recipe.dropout)
    initialize(network, "he", 0)
    side = architecture.window
    images = ImageSet(("",), np.zeros(1, np.int64), ("",), Arrays((np.zeros((side, side, 3), np.uint8),)))
    names = tuple(map(str, range(architecture.num_classes)))
    config = ModelConfig(architecture, Preprocessing(deviation=(58.0,) * 3), names, TrainedOn((side, side)))
    trainer = Trainer(
        network,
        replace(recipe, precision=precision),
        TrainingBatches(images, TrainingView((side, side), side), 1, 0),
        lambda: 0.0,
        config,
        Path(),
        torch.device("cpu"),
        UnreadableLog(Path(), 0),
    )
    network.train()
    return lambda: trainer._step(batch, 0).loss


def variants_of(name: str, compiled: bool) -> tuple[int, dict[str, Callable[[], Callable[[], float]]]]:
    """Batch size of a case, and for each variant what makes its step."""
    configuration, width, side, batch_size, classes = CASES[name]
    architecture = Architecture(configuration, classes, width, side)
    random = np.random.default_rng(0)
    batch = Batch(
        random.integers(0, 256, (batch_size, side, side, 3), np.uint8), random.integers(0, classes, batch_size)
    )
    recipe = Recipe(learning_rate=1e-4, schedule="cosine")
    variants = {
        "torchvision, plain": partial(torchvision_step, architecture, batch, recipe),
        "torchvision, best": partial(torchvision_step, architecture, batch, recipe, best=True),
        "torchvision, best, compiled": partial(
            torchvision_step, architecture, batch, recipe, best=True, compiled=True
        ),
        "verydeep, float32": partial(our_step, architecture, batch, recipe, "float32"),
        "verydeep, bfloat16": partial(our_step, architecture, batch, recipe, "bfloat16"),
    }
    if not compiled:
        del variants["torchvision, best, compiled"]
    return batch_size, variants


def measure(name: str, rounds: int, compiled: bool) -> dict[str, Any]:
    """Images a second of each variant of a case, and its ratio to the first variant, medians over rounds."""
    batch_size, variants = variants_of(name, compiled)
    steps = {variant: make() for variant, make in variants.items()}
    seconds: dict[str, list[float]] = {variant: [] for variant in steps}
    for number in range(rounds + 1):
        for variant, step in steps.items():
            start = time.perf_counter()
            step()
            if number:  # the first round warms up
                seconds[variant].append(time.perf_counter() - start)
    first = next(iter(steps))
    rows = {}
    for variant, times in seconds.items():
        ratios = [a / b for a, b in zip(seconds[first], times, strict=True)]
        rows[variant] = {
            "images_per_second": batch_size / statistics.median(times),
            "ratio": statistics.median(ratios),
        }
    return {"case": name, "threads": torch.get_num_threads(), "rounds": rounds, "variants": rows}


def measure_memory(name: str, compiled: bool) -> dict[str, float]:
    """Greatest resident memory of each variant in MB, each in a process of its own."""
    found = {}
    for variant in variants_of(name, compiled)[1]:
        command = [sys.executable, __file__, "--alone", name, variant]
        found[variant] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--alone", nargs=2, metavar=("CASE", "VARIANT"), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.alone:
        step = variants_of(arguments.alone[0], compiled=True)[1][arguments.alone[1]]()
        for _ in range(3):
            step()
        # Not getrusage: its figure begins at that of the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
        return
    for name in arguments.cases:
        result = measure(name, arguments.rounds, arguments.compile)
        memory = measure_memory(name, arguments.compile) if arguments.memory else {}
        if arguments.json:
            print(json.dumps({**result, "memory": memory}), flush=True)
            continue
        print(f"{name} ({result['threads']} threads, medians of {result['rounds']} rounds)")
        for variant, row in result["variants"].items():
            told = f"  {memory[variant]:7.0f} MB" if memory else ""
            speed = f"{row['images_per_second']:8.1f} images/s  x {row['ratio']:.2f}"
            print(f"  {variant:28} {speed}{told}", flush=True)


if __name__ == "__main__":
    main()
