"""A training step side by side: ours on both engines, and torchvision's network in every way that torch has.

    python benchmarks/training_step.py [--cases D-224 ...] [--seconds 60] [--threads 2] [--compile] [--avx2]

A step is: pixels as bytes -> preprocessing, forward, loss, backward, SGD with momentum and weight decay. All
variants take turns in one process, so that they meet the same machine. Torchvision's network runs in both
layouts, in float32, and in bfloat16 by autocast where the processor multiplies it; with --compile, through
torch.compile too. At first each variant makes a step, and then steps for two seconds, of which the quickest is
told. Then ours on the native engine, in each precision, and the fastest of torch's take turns until --seconds
are over: medians of the rounds, and the median of the ratios to torch's. On one thread it is processor time
that is measured, else time by the clock. With --avx2 a processor with AVX-512 uses AVX2 alone, on both sides.
With --memory each variant makes its steps in a process of its own,
whose greatest resident memory is told.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg as torchvision_vgg

from verydeep.cli import SPINS, shorten_spins
from verydeep.configurations import Architecture
from verydeep.images.batches import Batch, TrainingBatches
from verydeep.images.color import Preprocessing
from verydeep.images.image_set import Arrays, ImageSet
from verydeep.images.views import TrainingView
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG
from verydeep.run_folder import ModelConfig, TrainedOn
from verydeep.run_folder.origin import processor_name
from verydeep.training.engine import TrainingEngine
from verydeep.training.loop import Trainer, old_objects_kept
from verydeep.training.recipe import Recipe
from verydeep.training.unreadable import UnreadableLog


class Case(NamedTuple):
    """What is trained."""

    architecture: Architecture
    batch_size: int


CASES = {
    "D-224": Case(Architecture("D"), 16),
    "A-224": Case(Architecture("A"), 16),
    "D-64-narrow": Case(Architecture("D", 50, 0.25, 64, True), 128),
    "D-32-narrow": Case(Architecture("D", 10, 0.25, 32, True), 128),
    "D-64-plain": Case(Architecture("D", 50, 0.25, 64), 128),
    "A-224-few": Case(Architecture("A"), 4),
    "D-128-half": Case(Architecture("D", 50, 0.5, 128, True), 16),
}
MAIN_CASES = tuple(CASES)[:4]
CPU = torch.device("cpu")
AVX2_ALONE = {
    "VERYDEEP_INSTRUCTIONS": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""Limits of ours, and of each library that computes for torch."""
LEAST_ROUNDS = 2
FIRST_SECONDS = 2.0
Step = Callable[[], float]
TORCHVISION_LETTER = {"A": "A", "B": "B", "D": "D", "E": "E"}


def torchvision_network(architecture: Architecture, dropout: float) -> nn.Module:
    """Torchvision's network, narrowed and its head cut to the window where the case asks for it."""
    plan = torchvision_vgg.cfgs[TORCHVISION_LETTER[architecture.configuration]]
    narrow = [entry if entry == "M" else architecture.channels(entry) for entry in plan]
    with torch.device("meta"):  # its own head, of 124 million weights, is not drawn
        network = torchvision_vgg.VGG(nn.Sequential(), init_weights=False)
    network.features = torchvision_vgg.make_layers(narrow, batch_norm=architecture.batch_norm)
    kernel, hidden = architecture.window // 32, architecture.channels(4096)
    if kernel != 7:
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
    for module in network.modules():  # as torchvision draws them
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
    return network.train()


@dataclass(frozen=True)
class Torchs:
    """Torchvision's network, and how torch computes it."""

    channels_last: bool
    bfloat16: bool
    compiled: bool

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "channels first"
        return f"torch, {layout}, {'bfloat16' if self.bfloat16 else 'float32'}" + ", compiled" * self.compiled

    def step(self, architecture: Architecture, batch: Batch, recipe: Recipe, device: torch.device = CPU) -> Step:
        """One step of training, with the fused optimizer."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        network = torchvision_network(architecture, recipe.dropout).to(device, memory_format=layout)
        settings = {"lr": recipe.learning_rate, "momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
        optimizer = torch.optim.SGD(network.parameters(), **settings, fused=True)
        mean = torch.tensor(Preprocessing().mean, device=device)[:, None, None]
        labels = torch.from_numpy(batch.labels).to(device)

        def loss_of(pixels: torch.Tensor) -> torch.Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
                return F.cross_entropy(network((pixels - mean) / 58.0), labels)

        forward = torch.compile(loss_of) if self.compiled else loss_of

        def step() -> float:
            pixels = torch.from_numpy(batch.pixels).to(device).permute(0, 3, 1, 2).float()
            pixels = pixels.contiguous(memory_format=layout)
            loss = forward(pixels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        return step


@dataclass(frozen=True)
class Ours:
    """Our training loop, on one of its engines."""

    engine: TrainingEngine
    precision: str
    compiled: bool = False

    def __str__(self) -> str:
        return f"verydeep, {self.engine} engine, {self.precision}" + ", compiled" * self.compiled

    def step(self, architecture: Architecture, batch: Batch, recipe: Recipe, device: torch.device = CPU) -> Step:
        """One step of training."""
        network = VGG(architecture, dropout=recipe.dropout, engine="torch" if self.engine == "torch" else "auto")
        initialize(network, "he", 0)
        side = architecture.window
        images = ImageSet(("",), np.zeros(1, np.int64), ("",), Arrays((np.zeros((side, side, 3), np.uint8),)))
        names = tuple(map(str, range(architecture.num_classes)))
        config = ModelConfig(architecture, Preprocessing(deviation=(58.0,) * 3), names, TrainedOn((side, side)))
        trainer = Trainer(
            network,
            replace(recipe, precision=self.precision),
            TrainingBatches(images, TrainingView((side, side), side), 1, 0),
            lambda: 0.0,
            config,
            Path(),
            device,
            UnreadableLog(Path(), 0),
        )
        if self.compiled:
            trainer.model = torch.compile(trainer.model)
        network.train()
        return lambda: trainer._step(batch, 0).loss


def variants(compiled: bool) -> tuple[list[Ours], list[Torchs]]:
    """Ours, and those of torch, of which the fastest is the peer."""
    with_bfloat16 = torch.cpu._is_avx512_bf16_supported() and not avx2_alone()
    precisions = (False, True) if with_bfloat16 else (False,)
    engines: tuple[TrainingEngine, ...] = ("native", "torch")
    ours = [Ours(engine, "bfloat16" if one else "float32") for engine, one in product(engines, precisions)]
    ways = product((False, True), precisions, (False, True) if compiled else (False,))
    return ours, [Torchs(*way) for way in ways]


def avx2_alone() -> bool:
    """Whether both sides are limited to AVX2."""
    return AVX2_ALONE.items() <= os.environ.items()


def step_of(case: Case, variant: Ours | Torchs, device: torch.device = CPU) -> Step:
    """A variant's step, of random images and labels."""
    random = np.random.default_rng(0)
    side, count = case.architecture.window, case.batch_size
    pixels = random.integers(0, 256, (count, side, side, 3), np.uint8)
    batch = Batch(pixels, random.integers(0, case.architecture.num_classes, count))
    return variant.step(case.architecture, batch, Recipe(learning_rate=1e-4, schedule="cosine"), device)


def measure(name: str, seconds: float, compiled: bool) -> dict[str, Any]:
    """Images a second of each variant of a case, and the ratio of ours to the fastest of torch's."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter

    def taken(step: Step) -> float:
        start = clock()
        step()
        return clock() - start

    def quickest(step: Step) -> float:
        times = [taken(step)]
        while sum(times) < FIRST_SECONDS:
            times.append(taken(step))
        return min(times)

    first: dict[str, float] = {}
    kept: dict[str, Step] = {}
    batch_size = CASES[name].batch_size
    ours, torchs = variants(compiled)
    peer = ""
    for variant in [*torchs, *ours]:  # one network at a time, as they are large, beside those that take turns
        step = step_of(CASES[name], variant)
        step()
        first[str(variant)] = quickest(step)
        if isinstance(variant, Ours):
            if variant.engine == "native":
                kept[str(variant)] = step
        elif not peer or first[str(variant)] < first[peer]:
            kept.pop(peer, None)
            peer = str(variant)
            kept[peer] = step
    times: dict[str, list[float]] = {variant: [] for variant in kept}
    end = time.monotonic() + seconds
    with old_objects_kept():  # as `verydeep train` does; the peer gains by it too
        while len(times[peer]) < LEAST_ROUNDS or time.monotonic() < end:
            for variant, step in kept.items():
                times[variant].append(taken(step))
    rows = [{"variant": variant, "images_per_second": batch_size / one} for variant, one in first.items()]
    for variant, several in times.items():
        ratio = statistics.median(a / b for a, b in zip(times[peer], several, strict=True))
        speed = batch_size / statistics.median(several)
        rows = [row for row in rows if row["variant"] != variant]
        rows.append({"variant": variant, "images_per_second": speed, "ratio": ratio})
    threads, processor = torch.get_num_threads(), processor_name() + ", AVX2 alone" * avx2_alone()
    return {"case": name, "threads": threads, "processor": processor, "rounds": len(times[peer]), "rows": rows}


def measure_memory(name: str, compiled: bool) -> dict[str, float]:
    """Greatest resident memory of each variant in MB, each in a process of its own."""
    ours, torchs = variants(compiled)
    found = {}
    for variant in map(str, [*torchs, *ours]):
        command = [sys.executable, __file__, "--alone", name, variant, *["--compile"] * compiled]
        found[variant] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def alone(name: str, wanted: str, compiled: bool) -> float:
    """Greatest resident memory of this process, in MB, after three steps of a variant."""
    ours, torchs = variants(compiled)
    step = step_of(CASES[name], next(one for one in [*ours, *torchs] if str(one) == wanted))
    for _ in range(3):
        step()
    # Not getrusage: its figure begins at that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=MAIN_CASES)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--alone", nargs=2, metavar=("CASE", "VARIANT"), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if SPINS not in os.environ or (arguments.avx2 and not avx2_alone()):
        shorten_spins()  # as `verydeep train` does; torch's own steps are as fast with it
        os.environ.update(AVX2_ALONE if arguments.avx2 else {})
        os.execv(sys.executable, [sys.executable, *sys.argv])  # libraries read them when they are loaded
    if avx2_alone() and arguments.compile:
        import torch._inductor.config

        torch._inductor.config.cpp.simdlen = 256
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.alone:
        print(alone(*arguments.alone, arguments.compile))
        return
    for name in arguments.cases:
        result = measure(name, arguments.seconds, arguments.compile)
        memory = measure_memory(name, arguments.compile) if arguments.memory else {}
        if arguments.json:
            print(json.dumps({**result, "memory": memory}), flush=True)
            continue
        print(f"{name}, {result['threads']} threads, {result['processor']}, {result['rounds']} rounds", flush=True)
        for row in result["rows"]:
            ratio = f"  x {row['ratio']:.2f}" if "ratio" in row else ""
            peak = f"  {memory[row['variant']]:7.0f} MB" if memory else ""
            print(f"  {row['variant']:38} {row['images_per_second']:8.1f} images/s{ratio:8}{peak}", flush=True)


if __name__ == "__main__":
    main()
