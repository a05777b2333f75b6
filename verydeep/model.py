"""The door for Python: a model on disk, opened, answers for pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import PictureError, UsageError
from verydeep.evaluation.evaluate import Member, evaluate
from verydeep.evaluation.posterior import Posteriors
from verydeep.evaluation.protocols import Dense, Protocol
from verydeep.images import decode
from verydeep.images.color import Preprocessing
from verydeep.images.pictures import Arrays, Pictures, Unreadable
from verydeep.inference import Engine, EngineName, PrecisionName, choose_engine, engine_of
from verydeep.linear.classifier import Classifier, read_classifier
from verydeep.run_folder import ModelConfig
from verydeep.weights.opening import open_source

if TYPE_CHECKING:
    from verydeep.evaluation.score_map import ScoreMap
    from verydeep.weights.class_names import ClassNames

PictureLike = str | PathLike[str] | Image.Image | NDArray[np.uint8]


class Prediction(NamedTuple):
    """A class and its probability."""

    class_name: str
    probability: float


class Model:
    """A network with everything that belongs to it.

    Args:
        engine: with the model.
        name: what messages call it.

    """

    def __init__(self, engine: Engine, name: str = "") -> None:
        self.engine = engine
        self.name = name

    @property
    def config(self) -> ModelConfig:
        """Its architecture, preprocessing, class names and provenance."""
        return self.engine.config

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of its classes, in the order of the posteriors."""
        return self.config.class_names

    @property
    def protocol(self) -> Dense:
        """How it is tested at one scale: Q and mirror images as it was trained (Section 4.1)."""
        return Dense((self.config.trained_on.test_scale,), self.config.trained_on.mirror)

    def posterior(self, pictures: Iterable[PictureLike], protocol: Protocol | None = None) -> Posteriors:
        """Probabilities of each class for each picture, of shape (pictures, classes).

        Args:
            pictures: paths, Pillow's pictures, or arrays of shape (height, width, 3) with levels of 0 to 255.
            protocol: which views are shown; None for the model's own.

        Raises:
            PictureError: one cannot be read, or is no picture.
            ModelError: the network gives scores that are not finite.

        """
        arrays = tuple(np.asarray(open_picture(picture)) for picture in pictures)
        names = tuple(str(number) for number in range(len(arrays)))
        labels = np.full(len(arrays), -1, np.int64)
        return self.posteriors_of(Pictures(names, labels, self.class_names, Arrays(arrays)), protocol)

    def posteriors_of(
        self,
        pictures: Pictures,
        protocol: Protocol | None = None,
        *,
        advance: Callable[[int], None] = lambda count: None,
        unreadable: Callable[[Unreadable], None] | None = None,
    ) -> Posteriors:
        """Probabilities of each class for any number of pictures; arguments and errors as of `evaluate`."""
        members = [Member(self.engine, (protocol or self.protocol,), self.name)]
        return evaluate(members, pictures, advance=advance, unreadable=unreadable)

    def predict(self, picture: PictureLike, top: int = 5) -> list[Prediction]:
        """Name the classes that a picture most probably shows, the best first.

        Args:
            picture: as for `posterior`.
            top: how many.

        Raises:
            PictureError: it cannot be read, or is no picture.

        """
        return ranked(self.posterior([picture])[0], self.class_names, top)

    def score_map(self, picture: PictureLike, scale: int | None = None) -> ScoreMap:
        """Tell where in a picture its classes are; `.draw()` of the answer is a picture.

        Args:
            picture: as for `posterior`.
            scale: smaller side that it is rescaled to; None for two windows of the network.

        Raises:
            PictureError: it cannot be read, or is no picture.

        """
        from verydeep.evaluation.score_map import score_map

        return score_map(self.engine, open_picture(picture), scale)


class TransferModel(Model):
    """A network whose features a classifier of `verydeep transfer` answers by. It has the classifier's classes.

    Args:
        engine: with the network, at least as far as the classifier's layer.
        classifier: that lies beside the network's weights.

    """

    def __init__(self, engine: Engine, classifier: Classifier, name: str = "") -> None:
        super().__init__(engine, name)
        self.classifier = classifier

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classifier's classes, in the order of the posteriors."""
        return self.classifier.class_names

    @property
    def protocol(self) -> Dense:
        """The scales and mirror images that the classifier was trained with."""
        return Dense(self.classifier.described.scales, self.classifier.described.mirror)

    def posteriors_of(
        self,
        pictures: Pictures,
        protocol: Protocol | None = None,
        *,
        advance: Callable[[int], None] = lambda count: None,
        unreadable: Callable[[Unreadable], None] | None = None,
    ) -> Posteriors:
        """Probabilities of each of the classifier's classes; it takes no other protocol than its own.

        Raises:
            UsageError: a protocol is given.
            PictureError: a picture cannot be read, and `unreadable` is None.
            ModelError: the network gives features that are not finite.

        """
        from verydeep.linear.features import posteriors_of

        if protocol is not None and protocol != self.protocol:
            raise UsageError(f"a protocol is for the network's own classes; {NETWORK_ALONE}")
        return posteriors_of(self.engine, self.classifier, pictures, advance=advance, unreadable=unreadable)

    def score_map(self, picture: PictureLike, scale: int | None = None) -> ScoreMap:
        """Refuse: a classifier on features has no score map.

        Raises:
            UsageError: always.

        """
        raise UsageError(f"a score map is of the network's own classes; {NETWORK_ALONE}")


NETWORK_ALONE = (
    "here the classifier of `verydeep transfer` beside the model answers: load the model with network=True to "
    "leave it out"
)


def load(
    model: str | PathLike[str],
    device: str = "auto",
    precision: PrecisionName = "auto",
    engine: EngineName = "auto",
    *,
    threads: int | None = None,
    network: bool = False,
    preprocessing: Preprocessing | str | None = None,
    class_names: ClassNames | None = None,
    tensors: str | None = None,
) -> Model:
    """Open a model on disk.

    A classifier that `verydeep transfer` has left beside the model answers, unless `network` is true.

    Args:
        model: a run folder or weights in one; `cifar10`, which is bundled; or another library's weights, a file or
            a name such as torchvision:vgg16.
        device: where to compute: auto, cpu, cuda or mps.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        threads: CPU threads of each process (default: one for each core that it may use).
        network: answer by the network's own classes, even if a classifier lies beside the model.
        preprocessing: how images are preprocessed, for weights that do not carry it: a `Preprocessing`, or
            torchvision, oxford, matconvnet or amdegroot.
        class_names: names of the classes, for weights that do not carry them: the names in the order of the
            scores, imagenet, numbers, or a file.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.

    Raises:
        UsageError: what is given belongs to weights that carry it, or does not fit them.
        ModelError: there is no such model, it is damaged, its weights are another network's, or the classifier was
            trained on features of other weights.

    """
    choose_engine(engine, precision, device)  # before a large file is read
    classifier = None if network else read_classifier(Path(model))
    config, weights = open_source(model, preprocessing, class_names, tensors)
    if classifier:
        classifier.check_network(weights)
    layers = [classifier.described.layer] if classifier else None
    opened = engine_of(config, weights, layers, engine=engine, precision=precision, device=device, threads=threads)
    name = fspath(model)
    return TransferModel(opened, classifier, name) if classifier else Model(opened, name)


def ranked(posterior: NDArray[np.float64], class_names: tuple[str, ...], top: int) -> list[Prediction]:
    """The `top` most probable classes; of equally probable ones the first counts as better."""
    order = np.argsort(-posterior, kind="stable")[:top]
    return [Prediction(class_names[label], float(posterior[label])) for label in order]


def open_picture(picture: PictureLike) -> Image.Image:
    """Turn anything that is a picture into upright RGB.

    Raises:
        PictureError: it cannot be read, or is no picture.

    """
    if isinstance(picture, Image.Image):
        return decode.read_opened(picture)
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise PictureError(
                f"array of shape {picture.shape} and type {picture.dtype} is no picture; "
                "it has to be (height, width, 3) of uint8, levels of 0 to 255"
            )
        return Image.fromarray(picture)
    return decode.read(Path(fspath(picture)))
