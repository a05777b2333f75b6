"""`verydeep style`: a picture of content + a picture of style -> the one in the style of the other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import json_line
from verydeep.errors import require
from verydeep.interrupts import interrupts
from verydeep.notes import progress, say
from verydeep.plan import nodes_to
from verydeep.weights.opening import open_source
from verydeep.weights.source import with_network

if TYPE_CHECKING:
    from torch import Tensor

    from verydeep.visualization.descent import Outcome
    from verydeep.visualization.objective import Objective, Wanted


@dataclass
class Style:
    """Paint the content of one picture in the style of another, as Gatys, Ecker and Bethge did.

    The best networks for it are those of ImageNet: torchvision:vgg19, or keras:VGG19, which is the paper's own E.
    Others work, and give what they have learnt to see. Ctrl-C or SIGTERM ends it early: the picture is written as
    far as it has come. --init OUT --overwrite goes on from there.
    """

    content: Annotated[Positional[Path], tyro.conf.arg(metavar="CONTENT")]
    """The picture of what is to be seen."""
    style: Annotated[Positional[Path], tyro.conf.arg(metavar="STYLE")]
    """The picture of how it is to look."""
    out: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The picture to write: .png, .jpg, .webp, .bmp or .tif."""
    model: str
    """A run folder, or weights of one; `cifar10`, which comes along; or another library's, a file or a name."""
    size: int = 384
    """Longer side of the picture that is made, and of the style's; smaller ones stay as they are."""
    steps: int = 300
    """How often the picture is changed; each step is one pass through the network, forward and back."""
    content_layers: tuple[str, ...] = ("relu4_2",)
    """Layers that are to give what they give for CONTENT."""
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    """Layers whose Gram matrices are to be those of STYLE."""
    content_layer_weights: tuple[float, ...] = ()
    """Of the content layers beside each other; all the same by default."""
    style_layer_weights: tuple[float, ...] = ()
    """Of the style layers beside each other; all the same by default."""
    content_weight: float = 1.0
    """Of the share of the content that is missing."""
    style_weight: float = 10.0
    """Of the share of the style that is missing."""
    variation_weight: float = 20.0
    """Of roughness: the mean squared difference of neighbouring pixels."""
    start: str = "content"
    """What to begin with: content, noise, or a picture's path."""
    pooling: Literal["average", "max"] = "average"
    """Of the network: Gatys et al. replace every max-pooling by the average."""
    seed: int = 0
    """Of the noise."""
    overwrite: FlagCreatePairsOff[bool] = False
    """Replace OUT if it is there."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""

    def __post_init__(self) -> None:
        self.model = with_network(self.model, self.tensors)

    def run(self) -> None:
        """Paint, write, and say how near it came."""
        require("torch", "train", "style transfer")
        from verydeep.visualization.descent import check_steps, descend
        from verydeep.visualization.pixels import to_pixels
        from verydeep.visualization.style import check_picture_out, write_picture

        check_steps(self.steps)
        check_picture_out(self.out, (self.content, self.style), overwrite=self.overwrite)
        objective, start = self._prepare()
        began = time.monotonic()
        with progress("painting", self.steps, "steps") as advance, interrupts() as stopped:
            outcome = descend(objective, start, self.steps, advance=advance, stopped=stopped)
            write_picture(self.out, to_pixels(outcome.picture))
        self._print(outcome, time.monotonic() - began)

    def _prepare(self) -> tuple[Objective, Tensor]:
        """Read the pictures and the model; what cannot be used is said before the first step."""
        from verydeep.inference.torch_engine import choose_device
        from verydeep.network.vgg import VGG
        from verydeep.visualization.memory import check_memory
        from verydeep.visualization.objective import Objective
        from verydeep.visualization.pixels import to_tensor
        from verydeep.visualization.shown import check_size_option, read_pixels
        from verydeep.visualization.style import start_picture

        check_size_option(self.size)
        wanted, device = self._wanted(), choose_device(self.device)
        content, style = (to_tensor(read_pixels(path, self.size), device) for path in (self.content, self.style))
        start = start_picture(self.start, content, self.seed)
        config, tensors = open_source(self.model)
        path = nodes_to(config.architecture, list({**wanted.content, **wanted.style}))
        if device.type == "cpu":
            check_memory(path, *max(content.shape[2:], style.shape[2:], key=lambda sides: sides[0] * sides[1]))
        objective = Objective(
            VGG.holding(config.architecture, tensors),
            config.preprocessing,
            wanted,
            content=content,
            style=style,
            pooling=self.pooling,
        )
        return objective, start

    def _wanted(self) -> Wanted:
        from verydeep.visualization.objective import Wanted

        return Wanted(
            self.content_layers,
            self.style_layers,
            self.content_layer_weights or None,
            self.style_layer_weights or None,
            self.content_weight,
            self.style_weight,
            self.variation_weight,
        )

    def _print(self, outcome: Outcome, seconds: float) -> None:
        height, width = outcome.picture.shape[2:]
        if outcome.stopped:
            say(f"stopped; `--init {self.out} --overwrite` goes on from there")
        if self.json:
            print(json_line(self._facts(outcome, seconds)))
            return
        print(
            f"{self.out}: {width}x{height} pixels, {outcome.num_steps} steps of {self.steps} in {seconds:.0f} s; "
            f"missing of the content {outcome.after.content:.1%}, of the style {outcome.after.style:.1%} "
            f"(at the start {outcome.before.content:.1%} and {outcome.before.style:.1%})"
        )

    def _facts(self, outcome: Outcome, seconds: float) -> dict[str, Any]:
        height, width = outcome.picture.shape[2:]
        return {
            "out": str(self.out),
            "model": self.model,
            "width": width,
            "height": height,
            "steps": outcome.num_steps,
            "stopped": outcome.stopped,
            "seconds": round(seconds, 3),
            "before": outcome.before._asdict(),
            "after": outcome.after._asdict(),
        }
