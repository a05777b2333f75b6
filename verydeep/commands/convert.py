"""`verydeep convert`: other libraries' weights -> a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.accounting import num_parameters
from verydeep.configurations import Architecture, configuration
from verydeep.errors import ModelError, UsageError
from verydeep.images.color import Preprocessing
from verydeep.notes import say
from verydeep.run_folder import (
    TrainedOn,
    copy_training_images,
    provenance,
    read_model,
    refuse_existing,
    write_model,
)
from verydeep.weights.class_names import class_names
from verydeep.weights.foreign import config_of, examine
from verydeep.weights.opening import check_alone, is_ours
from verydeep.weights.published import PREPROCESSING
from verydeep.weights.source import Known, locate, with_network

Three = tuple[float, float, float]


@dataclass
class Convert:
    """Bring other libraries' weights here; `verydeep export` takes a model there.

    SOURCE is a file of torchvision, timm, Keras, Caffe (such as Oxford's), MatConvNet or ONNX, a state dict with
    our names, a folder of the Hub, or a model of ours. Its configuration, width, classes and normalisation are
    seen in its tensors. How pictures are preprocessed and what classes are called is known for published files;
    tell it for others.
    """

    source: Annotated[Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """Weights: a file, a folder or a name."""
    out: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder to make."""
    preprocessing: Literal["torchvision", "oxford", "matconvnet", "amdegroot"] | None = None
    """What torchvision and timm do to pictures; what Oxford's networks take in Caffe and Keras (BGR, less the mean
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
    configuration: str | None = None
    """A-LRN, where it is that: weights do not tell it from A."""
    window: int | None = None
    """Side of the images in training, in pixels, where the weights do not tell: 32, say, or 224. If the network
    averages the last map before its FC layers (AdaptiveAvgPool2d), that is made part of fc6's weights."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    features_only: FlagCreatePairsOff[bool] = False
    """Take the convolutions alone, as features without classes."""

    def run(self) -> None:
        """Convert, and say what it is."""
        refuse_existing(self.out)
        told = self._told()
        source = locate(with_network(self.source, self.tensors))
        if is_ours(source.path):
            check_alone(source)
            if told != Known() or self.class_names:
                raise UsageError(
                    f"{self.source} is a model of ours, which has all that belongs to it; leave it out"
                )
            config, tensors = read_model(source.path)
            write_model(self.out, config, tensors)
            copy_training_images(source.path, self.out)
            print(f"{self.out}: a copy of {self.source}")
            return
        found = examine(source, told)
        if self.class_names:
            names = class_names(self.class_names, found.architecture.num_classes)
            found.known = Known(class_names=names).completed_by(found.known)
        config = config_of(found)
        config.provenance.update(provenance(**config.provenance))
        write_model(self.out, config, found.tensors)
        for note in found.notes:
            say(f"note: {note}")
        if not found.known.trained_on:
            say(f"note: it is tested at Q = {config.trained_on.test_scale}; --train-scale says otherwise")
        print(
            f"{self.out}: configuration {config.architecture.configuration}, "
            f"{num_parameters(config.architecture):,} parameters, from {found.known.origin or found.layout}"
        )

    def _told(self) -> Known:
        if self.configuration:
            configuration(self.configuration)
        if self.window is not None:
            Architecture(window=self.window)
        if self.train_scale and not 1 <= self.train_scale[0] <= self.train_scale[1]:
            raise UsageError(
                f"--train-scale is {' '.join(map(str, self.train_scale))}; it is the least and the greatest S"
            )
        trained_on = TrainedOn(self.train_scale) if self.train_scale else None
        return Known(
            self._preprocessing(),
            None,
            trained_on,
            self.licence,
            None,
            self.configuration,
            self.window,
            self.features_only or None,
        )

    def _preprocessing(self) -> Preprocessing | None:
        numbers = (self.mean, self.deviation, self.channels)
        if self.preprocessing:
            if any(number is not None for number in numbers):
                raise UsageError(
                    "--preprocessing is a name for --mean, --deviation and --channels; give one or the other"
                )
            return PREPROCESSING[self.preprocessing]
        if all(number is None for number in numbers):
            return None
        if self.mean is None or self.channels is None:
            raise UsageError("preprocessing wants both --mean and --channels, and --deviation if there is one")
        deviation = self.deviation or (1.0, 1.0, 1.0)
        if 0 < max(self.mean) <= 1 or max(deviation) < 1:
            raise UsageError(
                "--mean and --deviation are levels of 0 to 255, and these look like shares of 1: multiply them by "
                "255; what is divided by 255 and no more has --mean 0 0 0 --deviation 255 255 255"
            )
        try:
            return Preprocessing(self.mean, deviation, self.channels)
        except ModelError as error:
            raise UsageError(f"--mean and --deviation: {error}") from None
