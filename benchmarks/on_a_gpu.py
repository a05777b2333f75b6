"""What one GPU does: training steps, inference, LPIPS, the dense test; and how near it is to the CPU's float32.

    python benchmarks/on_a_gpu.py [--seconds 330] [--out FOLDER] [--device cuda] [--small]

Ours and its peers (torchvision's network, the `lpips` package) take turns in one process, each ready and warm.
Speeds are medians of the turns; ratios are to the fastest of the peers, taken in each turn. Memory is the most
that PyTorch took for a variant, with its weights. float32 turns TF32 off; TF32 turns it on for convolutions and
products; bfloat16 is autocast. Images are handed over as bytes and moved to the GPU within the measured time,
except for LPIPS. A variant that fails has the reason in its row, and the others go on.

--seconds bounds the end: a task is left out and listed where less time is left than the longest one of its section
took. So the most important comes first.

Writes FOLDER/on_a_gpu.json and FOLDER/on_a_gpu.md. --small has tiny networks, for a test on a CPU.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from training_step import Case, Ours, Torchs, step_of, torchvision_network

from verydeep.configurations import Architecture
from verydeep.errors import printable
from verydeep.evaluation.protocols import Dense
from verydeep.files import write_json, write_text
from verydeep.images.color import Preprocessing
from verydeep.inference.torch_engine import TorchEngine
from verydeep.model import Model
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG
from verydeep.perceptual import LPIPS
from verydeep.run_folder import ModelConfig, TrainedOn
from verydeep.run_folder.origin import processor_name

PRECISIONS = ("float32", "TF32", "bfloat16")
PREPROCESSING = Preprocessing(deviation=(58.0,) * 3)
WARM = 2  # calls before any is measured; the first one compiles
MOST_LETTERS = 160  # of an error, in the row of the variant that failed
Step = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    section: str
    task: str
    precision: str
    variant: str
    images_per_second: float | None = None
    ratio: float | None = None
    megabytes: float | None = None
    error: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Task:
    """Variants of one computation, side by side.

    Attributes:
        section: of the table.
        name: what is computed.
        precision: one of `PRECISIONS`.
        images: in one call.
        variants: by name; each makes a call that is ready to be measured. Names of ours begin with `verydeep`.

    """

    section: str
    name: str
    precision: str
    images: int
    variants: dict[str, Callable[[], Step]] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.section}, {self.name}, {self.precision}"


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    width: float = 1.0
    side: int = 224
    batches: tuple[int, ...] = (64, 256, 32, 128)
    pairs: int = 32
    scale: int = 256
    dense_images: int = 64
    turns: int = 5
    turn_seconds: float = 0.3  # of at least one call


SMALL = Sizes(1 / 16, 32, (2, 3), 1, 64, 2, 1, 0.0)


class Gpu:
    """The device, its clock and its memory; on a CPU no memory is told."""

    def __init__(self, name: str) -> None:
        self.device = torch.device(name)
        self.is_cuda = self.device.type == "cuda"

    def wait(self) -> None:
        """Until everything that was asked for is computed."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, step: Step, calls: int) -> float:
        """Of one call, the mean of several."""
        self.wait()
        start = time.perf_counter()
        for _ in range(calls):
            step()
        self.wait()
        return (time.perf_counter() - start) / calls

    def made(self, make: Callable[[], Step]) -> tuple[Step, float | None]:
        """A call, warm, and the memory that it took beyond what was taken before."""
        if not self.is_cuda:
            step = make()
            self.seconds(step, WARM)
            return step, None
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        step = make()
        self.seconds(step, WARM)
        return step, (torch.cuda.max_memory_allocated(self.device) - before) / 1e6

    def free(self) -> None:
        """Give back what nothing holds any more."""
        gc.collect()
        if self.is_cuda:
            torch.cuda.empty_cache()


def measured(task: Task, gpu: Gpu, sizes: Sizes) -> Iterator[Row]:
    """Rows of a task's variants, which take turns; one that fails has the reason in its row."""
    use_tf32(task.precision == "TF32")
    row = partial(Row, task.section, task.name, task.precision)
    steps: dict[str, Step] = {}
    megabytes: dict[str, float | None] = {}
    calls: dict[str, int] = {}
    taken: dict[str, list[float]] = {name: [] for name in task.variants}
    notes: dict[str, str] = {}

    def make(name: str) -> None:
        steps[name], megabytes[name] = gpu.made(task.variants[name])

    def count(name: str) -> None:
        calls[name] = max(1, round(sizes.turn_seconds / gpu.seconds(steps[name], 1)))

    def measure(name: str) -> None:
        taken[name].append(gpu.seconds(steps[name], calls[name]))

    def attempt(act: Callable[[str], None], name: str) -> None:
        try:
            act(name)
        except Exception as error:  # of memory, a compiler, a driver: the others may still work
            first = str(error).strip().partition("\n")[0]
            notes[name] = printable(first, MOST_LETTERS) or type(error).__name__
        if name in notes:  # not above: the error's traceback holds what the variant made
            steps.pop(name, None)
            gpu.free()

    for name in task.variants:
        attempt(make, name)
    for name in list(steps):
        attempt(count, name)
    for turn in range(sizes.turns):
        for name in list(steps)[:: 1 if turn % 2 == 0 else -1]:
            attempt(measure, name)
    peers = [name for name in steps if not name.startswith("verydeep")]
    best = min(peers, key=lambda name: statistics.median(taken[name]), default=None)
    for name in task.variants:
        if name in notes:
            yield row(name, note=notes[name])
            continue
        ratio = None
        if best is not None:
            ratio = statistics.median(a / b for a, b in zip(taken[best], taken[name], strict=True))
        yield row(name, task.images / statistics.median(taken[name]), ratio, megabytes[name])


def use_tf32(on: bool) -> None:
    """Let float32 products and convolutions be computed in TF32, or not."""
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def training(configuration: str, batch_size: int, precision: str, sizes: Sizes, gpu: Gpu, compiled: bool) -> Task:
    """A step of `verydeep train` beside torchvision's network with the fused optimizer."""
    case = Case(Architecture(configuration, 1000, sizes.width, sizes.side), batch_size)
    low = precision == "bfloat16"
    ours = {"verydeep": Ours("torch", "bfloat16" if low else "float32")}
    peers = {"torchvision": Torchs(False, low, False), "torchvision, channels last": Torchs(True, low, False)}
    if compiled:
        ours["verydeep, compiled"] = Ours("torch", "bfloat16" if low else "float32", True)
        peers["torchvision, channels last, compiled"] = Torchs(True, low, True)
    makers = {name: partial(step_of, case, variant, gpu.device) for name, variant in {**ours, **peers}.items()}
    return Task("training", f"{configuration}, batch {batch_size}", precision, batch_size, makers)


def inference(configuration: str, batch_size: int, precision: str, sizes: Sizes, gpu: Gpu) -> Task:
    """Class scores of a batch, beside torchvision's network."""
    architecture = Architecture(configuration, 1000, sizes.width, sizes.side)
    images = random_images(batch_size, sizes.side, sizes.side)

    def ours(compiled: bool) -> Step:
        engine = engine_on(gpu.device, architecture, precision)
        if compiled:
            engine.network.run = torch.compile(engine.network.run)  # type: ignore[method-assign]
        return lambda: engine.run(images, ("fc8",))

    def theirs(channels_last: bool, compiled: bool) -> Step:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network = torchvision_network(architecture, 0.5).eval().to(gpu.device, memory_format=layout)
        forward = torch.compile(network) if compiled else network
        mean = torch.tensor(PREPROCESSING.mean, device=gpu.device)[:, None, None]

        @torch.inference_mode()
        def step() -> object:
            pixels = torch.from_numpy(images).to(gpu.device).permute(0, 3, 1, 2).float()
            pixels = pixels.contiguous(memory_format=layout)
            with torch.autocast(gpu.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                return forward((pixels - mean) / 58.0).float().cpu().numpy()

        return step

    variants: dict[str, Callable[[], Step]] = {
        "verydeep": partial(ours, False),
        "torchvision": partial(theirs, False, False),
        "torchvision, channels last": partial(theirs, True, False),
    }
    if gpu.is_cuda:  # on a CPU torch compiles for minutes
        variants["verydeep, compiled"] = partial(ours, True)
        variants["torchvision, channels last, compiled"] = partial(theirs, True, True)
    return Task("inference", f"{configuration}, batch {batch_size}", precision, batch_size, variants)


def lpips_with_gradients(precision: str, sizes: Sizes, gpu: Gpu) -> Task:
    """LPIPS and its gradient to one image of each pair, beside the package where it is installed."""
    first, second = (tensor.to(gpu.device) for tensor in random_pairs(sizes.pairs, sizes.side))

    def step_of_loss(loss: Callable[[Tensor, Tensor], Tensor]) -> Step:
        def step() -> object:
            given = first.clone().requires_grad_()
            with torch.autocast(gpu.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                value = loss(given, second).sum()
            value.backward()
            return given.grad

        return step

    def ours() -> Step:
        return step_of_loss(LPIPS(features_network(), preprocessing=IMAGENET, range=(0, 1)).to(gpu.device))

    def theirs() -> Step:
        from perceptual import reference_of
        from torchvision_peer import networks

        network = reference_of(networks("D", batch_norm=False, width=1.0, with_fc=False)[0]).to(gpu.device)
        return step_of_loss(lambda a, b: network(a, b, normalize=True))

    variants: dict[str, Callable[[], Step]] = {"verydeep": ours}
    if has_lpips():
        variants["lpips"] = theirs
    name = f"{sizes.pairs} pairs, forward and backward"
    return Task("LPIPS", name, precision, sizes.pairs, variants)


IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def has_lpips() -> bool:
    """Whether the package is installed, with what it imports."""
    try:
        import lpips  # noqa: F401
        import sklearn  # noqa: F401  # of `perceptual`, which holds the package's loss
    except ImportError:
        return False
    return True


def dense(scales: tuple[int, ...], precision: str, sizes: Sizes, gpu: Gpu) -> Task:
    """The paper's dense test of whole images at one scale or several, mirrored too."""
    images = random_images(sizes.dense_images, sizes.scale, sizes.scale * 4 // 3)

    def ours() -> Step:
        architecture = Architecture("D", 1000, sizes.width, sizes.side)
        model = Model(engine_on(gpu.device, architecture, precision), "D")
        return lambda: model.posterior(images, Dense(scales))

    name = f"D, Q = {', '.join(map(str, scales))}"
    return Task("dense test", name, precision, sizes.dense_images, {"verydeep": ours})


def agreement(sizes: Sizes, gpu: Gpu) -> Iterator[Row]:
    """Relative L2 error to the CPU's float32: of class scores, and of LPIPS' gradient."""
    architecture = Architecture("D", 1000, sizes.width, sizes.side)
    images = random_images(4, sizes.side, sizes.side)
    cpu = torch.device("cpu")
    exact = engine_on(cpu, architecture, "float32").run(images, ("fc8",))["fc8"]
    pairs = random_pairs(min(2, sizes.pairs), sizes.side)
    slope = lpips_gradient(pairs, cpu, "float32")
    for precision in PRECISIONS:
        use_tf32(precision == "TF32")
        scores = engine_on(gpu.device, architecture, precision).run(images, ("fc8",))["fc8"]
        row = partial(Row, "agreement", precision=precision, variant="verydeep")
        yield row("D, class scores", error=apart(scores, exact))
        yield row("LPIPS, gradient to an image", error=apart(lpips_gradient(pairs, gpu.device, precision), slope))


def lpips_gradient(pairs: tuple[Tensor, Tensor], device: torch.device, precision: str) -> np.ndarray:
    """Of the sum of distances, to the first images."""
    loss = LPIPS(features_network(), preprocessing=IMAGENET, range=(0, 1), engine="torch").to(device)
    first, second = (tensor.to(device) for tensor in pairs)
    first.requires_grad_()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        value = loss(first, second).sum()
    return torch.autograd.grad(value, first)[0].cpu().numpy()


def apart(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def random_images(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def random_pairs(count: int, side: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(count, 3, side, side, generator=generator)
    return first, (first + 0.1 * torch.randn(first.shape, generator=generator)).clamp(0, 1)


def features_network() -> VGG:
    """The five stages of D at full width, as LPIPS needs them."""
    network = VGG(Architecture("D", num_classes=0)).eval()
    initialize(network, "he", 0)
    return network.requires_grad_(False)


def engine_on(device: torch.device, architecture: Architecture, precision: str) -> TorchEngine:
    network: nn.Module = copy.deepcopy(initialized(architecture))
    names = tuple(map(str, range(architecture.num_classes)))
    config = ModelConfig(architecture, PREPROCESSING, names, TrainedOn((architecture.window + 32,) * 2))
    return TorchEngine(network, config, device, "bfloat16" if precision == "bfloat16" else "float32")


INITIALIZED: dict[Architecture, VGG] = {}


def initialized(architecture: Architecture) -> VGG:
    """A network with weights; drawing 138 million of them takes seconds, so they are kept."""
    if architecture not in INITIALIZED:
        INITIALIZED.clear()
        INITIALIZED[architecture] = VGG(architecture, engine="torch").eval()
        initialize(INITIALIZED[architecture], "he", 0)
    return INITIALIZED[architecture]


def tasks(sizes: Sizes, gpu: Gpu) -> Iterator[Task]:
    """All that is measured, the most important first."""
    usual, large, *others = sizes.batches
    for precision in PRECISIONS:
        yield training("D", usual, precision, sizes, gpu, compiled=gpu.is_cuda and precision != "float32")
    for precision in PRECISIONS[::-1]:
        yield inference("D", usual, precision, sizes, gpu)
        yield lpips_with_gradients(precision, sizes, gpu)
        yield dense((sizes.scale,), precision, sizes, gpu)
    for precision in PRECISIONS[::-1]:
        for batch_size in (large, *others):
            yield training("D", batch_size, precision, sizes, gpu, compiled=False)
    for precision in PRECISIONS[::-1]:
        for batch_size in (usual, large, *others):
            yield training("E", batch_size, precision, sizes, gpu, compiled=False)
    yield dense((sizes.scale - 32, sizes.scale, sizes.scale + 32), "bfloat16", sizes, gpu)
    yield inference("E", usual, "bfloat16", sizes, gpu)
    yield training("D", usual, "float32", sizes, gpu, compiled=gpu.is_cuda)


def as_markdown(facts: dict[str, object], rows: list[Row], left_out: list[str]) -> str:
    """The table of one run."""
    lines = [f"{', '.join(f'{name} {value}' for name, value in facts.items())}.", ""]
    lines += ["| section | task | precision | variant | images/s | ratio | peak memory | error to the CPU |"]
    lines += ["|---|---|---|---|--:|--:|--:|--:|"]
    for row in rows:
        speed = row.note.replace("|", "\\|") if row.images_per_second is None else f"{row.images_per_second:,.1f}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        memory = "" if row.megabytes is None else f"{row.megabytes:,.0f} MB"
        error = "" if row.error is None else f"{row.error:.1e}"
        cells = (row.section, row.task, row.precision, row.variant, speed, ratio, memory, error)
        lines.append(f"| {' | '.join(cells)} |")
    if left_out:
        lines += ["", f"Left out for lack of time: {'; '.join(left_out)}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=330)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    gpu, sizes = Gpu(options.device), SMALL if options.small else Sizes()
    name = torch.cuda.get_device_name(gpu.device) if gpu.is_cuda else "no GPU"
    facts = {"device": name, "PyTorch": torch.__version__, "processor": processor_name()}
    print(", ".join(map(str, facts.values())), flush=True)
    rows: list[Row] = []
    left_out: list[str] = []

    def write() -> None:
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            found = {**facts, "rows": [asdict(row) for row in rows], "left_out": left_out}
            write_json(options.out / "on_a_gpu.json", found)
            write_text(options.out / "on_a_gpu.md", as_markdown(facts, rows, left_out))

    def keep(several: Iterator[Row]) -> None:
        for row in several:
            rows.append(row)
            told = {name: value for name, value in asdict(row).items() if value not in (None, "")}
            print(json.dumps(told), flush=True)
        write()  # now, as the machine may not be there for long
        torch.compiler.reset()
        gpu.free()

    keep(agreement(sizes, gpu))
    longest: dict[str, float] = {}  # seconds of a task, by its section
    for task in tasks(sizes, gpu):
        start, known = time.monotonic(), longest.get(task.section, 0.0)
        if end - start < known:
            left_out.append(str(task))
        else:
            keep(measured(task, gpu, sizes))
            longest[task.section] = max(known, time.monotonic() - start)
    write()
    if left_out:
        print(f"left out for lack of time: {'; '.join(left_out)}")


if __name__ == "__main__":
    main()
