"""`verydeep visualize`: model + picture -> a page of what each layer sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.accounting import account
from verydeep.commands.command import json_line
from verydeep.errors import UsageError, require
from verydeep.files import check_out, write_whole
from verydeep.interrupts import interrupts
from verydeep.notes import progress, say
from verydeep.plan import check_size, nodes_to
from verydeep.run_folder import ModelConfig
from verydeep.visualization.maps import LAYERS, LayerMaps, layer_maps
from verydeep.weights.opening import open_source
from verydeep.weights.source import with_network

if TYPE_CHECKING:
    from verydeep.images.views import Pixels
    from verydeep.visualization.page import Inverted, Sight

LARGEST_DEFAULT = 192  # a longer side that one can wait for on a processor
Tensors = Mapping[str, NDArray[Any]]


@dataclass
class Visualize:
    """Make a page of what each layer of a network sees in a picture.

    It shows the first layer's filters, the strongest channels of each layer, and, for each layer, a picture found
    from noise for which the layer gives the same: what it has kept of the picture. Ctrl-C or SIGTERM ends the
    search early: the page is made of what there is.
    """

    model: Annotated[Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A run folder, or weights of one; `cifar10`, which comes along; or another library's, a file or a name."""
    picture: Annotated[Positional[Path], tyro.conf.arg(metavar="PICTURE")]
    """The picture to look at."""
    page: Path = Path("look.html")
    """HTML page to write."""
    layers: tuple[str, ...] = LAYERS
    """Layers to show, such as conv4_3, relu4_3, pool5, fc7."""
    channels: int = 8
    """Strongest channels to show of each layer."""
    steps: int = 60
    """Of the search for each layer's picture, each a pass forward and back; 0 leaves it out and needs no torch."""
    size: int | None = None
    """Longer side of the picture; by default one and a half times the scale of the model's tests, 192 at most."""
    seed: int = 0
    """Of the noise that the search begins with."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""

    def __post_init__(self) -> None:
        self.model = with_network(self.model, self.tensors)

    def run(self) -> None:
        """Look, write the page, and say what it shows."""
        require("jinja2", "report", "making a page")
        self._check()
        config, tensors = open_source(self.model)
        pixels = self._pixels(config)
        seen = self._maps(config, tensors, pixels)
        inversions = self._inversions(config, tensors, pixels) if self.steps else {}
        sight = self._sight(config, tensors, pixels, seen, inversions)
        self._write(sight)

    def _check(self) -> None:
        from verydeep.visualization.shown import check_size_option

        if self.page.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"--page {self.page} has to end with .html")
        check_out(self.page)
        if self.channels < 1:
            raise UsageError(f"--channels is {self.channels}; show at least 1")
        if self.size is not None:
            check_size_option(self.size)
        if self.steps:
            require("torch", "train", "finding what a layer has kept (--steps 0 leaves it out)")
            from verydeep.visualization.descent import check_steps

            check_steps(self.steps)

    def _pixels(self, config: ModelConfig) -> Pixels:
        """Read the picture, and make sure that it reaches the deepest layer and fits in memory."""
        from verydeep.visualization.memory import check_memory
        from verydeep.visualization.shown import read_pixels

        path = nodes_to(config.architecture, self.layers)
        size = self.size or min(LARGEST_DEFAULT, round(1.5 * config.trained_on.test_scale))
        pixels = read_pixels(self.picture, size, enlarge=True)
        check_size(config.architecture, path, *pixels.shape[:2])
        check_memory(path, *pixels.shape[:2])
        return pixels

    def _maps(self, config: ModelConfig, tensors: Tensors, pixels: Pixels) -> list[LayerMaps]:
        from verydeep.evaluation.posterior import check_finite
        from verydeep.inference import engine_of

        engine = engine_of(config, tensors, self.layers, device=self.device)
        maps = engine.run(pixels[None], self.layers)
        for name in self.layers:
            check_finite(maps[name], f"the network's features of {name}")
        fields = {row.name: row.receptive_field for row in account(config.architecture)}
        layer_of = {node.name: node.layer.name for node in engine.nodes}
        return [layer_maps(name, maps[name][0], fields[layer_of[name]], self.channels) for name in self.layers]

    def _inversions(self, config: ModelConfig, tensors: Tensors, pixels: Pixels) -> dict[str, Inverted]:
        from verydeep.inference.torch_engine import choose_device
        from verydeep.network.vgg import VGG
        from verydeep.visualization.inversion import invert
        from verydeep.visualization.page import Inverted
        from verydeep.visualization.pixels import to_pixels, to_tensor

        network = VGG.holding(config.architecture, tensors)
        picture = to_tensor(pixels, choose_device(self.device))
        found: dict[str, Inverted] = {}
        total = self.steps * len(self.layers)
        with progress("inverting", total, "steps") as advance, interrupts() as stopped:
            for layer in self.layers:
                if stopped():
                    say(f"stopped before {layer}; the page has what there is")
                    break
                outcome = invert(
                    network,
                    config.preprocessing,
                    layer,
                    picture,
                    num_steps=self.steps,
                    seed=self.seed,
                    advance=advance,
                    stopped=stopped,
                )
                found[layer] = Inverted(to_pixels(outcome.picture), outcome.after.content, outcome.num_steps)
        return found

    def _sight(
        self,
        config: ModelConfig,
        tensors: Tensors,
        pixels: Pixels,
        seen: Sequence[LayerMaps],
        inversions: dict[str, Inverted],
    ) -> Sight:
        from verydeep.visualization.page import Sight

        filters = np.asarray(tensors["conv1_1.weight"], np.float32)
        return Sight(
            self.model, self.picture.name, config, pixels, filters, seen, inversions, self._command(pixels)
        )

    def _command(self, pixels: Pixels) -> list[str]:
        """The command that makes the page again, whatever the defaults will be then."""
        numbers = {
            "channels": self.channels,
            "steps": self.steps,
            "size": max(pixels.shape[:2]),
            "seed": self.seed,
        }
        options = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
        words = ["verydeep", "visualize", self.model, str(self.picture), "--page", str(self.page)]
        return [*words, "--layers", *self.layers, *options]

    def _write(self, sight: Sight) -> None:
        from verydeep.visualization.page import render

        html = render(sight)
        write_whole(self.page, lambda aside: aside.write_text(html, encoding="utf-8"))
        if self.json:
            print(json_line(self._facts(sight)))
            return
        for layer in sight.layers:
            channels = " ".join(str(channel.number) for channel in layer.strongest[:5])
            inverted = sight.inversions.get(layer.layer)
            missing = f"; {inverted.missing:.1%} missing after {inverted.num_steps} steps" if inverted else ""
            print(f"{layer.layer}: strongest channels {channels}{missing}")
        print(f"{self.page}: {self.page.stat().st_size / 1e6:.1f} MB")

    def _facts(self, sight: Sight) -> dict[str, Any]:
        height, width = sight.pixels.shape[:2]
        return {
            "page": str(self.page),
            "model": self.model,
            "picture": str(self.picture),
            "width": width,
            "height": height,
            "layers": [_layer_facts(layer, sight.inversions.get(layer.layer)) for layer in sight.layers],
        }


def _layer_facts(layer: LayerMaps, inverted: Inverted | None) -> dict[str, Any]:
    return {
        "layer": layer.layer,
        "shape": list(layer.shape),
        "sees": layer.field,
        "silent": layer.num_silent,
        "strongest": [{"channel": c.number, "strength": c.strength} for c in layer.strongest],
        "missing": inverted.missing if inverted else None,
        "steps": inverted.num_steps if inverted else 0,
    }
