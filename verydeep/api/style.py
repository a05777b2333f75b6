"""`verydeep.style`: an image of content + an image of style -> the one in the style of the other."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from verydeep.arguments import checked
from verydeep.errors import check_seed, escaped, require
from verydeep.feature_layers import STYLE
from verydeep.images.encode import png
from verydeep.interrupts import interrupts
from verydeep.notes import progress, say
from verydeep.plan import nodes_to
from verydeep.results import Result
from verydeep.visualization.image_files import check_image_out, check_longer_side, read_pixels, write_image
from verydeep.visualization.memory import check_memory
from verydeep.weights.opening import open_source
from verydeep.weights.source import with_network


@dataclass(frozen=True, repr=False)
class Stylized(Result):
    """An image in the style of another.

    Attributes:
        out: path of the image.
        model: as it was named.
        width: of the image, in pixels.
        height: likewise.
        steps: that were done.
        most_steps: that were to be done.
        stopped: whether it was ended before all of them.
        seconds: that it took.
        before: at the start, the shares of `content` and of `style` that are missing, `variation` and `total`.
        after: likewise, at the end.

    """

    out: Path
    model: str
    width: int
    height: int
    steps: int
    most_steps: int
    stopped: bool
    seconds: float
    before: Mapping[str, float]
    after: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The attributes by their names, but for `most_steps`."""
        facts = {name: value for name, value in vars(self).items() if name != "most_steps"}
        return {**facts, "out": str(self.out), "seconds": round(self.seconds, 3)}

    def _repr_html_(self) -> None:
        """None: a notebook shows the image."""

    def _repr_png_(self) -> bytes | None:
        if not self.out.is_file():  # it has been moved since
            return None
        with Image.open(self.out) as image:
            return png(image)

    def __str__(self) -> str:
        return (
            f"{escaped(self.out)}: {self.width}x{self.height} pixels, {self.steps} steps of {self.most_steps} in "
            f"{self.seconds:.0f} s; missing of the content {self.after['content']:.1%}, of the style "
            f"{self.after['style']:.1%} (at the start {self.before['content']:.1%} and {self.before['style']:.1%})"
        )


@checked
def style(
    model: str | PathLike[str],
    content: str | PathLike[str],
    style: str | PathLike[str],
    *,
    out: str | PathLike[str],
    size: int = 384,
    steps: int = 300,
    content_layers: Sequence[str] = ("relu4_2",),
    style_layers: Sequence[str] = STYLE,
    content_layer_weights: Sequence[float] = (),
    style_layer_weights: Sequence[float] = (),
    content_weight: float = 1.0,
    style_weight: float = 10.0,
    variation_weight: float = 20.0,
    init: str = "content",
    pooling: Literal["average", "max"] = "average",
    seed: int = 0,
    tensors: str | None = None,
    device: str = "auto",
) -> Stylized:
    """Paint the content of one image in the style of another, as Gatys, Ecker and Bethge did.

    The best networks for it are those of ImageNet: torchvision:vgg19, or keras:VGG19, which is the paper's own E.
    Others work, and give what they have learned to see. Ctrl-C or SIGTERM ends it early: the image is written as
    far as it has come. Give it as `init` to resume from there.

    Args:
        model: a run folder or weights in one; a bundled one, `cifar10` or `tiny-imagenet`; or another library's
            weights, a file or a name such as torchvision:vgg16.
        content: image of what is to be seen.
        style: image of how it is to look.
        out: image to write: .png, .jpg, .webp, .bmp or .tif; one that is there is replaced.
        size: longer side of the image that is made, and of the style's, in pixels; smaller ones stay as they are.
        steps: most changes of the image; each step is one pass through the network, forward and back.
        content_layers: layers that are to give what they give for the content.
        style_layers: layers whose Gram matrices are to be those of the style.
        content_layer_weights: weights of the content layers beside each other (default: all the same).
        style_layer_weights: weights of the style layers beside each other (default: all the same).
        content_weight: weight of the share of the content that is missing.
        style_weight: weight of the share of the style that is missing.
        variation_weight: weight of roughness: the mean of (difference across)² + (difference down)² of
            neighbouring pixels.
        init: what to begin with: content, noise, or an image's path.
        pooling: of the network itself: Gatys et al. replace every max-pooling by the average.
        seed: seed of the noise.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        device: where to compute: auto, cpu, cuda or mps.

    Raises:
        UsageError: the request cannot be carried out.
        ModelError: there is no such model.
        ImageError: an image cannot be read.
        VerydeepError: torch is not installed, or the network's outputs are not finite.

    """
    require("torch", "train", "style transfer")
    from verydeep.inference.torch_engine import choose_device
    from verydeep.network.vgg import VGG
    from verydeep.visualization.descent import check_steps, descend
    from verydeep.visualization.objective import Objective, Terms
    from verydeep.visualization.pixels import initial_image, to_pixels, to_tensor

    check_steps(steps)
    check_seed(seed)
    paths = Path(content), Path(style)
    target = check_image_out(out, paths)
    check_longer_side(size)
    terms = Terms(
        content_layers,
        style_layers,
        content_layer_weights or None,
        style_layer_weights or None,
        content_weight,
        style_weight,
        variation_weight,
    )
    chosen = choose_device(device)
    images = [to_tensor(read_pixels(path, size), chosen) for path in paths]
    start = initial_image(init, images[0], seed)
    name = with_network(model, tensors)
    config, weights = open_source(name)
    nodes = nodes_to(config.architecture, list({**terms.content, **terms.style}))
    if chosen.type == "cpu":
        check_memory(nodes, *max((image.shape[2:] for image in images), key=lambda sides: sides[0] * sides[1]))
    network = VGG.holding(config.architecture, weights)
    objective = Objective(
        network, config.preprocessing, terms, content=images[0], style=images[1], pooling=pooling
    )
    began = time.monotonic()
    with progress("painting", steps, "steps") as advance, interrupts() as stopped:
        made = descend(objective, start, steps, advance=advance, stopped=stopped)
        write_image(target, to_pixels(made.image))
    if made.stopped:
        say(f"stopped; the same again with `init={shlex.quote(str(target))}` resumes from there")
    height, width = made.image.shape[2:]
    seconds, before, after = time.monotonic() - began, made.before._asdict(), made.after._asdict()
    return Stylized(target, name, width, height, made.num_steps, steps, made.stopped, seconds, before, after)
