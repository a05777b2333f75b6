"""LPIPS here and in the `lpips` package, content and style here and in `piq`: speed, memory and agreement.

    python benchmarks/perceptual.py [--loss LPIPS] [--side 224] [--pairs 8] [--repeat 5] [--threads 1]
    python benchmarks/perceptual.py --photographs FOLDER [--pairs 50]

All on the same random weights. The two take turns; each has a process of its own for its peak memory. With
--threads 1 processor time is measured, which a busy machine does not change much; else time by the clock. With
--photographs the numbers of LPIPS alone are compared: of whole photographs, each beside itself as a small JPEG
file, blurred or moved, or beside another, in both ranges of `lpips`; of every tenth pair the gradients too, both
beside the package's in float64. `pip install --no-deps lpips piq` first.
"""

from __future__ import annotations

import argparse
import copy
import io
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
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from sklearn.datasets import load_sample_images
from torchvision_peer import networks

from verydeep.feature_layers import CONTENT, STYLE
from verydeep.images.color import Preprocessing
from verydeep.network.vgg import VGG
from verydeep.perceptual import LPIPS, ContentLoss, StyleLoss

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
LOSSES = ("LPIPS", "ContentLoss", "StyleLoss")

KINDS = ("no gradients", "gradients", "gradients, bfloat16")
Step = Callable[[], torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def reference_of(network: torch.nn.Module) -> torch.nn.Module:
    """The package's own class around a network of torchvision's."""
    import lpips

    with patch("torchvision.models.vgg16", lambda **options: copy.deepcopy(network)):
        reference = lpips.LPIPS(net="vgg", verbose=False)
    return as_torchvision_makes_it(reference)


def as_torchvision_makes_it(network: torch.nn.Module) -> torch.nn.Module:
    for module in network.modules():
        if isinstance(module, torch.nn.ReLU):
            module.inplace = True
    return network


def peers_loss(name: str, network: torch.nn.Module) -> Loss:
    """What people use, for images of range (0, 1)."""
    if name == "LPIPS":
        reference = reference_of(network)
        return lambda a, b: reference(a, b, normalize=True).mean()
    from piq import perceptual

    layers = CONTENT if name == "ContentLoss" else STYLE
    numbers = [perceptual.VGG16_LAYERS[layer] for layer in layers]
    weights = [1 / len(layers)] * len(layers)
    # Not in place: piq's taps would be overwritten.
    loss: Loss = getattr(perceptual, name)(network.features, numbers, weights=weights)
    return loss


def our_loss(name: str, network: VGG) -> Loss:
    """The same here, up to piq's sums over channels."""
    options = {"preprocessing": IMAGENET, "range": (0, 1)}
    if name == "LPIPS":
        return LPIPS(network, **options)
    if name == "ContentLoss":
        return ContentLoss(network, CONTENT, weights=[256.0], **options)
    return StyleLoss(network, STYLE, weights=[0.2] * 5, normalization="none", **options)


def steps(who: str, name: str, kind: str, images: torch.Tensor, target: torch.Tensor) -> Step:
    theirs, ours = networks("D", batch_norm=False, width=1.0, with_fc=False)
    loss = peers_loss(name, theirs) if who == "peer" else our_loss(name, ours)

    def without() -> torch.Tensor:
        with torch.no_grad():
            return loss(images, target)

    def with_gradients() -> torch.Tensor:
        given = images.clone().requires_grad_()
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


def whole_pairs(folder: Path, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Photographs of a folder at their own sizes, each beside another form of itself or the next, in (0, 1)."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    paths = paths[:: max(1, len(paths) // count)][:count]
    photographs = [Image.open(path).convert("RGB") for path in paths]
    pairs = []
    for number, one in enumerate(photographs):
        if number % 4 == 0:
            file = io.BytesIO()
            one.save(file, "JPEG", quality=15)
            other = Image.open(file)
        elif number % 4 == 1:
            other = one.filter(ImageFilter.GaussianBlur(2))
        elif number % 4 == 2:
            other = Image.fromarray(np.roll(np.array(one), 3, 1))
        else:
            other = photographs[(number + 1) % len(photographs)].resize(one.size)
        first, second = (torch.from_numpy(np.array(x)).permute(2, 0, 1)[None] / 255 for x in (one, other))
        pairs.append((first, second))
    return pairs


def compare(folder: Path, count: int) -> None:
    """Print how far the two are apart, at most and in the median."""
    theirs, ours = networks("D", batch_norm=False, width=1.0, with_fc=False)
    reference = reference_of(theirs)
    pairs = whole_pairs(folder, count)
    sizes = sorted({f"{first.shape[3]}x{first.shape[2]}" for first, _ in pairs})
    print(f"{len(pairs)} pairs of {folder.name}: {', '.join(sizes)}", flush=True)
    for signed, of_range in ((False, (0, 1)), (True, (-1, 1))):
        loss = LPIPS(ours, preprocessing=IMAGENET, range=of_range)
        apart, values = [], []
        for pair in pairs:
            first, second = (2 * x - 1 for x in pair) if signed else pair
            with torch.no_grad():
                values.append(reference(first, second, normalize=not signed).item())
                apart.append(abs(loss(first, second).item() - values[-1]))
        print(
            f"range {of_range}: distances from {min(values):.4f} to {max(values):.4f}, apart by "
            f"{max(apart):.1e} at most, in the median {statistics.median(apart):.1e}",
            flush=True,
        )
    exact = copy.deepcopy(reference).double()
    loss = LPIPS(ours, preprocessing=IMAGENET, range=(0, 1))
    errors: dict[str, list[float]] = {"lpips": [], "verydeep": []}
    for pair in pairs[::10]:
        wanted = gradient(lambda a, b: exact(a, b, normalize=True).sum(), *(x.double() for x in pair))
        for who, measure in (("lpips", lambda a, b: reference(a, b, normalize=True).sum()), ("verydeep", loss)):
            errors[who].append(float((gradient(measure, *pair) - wanted).norm() / wanted.norm()))
    for who, several in errors.items():
        print(
            f"gradients of {who} in float32, {len(several)} pairs: apart from the package's in float64 by "
            f"{max(several):.1e} of the norm at most, in the median {statistics.median(several):.1e}"
        )


def gradient(loss: Loss, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    given = image.clone().requires_grad_()
    return torch.autograd.grad(loss(given, target), given)[0]


def peak(who: str, name: str, kind: str, count: int, side: int) -> float:
    """Peak memory of a process that does nothing else, in MB."""
    words = ["--peak", who, "--loss", name, "--kind", kind, "--pairs", str(count), "--side", str(side)]
    out = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True).stdout
    return json.loads(out.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--loss", choices=LOSSES, default="LPIPS")
    parser.add_argument("--peak", choices=("peer", "verydeep"))
    parser.add_argument("--photographs", type=Path, metavar="FOLDER")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    if options.photographs:
        compare(options.photographs, options.pairs or 50)
        return
    options.pairs = options.pairs or 8
    images, target = pairs(options.pairs, options.side)
    if options.peak:
        step = steps(options.peak, options.loss, options.kind, images, target)
        for _ in range(2):
            step()
        # Not getrusage: its maximum counts what the process was forked from.
        status = Path("/proc/self/status").read_text()
        print(json.dumps(int(status.partition("VmHWM:")[2].split()[0]) / 1024))
        return
    peer = "lpips" if options.loss == "LPIPS" else "piq"
    size = f"{options.side}x{options.side}"
    print(f"{options.loss}, {options.pairs} pairs of {size}, {torch.get_num_threads()} threads")
    print(f"| | {peer} | verydeep | times as fast | peak MB: {peer}, verydeep | values: {peer}, verydeep |")
    print("|---|---|---|---|---|---|")
    for kind in (options.kind,) if options.kind else KINDS:
        # bfloat16 is for ours alone to gain from: the reference is timed as people run it, in float32.
        both = [
            steps("peer", options.loss, kind.partition(",")[0], images, target),
            steps("verydeep", options.loss, kind, images, target),
        ]
        values = [step().item() for step in both]
        seconds: list[list[float]] = [[], []]
        for _ in range(options.repeat):
            for step, taken in zip(both, seconds, strict=True):
                start = clock()
                step()
                taken.append(clock() - start)
        theirs, ours = map(statistics.median, seconds)
        ratio = statistics.median(a / b for a, b in zip(*seconds, strict=True))
        peaks = [peak("peer", options.loss, kind.partition(",")[0], options.pairs, options.side)]
        peaks.append(peak("verydeep", options.loss, kind, options.pairs, options.side))
        print(
            f"| {kind} | {theirs:.3f} s | {ours:.3f} s | {ratio:.2f} | {peaks[0]:.0f}, {peaks[1]:.0f} "
            f"| {values[0]:.6g}, {values[1]:.6g} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
