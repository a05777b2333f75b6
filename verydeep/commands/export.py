"""`verydeep export`: a model -> a file or a folder that others read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import Answering, command
from verydeep.errors import UsageError, command_line


@command
class Export(Answering):
    """Write a model in a form that others read.

    onnx: one file, for any number of images of any size, with the score map and the posterior as outputs.
    openvino: the same as OpenVINO's two files. Both are compared with the network at three sizes first.
    hub: a folder with a model card, which every MODEL argument reads and `verydeep push` sends.
    torchvision, timm, keras: what the library loads: .pth or .safetensors, for timm also a folder with
    the preprocessing; .weights.h5 for Keras.
    """

    model: Annotated[Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A run folder, one of its weights, another library's weights, or the name of published ones."""
    to: Literal["onnx", "openvino", "hub", "torchvision", "timm", "keras"] = "onnx"
    """The form."""
    out: Path
    """File to write, or folder to make."""
    pixels: FlagCreatePairsOff[bool] = False
    """onnx, openvino: the file takes pixels of 0 to 255, R, G, B, and preprocesses them itself."""
    results: tuple[Path, ...] = ()
    """hub: tests of the model, as `verydeep evaluate --out` keeps them, whose figures the card tells."""
    licence: str | None = None
    """hub: licence of the weights, as SPDX names it: CC-BY-4.0, say. By default the one that came with them."""
    half: FlagCreatePairsOff[bool] = False
    """hub: write the weights in float16, half as large."""
    name: str | None = None
    """hub: OWNER/NAME that the folder will have on the Hub, for its card."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""

    @classmethod
    def check(cls, arguments: Sequence[str]) -> None:
        """Refuse `export MODEL OUT` too, as it was written before."""
        super().check(arguments)
        model, *rest = arguments or [""]
        if rest and not model.startswith("-") and not rest[0].startswith("-"):
            now = command_line("export", model, "--out", rest[0])
            raise UsageError(f"what is written stands behind --out now: {now}")
