"""LPIPS here and in the `lpips` package: speed, memory and agreement, on the same random weights.

    python benchmarks/perceptual.py [--side 224] [--pairs 8] [--repeat 5]

The two take turns; each has a process of its own for its peak memory. `pip install --no-deps lpips` first.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from sklearn.datasets import load_sample_images
from torchvision_peer import networks

from verydeep.images.color import Preprocessing
from verydeep.perceptual import LPIPS

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
KINDS = ("no gradients", "gradients", "gradients, bfloat16")
Step = Callable[[], torch.Tensor]


def steps(who: str, kind: str, pictures: torch.Tensor, target: torch.Tensor) -> Step:
    theirs, ours = networks("D", batch_norm=False, width=1.0, with_fc=False)
    if who == "lpips":
        import lpips

        with patch("torchvision.models.vgg16", lambda **options: copy.deepcopy(theirs)):
            reference = lpips.LPIPS(net="vgg", verbose=False)
        for module in reference.modules():  # as torchvision makes them
            if isinstance(module, torch.nn.ReLU):
                module.inplace = True

        def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return reference(a, b, normalize=True).mean()
    else:
        loss = LPIPS(ours, preprocessing=IMAGENET, range=(0, 1))

    def without() -> torch.Tensor:
        with torch.no_grad():
            return loss(pictures, target)

    def with_gradients() -> torch.Tensor:
        given = pictures.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in kind):
            value = loss(given, target)
        value.backward()
        return value.detach()

    return without if kind == KINDS[0] else with_gradients


def pairs(count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    photographs = [np.array(image) for image in load_sample_images().images]
    cuts = [np.roll(photographs[n % 2], 37 * n, 1)[:side, :side] for n in range(count)]
    first = torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2) / 255
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(0))
    return first, (first + 0.1 * noise).clamp(0, 1)


def peak(who: str, kind: str, count: int, side: int) -> float:
    """Peak memory of a process that does nothing else, in MB."""
    words = ["--peak", who, "--kind", kind, "--pairs", str(count), "--side", str(side)]
    out = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--peak", choices=("lpips", "verydeep"))
    options = parser.parse_args()
    pictures, target = pairs(options.pairs, options.side)
    if options.peak:
        step = steps(options.peak, options.kind, pictures, target)
        for _ in range(2):
            step()
        # Not getrusage: its maximum counts what the process was forked from.
        status = Path("/proc/self/status").read_text()
        print(json.dumps(int(status.partition("VmHWM:")[2].split()[0]) / 1024))
        return
    print(f"{options.pairs} pairs of {options.side}x{options.side}, {torch.get_num_threads()} threads")
    print("| | lpips | verydeep | times as fast | peak MB: lpips, verydeep | mean distance: lpips, verydeep |")
    print("|---|---|---|---|---|---|")
    for kind in (options.kind,) if options.kind else KINDS:
        # bfloat16 is for ours alone to gain from: the reference is timed as people run it, in float32.
        both = [
            steps("lpips", kind.partition(",")[0], pictures, target),
            steps("verydeep", kind, pictures, target),
        ]
        values = [step().item() for step in both]
        seconds: list[list[float]] = [[], []]
        for _ in range(options.repeat):
            for step, taken in zip(both, seconds, strict=True):
                start = time.perf_counter()
                step()
                taken.append(time.perf_counter() - start)
        theirs, ours = map(statistics.median, seconds)
        ratio = statistics.median(a / b for a, b in zip(*seconds, strict=True))
        peaks = [peak("lpips", kind.partition(",")[0], options.pairs, options.side)]
        peaks.append(peak("verydeep", kind, options.pairs, options.side))
        print(
            f"| {kind} | {theirs:.3f} s | {ours:.3f} s | {ratio:.2f} | {peaks[0]:.0f}, {peaks[1]:.0f} "
            f"| {values[0]:.8f}, {values[1]:.8f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
