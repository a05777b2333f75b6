"""`verydeep extract`: model + images -> outputs of layers, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import ReadingMany, command
from verydeep.extraction.summaries import Summary


@command
class Extract(ReadingMany):
    """Keep the outputs of a network's layers for images, for retrieval, clustering or another classifier.

    Images are rescaled so that the smaller side is Q, and shown whole. Any number of them takes the same memory.
    An extraction that was interrupted resumes when the same command is given again, and comes to the same file.
    With --processes, or under torchrun, the images are shared out.
    """

    renamed = {"--scale": "--scales"}

    model: Annotated[Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A run folder, or weights of one; `cifar10`, which is bundled; or another library's, a file or a name."""
    images: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGES")]
    """Images, folders of images, patterns such as 'holiday/*.jpg', or shards."""
    layers: tuple[str, ...]
    """Names such as conv4_3 (before its ReLU), relu4_3 (after it), pool5, fc7, relu7."""
    out: Path
    """File to write: .npz (NumPy), or .parquet."""
    pool: Summary = "mean"
    """What is kept of a layer's output: its mean or max over space, its gram matrix, or, by none, all."""
    scales: tuple[int, ...] = ()
    """Q, the smaller side (default: S, or the middle of its range)."""
    crop: FlagCreatePairsOff[bool] = False
    """Show the middle window of the network alone, so that all images have one shape."""
    pooling: Literal["max", "average"] = "max"
    """Of the network itself: average replaces every max-pooling."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
