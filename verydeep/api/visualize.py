"""`verydeep.visualize`: model + image -> a page of what each layer sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.arguments import checked
from verydeep.errors import check_least, check_seed, require
from verydeep.files import write_text
from verydeep.images.views import Pixels
from verydeep.inference import EngineName, PrecisionName, engine_of
from verydeep.interrupts import interrupts
from verydeep.notes import progress, say
from verydeep.plan import check_size, nodes_to
from verydeep.reports.templates import check_page
from verydeep.run_folder import ModelConfig
from verydeep.run_folder.origin import call_now, recorded
from verydeep.visualization.image_files import check_longer_side, read_pixels
from verydeep.visualization.maps import LAYERS, strongest_channels
from verydeep.visualization.memory import check_memory
from verydeep.visualization.page import Inversion, Visualization, render
from verydeep.weights.opening import open_source
from verydeep.weights.source import with_network

LARGEST_DEFAULT = 192  # a longer side that one can wait for on a processor
PAGE = Path("visualize.html")


@recorded
@checked
def visualize(
    model: str | PathLike[str],
    image: str | PathLike[str],
    *,
    page: str | PathLike[str] = PAGE,
    layers: Sequence[str] = LAYERS,
    channels: int = 8,
    steps: int = 60,
    size: int | None = None,
    seed: int = 0,
    tensors: str | None = None,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Visualization:
    """Make a page of what each layer of a network sees in an image.

    It shows the first layer's filters and the strongest channels of each layer. For each layer it shows an image
    found from noise for which the layer gives the same: what it has kept of the image. torch searches for it.
    Ctrl-C or SIGTERM ends the search early: the page is made of what there is.

    Args:
        model: a run folder or weights in one; a bundled one, `cifar10` or `tiny-imagenet`; or another library's
            weights, a file or a name such as torchvision:vgg16.
        image: image to look at.
        page: HTML page to write.
        layers: layers to show, such as conv4_3, relu4_3, pool5, fc7.
        channels: number of strongest channels to show of each layer.
        steps: steps of the search for each layer's image, each a pass forward and back; 0 leaves it out and needs
            no torch.
        size: longer side of the image (default: one and a half times the scale of the model's tests, 192 at most).
        seed: seed of the noise that the search begins with.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        device: where to compute: auto, cpu, cuda or mps.
        threads: CPU threads of each process (default: one for each core that it may use).

    Raises:
        UsageError: the request cannot be carried out.
        ModelError: there is no such model.
        ImageError: the image cannot be read.
        VerydeepError: what it takes is not installed.

    """
    require("jinja2", "report", "making a page")
    file = check_page(page) or PAGE
    _check(channels, steps, size)
    check_seed(seed)
    name, path = with_network(model, tensors), Path(image)
    config, weights = open_source(name)
    pixels = _pixels(config, path, layers, size)
    if steps:
        _check_descent(config, layers, pixels, device)
    opened = engine_of(config, weights, layers, engine=engine, precision=precision, device=device, threads=threads)
    maps = strongest_channels(opened, pixels, layers, channels)
    inversions = _inversions(config, weights, pixels, layers, steps, seed, device) if steps else {}
    filters = np.asarray(weights["conv1_1.weight"], np.float32)
    shown = Visualization(file, name, path, config, pixels, filters, maps, inversions)
    write_text(file, render(shown, call_now()))
    return shown


def _check(channels: int, steps: int, size: int | None) -> None:
    check_least("channels", channels, 1)
    if size is not None:
        check_longer_side(size)
    if steps:
        require("torch", "train", "finding what a layer has kept (`steps=0` leaves it out)")
        from verydeep.visualization.descent import check_steps

        check_steps(steps, least=0)


def _pixels(config: ModelConfig, image: Path, layers: Sequence[str], size: int | None) -> Pixels:
    """Read the image, and make sure that it reaches the deepest layer, and that the layers fit in memory."""
    nodes = nodes_to(config.architecture, layers)
    longer_side = size or min(LARGEST_DEFAULT, round(1.5 * config.trained_on.test_scale))
    pixels = read_pixels(image, longer_side, enlarge=True)
    height, width = pixels.shape[:2]
    check_size(config.architecture, nodes, height, width)
    check_memory(nodes, height, width, layers=layers)
    return pixels


def _check_descent(config: ModelConfig, layers: Sequence[str], pixels: Pixels, device: str) -> None:
    """Make sure that the search for an image fits in the memory of this machine, if that is where it runs."""
    from verydeep.inference.torch_engine import choose_device

    if choose_device(device).type == "cpu":
        check_memory(nodes_to(config.architecture, layers), *pixels.shape[:2])


def _inversions(
    config: ModelConfig,
    weights: Mapping[str, NDArray[Any]],
    pixels: Pixels,
    layers: Sequence[str],
    steps: int,
    seed: int,
    device: str,
) -> dict[str, Inversion]:
    from verydeep.inference.torch_engine import choose_device
    from verydeep.network.vgg import VGG
    from verydeep.visualization.descent import invert
    from verydeep.visualization.pixels import to_pixels, to_tensor

    network = VGG.holding(config.architecture, weights)
    image = to_tensor(pixels, choose_device(device))
    found: dict[str, Inversion] = {}
    with progress("inverting", steps * len(layers), "steps") as advance, interrupts() as stopped:
        for layer in layers:
            if stopped():
                say(f"stopped before {layer}; the page has what there is")
                break
            made = invert(
                network,
                config.preprocessing,
                layer,
                image,
                num_steps=steps,
                seed=seed,
                advance=advance,
                stopped=stopped,
            )
            found[layer] = Inversion(to_pixels(made.image), made.after.content, made.num_steps)
    return found
