"""`verydeep inspect`: a file of weights -> what it is."""

from __future__ import annotations

from typing import Annotated

import tyro
from tyro.conf import Positional

from verydeep.commands.command import Answering, command


@command
class Inspect(Answering):
    """Tell what a file of weights is: configuration, classes, preprocessing, licence, where it is known from.

    It takes files of torchvision, timm, Keras, Caffe and MatConvNet, folders of the Hub, models of ours, and ONNX
    graphs.
    """

    source: Annotated[Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """Weights: a file, a folder or a name."""
    tensors: str | None = None
    """Which network to look at in a checkpoint that holds several: state_dict_ema, say."""
