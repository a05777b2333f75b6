"""`verydeep style`: an image of content + an image of style -> the one in the style of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro
from tyro.conf import Positional

from verydeep.commands.command import Answering, command


@command
class Style(Answering):
    """Paint the content of one image in the style of another, as Gatys, Ecker and Bethge did.

    The best networks for it are those of ImageNet: torchvision:vgg19, or keras:VGG19, which is the paper's own E.
    Others work, and give what they have learnt to see. Ctrl-C or SIGTERM ends it early: the image is written as
    far as it has come. --init IMAGE resumes from there.
    """

    model: Annotated[Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A run folder, or weights of one; `cifar10`, which is bundled; or another library's, a file or a name."""
    content: Annotated[Positional[Path], tyro.conf.arg(metavar="CONTENT")]
    """The image of what is to be seen."""
    style: Annotated[Positional[Path], tyro.conf.arg(metavar="STYLE")]
    """The image of how it is to look."""
    out: Path
    """The image to write: .png, .jpg, .webp, .bmp or .tif."""
    size: int = 384
    """Longer side of the image that is made, and of the style's; smaller ones stay as they are."""
    steps: int = 300
    """How often the image is changed; each step is one pass through the network, forward and back."""
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
    init: str = "content"
    """What to begin with: content, noise, or an image's path."""
    pooling: Literal["average", "max"] = "average"
    """Of the network: Gatys et al. replace every max-pooling by the average."""
    seed: int = 0
    """Of the noise."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda or mps."""

    renamed: ClassVar = {
        "--start": "--init",
        "--model": "the model stands first now: `verydeep style MODEL CONTENT STYLE --out IMAGE`",
        "--overwrite": "an image that is there is replaced now",
    }
