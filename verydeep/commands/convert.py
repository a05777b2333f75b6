"""`verydeep convert`: other libraries' weights -> a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import Answering, command

Three = tuple[float, float, float]


@command
class Convert(Answering):
    """Bring other libraries' weights here; `verydeep export` takes a model there.

    SOURCE is a file of torchvision, timm, Keras, Caffe (such as Oxford's), MatConvNet or ONNX, a state dict with
    our names, a folder of the Hub, or a model of ours. Its configuration, width, classes and normalisation are
    seen in its tensors. How images are preprocessed and what classes are called is known for published files;
    tell it for others.
    """

    renamed: ClassVar = {"--configuration": "--config", "--scale": "--train-scale"}

    source: Annotated[Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """Weights: a file, a folder or a name."""
    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder to make."""
    preprocessing: Literal["torchvision", "oxford", "matconvnet", "amdegroot"] | None = None
    """What torchvision and timm do to images; what Oxford's networks take in Caffe and Keras (BGR, less the mean
    alone); what they take in MatConvNet (the same in RGB); what torchvision's IMAGENET1K_FEATURES takes. Or"""
    mean: Three | None = None
    """what is subtracted from R, G and B, in levels of 0 to 255,"""
    deviation: Three | None = None
    """what they are divided by; 1 1 1 if nothing is told,"""
    channels: Literal["RGB", "BGR"] | None = None
    """and the order in which the network takes them."""
    class_names: str | None = None
    """imagenet, numbers, or a file: a line for each class in the order of the scores, with or without its number;
    or JSON, as a list or a map between numbers and names."""
    train_scale: tuple[int, int] | None = None
    """Least and greatest S of its training, whose middle is the scale of tests; 256 if its window is 224."""
    licence: str | None = None
    """Of the weights, to be kept with them."""
    config: str | None = None
    """A-LRN, where it is that: weights do not tell it from A."""
    window: int | None = None
    """Side of the images in training, in pixels, where the weights do not tell: 32, say, or 224. If the network
    averages the last map before its FC layers (AdaptiveAvgPool2d), that is made part of fc6's weights."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    features_only: FlagCreatePairsOff[bool] = False
    """Take the convolutions alone, as features without classes."""
