"""`verydeep bench`: our engines beside the other ones that are installed, on this machine."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import Answering, command


@command
class Bench(Answering):
    """Measure how fast and how exact engines are, side by side.

    Each engine lives in a process of its own and they take turns; one that waits is stopped. Others are given
    images that are preprocessed already, ours take bytes. Shown are medians over the rounds, ratios within each
    round, the relative L2 error of the class scores against float64, the process's peak memory from its start, and
    the operations of direct convolution as a share of this machine's fastest matrix product in the same precision.
    """

    model: Annotated[Positional[str | None], tyro.conf.arg(metavar="[MODEL]")] = None
    """A run folder, or weights of one; `cifar10`, which comes along; or another library's, a file or a name.
    Without it a network with random weights."""
    config: str = "D"
    """Without MODEL: column of Table 1."""
    width: float = 1.0
    """Without MODEL: factor on the number of channels of every layer."""
    num_classes: int = 1000
    """Without MODEL: number of classes."""
    window: int = 224
    """Without MODEL: side of the network's window, in pixels; a multiple of 32."""
    batch_norm: FlagCreatePairsOff[bool] = False
    """Without MODEL: batch normalisation after each convolution."""
    batch_sizes: tuple[int, ...] = ()
    """Images shown at once (default: 1)."""
    size: tuple[int, int] | None = None
    """Height and width of the images; by default the network's window."""
    dense: tuple[int, ...] = ()
    """Q, one or several: show whole images, each in its own shape, with its mirror image, as the paper's test
    does. Engines are not told the shapes beforehand."""
    images: Path | None = None
    """Folder of photographs to show; by default scikit-learn's two, or noise where it is not installed."""
    num_images: int = 4
    """How many images of the folder are shown by --dense."""
    engines: tuple[str, ...] = ()
    """Engines to measure (default: verydeep, torch, onnxruntime and openvino, if installed); all is every one."""
    exclude: tuple[str, ...] = ()
    """Engines to leave out."""
    base: str | None = None
    """Engine that ratios are to; by default torch, or else the first that was measured."""
    threads: int | None = None
    """Threads of each engine; by default as many as there are processors."""
    rounds: int = 5
    """Turns of each engine."""
    seconds: float = 0.5
    """A turn lasts so long, and two calls, at least; its first call is not counted."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    chart: Path | None = None
    """Draw a chart into this .png or .svg file."""
    out: Path | None = None
    """Write the table as Markdown into this .md file."""

    renamed: ClassVar = {
        "--pictures": "--images",
        "--num-pictures": "--num-images",
        "--markdown": "--out TABLE.md",
        "--image-size": "--window",
    }

    def execute(self) -> None:
        """Measure and print; SIGTERM leaves no gigabyte of networks behind."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        super().execute()
