"""`verydeep.convert`: other libraries' weights -> a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from verydeep.accounting import num_parameters
from verydeep.arguments import checked
from verydeep.configurations import Architecture, configuration
from verydeep.errors import ModelError, UsageError, escaped
from verydeep.images.color import Preprocessing, are_shares
from verydeep.linear.classifier import say_network_alone
from verydeep.notes import say
from verydeep.results import Result
from verydeep.run_folder import (
    TrainedOn,
    copy_training_images,
    making_folder,
    provenance,
    read_model,
    write_model,
)
from verydeep.run_folder.origin import recorded
from verydeep.weights.class_names import ClassNames
from verydeep.weights.importing import config_of, import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.opening import check_ours, is_ours
from verydeep.weights.published import PreprocessingName, preprocessing_of
from verydeep.weights.source import locate, with_network

Three = tuple[float, float, float]


@dataclass(frozen=True, repr=False)
class Conversion(Result):
    """A run folder with weights of another library.

    Attributes:
        run: the folder.
        configuration: a name of Table 1.
        parameters: number of weights and biases.
        origin: who published the weights, or their layout.

    """

    run: str
    configuration: str
    parameters: int
    origin: str

    def __str__(self) -> str:
        size = f"configuration {self.configuration}, {self.parameters:,} parameters"
        return f"{escaped(self.run)}: {size}, from {escaped(self.origin)}"


@recorded
@checked
def convert(
    source: str | PathLike[str],
    run: str | PathLike[str],
    *,
    preprocessing: Preprocessing | PreprocessingName | None = None,
    mean: Three | None = None,
    deviation: Three | None = None,
    channels: Literal["RGB", "BGR"] | None = None,
    class_names: ClassNames | None = None,
    train_scale: tuple[int, int] | None = None,
    licence: str | None = None,
    config: str | None = None,
    window: int | None = None,
    tensors: str | None = None,
    features_only: bool = False,
) -> Conversion:
    """Import another library's weights into a run folder, or copy a model of ours.

    A source is a file of torchvision, timm, Keras, Caffe (such as Oxford's), MatConvNet or ONNX. It can also be a
    state dict with our names, a folder of the Hub, or a model of ours. The configuration, width, classes and
    normalization are found from the tensors. The preprocessing and the class names are known for published files;
    give them for others.

    Args:
        source: weights: a file, a folder or a name.
        run: run folder to make.
        preprocessing: how images are preprocessed: torchvision (timm too); oxford, as Oxford's networks take them
            in Caffe and Keras (BGR, minus the mean); matconvnet (the same in RGB); amdegroot, as torchvision's
            IMAGENET1K_FEATURES. In Python also a `Preprocessing`. Or give the next three.
        mean: what is subtracted from R, G and B, in levels of 0 to 255.
        deviation: what R, G and B are then divided by (default: 1 1 1).
        channels: the order in which the network takes the channels.
        class_names: names of the classes: imagenet, numbers, or a file: a line for each class in the order of the
            scores, with or without its number; or JSON, a list or a map between numbers and names. In Python also
            the names.
        train_scale: least and greatest S of the training, whose middle is the scale of tests (default: 256 if the
            window is 224).
        licence: licence of the weights, to be kept with them.
        config: A-LRN, if it is that: weights do not tell it from A.
        window: side of the images in training, in pixels, where the weights do not tell, such as 32 or 224. If the
            network averages the last map before its FC layers (AdaptiveAvgPool2d), that is made part of fc6's
            weights.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        features_only: take the convolutions alone, as features without classes.

    Raises:
        UsageError: `run` is not empty, or what is given does not fit the weights.
        ModelError: there are no such weights, they are not a VGG network's, or what belongs to them is not known.

    """
    target = Path(run)
    with making_folder(target):
        given = Metadata(
            _preprocessing(preprocessing, mean, deviation, channels),
            trained_on=_trained_on(train_scale),
            licence=licence,
            configuration=configuration(config).name if config else None,
            window=None if window is None else Architecture(window=window).window,
            features_only=features_only or None,
        )
        where = locate(with_network(source, tensors))
        if is_ours(where.path):
            check_ours(where, class_names, None if given == Metadata() else given)
            model, weights = read_model(where.path)
            origin = f"{source}, of which it is a copy"
        else:
            found = import_weights(where, given, class_names)
            model, weights, origin = config_of(found), found.tensors, found.metadata.origin or found.layout
            model.provenance.update(provenance(**model.provenance))
            for note in found.notes:
                say(f"note: {note}")
            if not found.metadata.trained_on:
                say(f"note: tests use Q = {model.trained_on.test_scale}; change it with `train_scale`")
        write_model(target, model, weights)
        if is_ours(where.path):
            copy_training_images(where.path, target)
            say_network_alone(where.path, "copied")
    architecture = model.architecture
    return Conversion(str(run), architecture.configuration, num_parameters(architecture), origin)


def _trained_on(scale: tuple[int, int] | None) -> TrainedOn | None:
    try:
        return TrainedOn(scale) if scale else None
    except ModelError:
        raise UsageError(
            f"`train_scale={' '.join(map(str, scale or ()))}`: give the least and the greatest S"
        ) from None


def _preprocessing(
    given: Preprocessing | str | None, mean: Three | None, deviation: Three | None, channels: str | None
) -> Preprocessing | None:
    if (mean, deviation, channels) == (None, None, None):
        return preprocessing_of(given)
    if given:
        raise UsageError(
            "`preprocessing` stands for `mean`, `deviation` and `channels`; give either the name or these"
        )
    if mean is None or channels is None:
        raise UsageError("preprocessing needs both `mean` and `channels`, and `deviation` if there is one")
    deviation = deviation or (1.0, 1.0, 1.0)
    if are_shares(mean, deviation):
        raise UsageError(
            "`mean` and `deviation` are levels of 0 to 255, and these look like shares of 1: multiply them by "
            "255; what is divided by 255 and no more has `mean=0 0 0` and `deviation=255 255 255`"
        )
    try:
        return Preprocessing(mean, deviation, channels)
    except ModelError as error:
        raise UsageError(f"`mean` and `deviation`: {error}") from None
