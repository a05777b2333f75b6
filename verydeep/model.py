"""The door for Python: a model on disk, opened, answers for images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, overload

from verydeep.arguments import check_type, checked
from verydeep.errors import UsageError, check_least, few
from verydeep.evaluation.evaluate import Member, Scoring, score, scoring_of
from verydeep.evaluation.posterior import Posteriors
from verydeep.evaluation.protocols import Dense, Protocol
from verydeep.evaluation.ranking import Ranking, Rankings, ranked
from verydeep.images.color import Preprocessing
from verydeep.images.given import ImageLike, are_several, given_image, given_images, open_image
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.inference import Engine, EngineName, PrecisionName, choose_engine, engine_of
from verydeep.linear.classifier import Classifier, read_classifier
from verydeep.results import html_table
from verydeep.run_folder import ModelConfig
from verydeep.weights.opening import open_source, reopening

if TYPE_CHECKING:
    from verydeep.evaluation.score_map import ScoreMap
    from verydeep.weights.class_names import ClassNames

NETWORK_ALONE = (
    "here the classifier of `verydeep transfer` beside the model answers: load the model with network=True to "
    "leave it out"
)


class Model:
    """A network with everything that belongs to it; `verydeep.load` opens one.

    An image is a path, the bytes of a file, an open binary file, a Pillow image or a NumPy array. An array has
    uint8 levels from 0 to 255 and the shape (height, width, 3). Grey arrays have the shape (height, width) or
    (height, width, 1). Images can have any size.

        model = verydeep.load("cifar10")
        model("photo.jpg")                   # its most probable classes, as model.predict("photo.jpg")
        model.predict(["a.jpg", "b.jpg"])    # the same for each of several images
        model.posterior(["a.jpg", "b.jpg"])  # probabilities of all classes: an array, a row for each image
        model.score_map("photo.jpg").draw()  # where in the image a class is seen: a Pillow image

    Several threads may use one model at once. A model can be pickled and sent to another process. With the native
    engine it is sent as the place of its file and its options, and the other process reads the weights again: it
    needs the same file under the same path or name. With torch the weights are sent.

    Args:
        engine: with the model.
        name: what messages call it.

    """

    def __init__(self, engine: Engine, name: str = "") -> None:
        self.engine = engine
        self.name = name

    def __repr__(self) -> str:
        facts = ", ".join(f"{what}: {value}" for what, value in self._facts())
        return f"<verydeep.Model {facts}>"

    def _repr_html_(self) -> str:
        return html_table(("Model", self.name), self._facts()[1:])

    def _facts(self) -> list[tuple[str, str]]:
        """What is worth knowing at a glance."""
        architecture, names = self.config.architecture, self.class_names
        return [
            ("name", self.name),
            ("configuration", architecture.configuration),
            ("width", f"{architecture.width:g}"),
            ("window", f"{architecture.window} pixels"),
            ("classes", f"{len(names)} ({few(names, 3, quoted=False)})"),
            ("engine", self.engine.name),
        ]

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
        """The default test, dense at one scale, with Q and mirror images as in training (Section 4.1)."""
        return Dense((self.config.trained_on.test_scale,), self.config.trained_on.mirror)

    def posterior(self, images: ImageLike | Iterable[ImageLike], protocol: Protocol | None = None) -> Posteriors:
        """Probabilities of each class for each image, of shape (images, classes).

        Args:
            images: one as the class says, which gives one row; or several, or an array of shape (images, height,
                width, 3). Files are decoded as they are needed, so that there may be any number of them.
            protocol: which views are shown; None for the model's own.

        Raises:
            ImageError: one cannot be read, or is no image.
            ModelError: the network gives scores that are not finite.

        """
        check_type("protocol", protocol, Protocol | None)
        given = given_images(images) if are_several(images) else given_image(images)  # type: ignore[arg-type]
        return self.posteriors_of(given, protocol)

    def posteriors_of(
        self,
        images: ImageSet,
        protocol: Protocol | None = None,
        *,
        advance: Callable[[int], None] = lambda count: None,
        unreadable: Callable[[Unreadable], None] | None = None,
    ) -> Posteriors:
        """Probabilities of each class for any number of images; arguments as of `scoring` and `score`."""
        return score(self.scoring(protocol), images, advance=advance, unreadable=unreadable)

    def scoring(self, protocol: Protocol | None = None) -> Scoring:
        """How images become posteriors of the classes.

        Args:
            protocol: which views are shown; None for the model's own.

        Raises:
            UsageError: a scale is smaller than the network's window.

        """
        return scoring_of([Member(self.engine, (protocol or self.protocol,), self.name)])

    @overload
    def predict(self, image: ImageLike, top: int = 5) -> Ranking: ...  # type: ignore[overload-overlap]

    @overload
    def predict(self, image: Iterable[ImageLike], top: int = 5) -> Rankings: ...

    def predict(self, image: ImageLike | Iterable[ImageLike], top: int = 5) -> Ranking | Rankings:
        """Name the classes that an image most probably shows, the best first.

        Args:
            image: as the class says; or several, as for `posterior`.
            top: how many classes.

        Returns:
            A list of `Prediction`; of several images a list of such lists. They print themselves as tables.

        Raises:
            UsageError: `top` is less than 1.
            ImageError: an image cannot be read, or is no image.
            ModelError: the network gives scores that are not finite.

        """
        check_type("top", top, int)
        check_least("top", top, 1)
        if are_several(image):
            return Rankings(ranked(posterior, self.class_names, top) for posterior in self.posterior(image))
        (posterior,) = self.posteriors_of(given_image(image))  # type: ignore[arg-type]
        return ranked(posterior, self.class_names, top)

    __call__ = predict

    def score_map(self, image: ImageLike, scale: int | None = None) -> ScoreMap:
        """Tell where in an image its classes are; `.draw()` of the answer is a Pillow image.

        It covers the whole image: windows near an edge see the image mirrored beyond it, and are drawn paler.

        Args:
            image: as the class says.
            scale: smaller side that it is rescaled to, in pixels; None for two windows of the network.

        Raises:
            ImageError: it cannot be read, or is no image.
            ModelError: the network gives scores that are not finite.
            UsageError: the scale is smaller than the network's window.

        """
        from verydeep.evaluation.score_map import score_map

        check_type("scale", scale, int | None)
        return score_map(self.engine, open_image(image), scale, mirrored=True)


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

    def scoring(self, protocol: Protocol | None = None) -> Scoring:
        """How images become posteriors of the classifier's classes; it takes no other protocol than its own.

        Raises:
            UsageError: a protocol is given.

        """
        from verydeep.linear.features import scoring_of_classifier

        if protocol is not None and protocol != self.protocol:
            raise UsageError(f"a protocol is for the network's own classes; {NETWORK_ALONE}")
        return scoring_of_classifier(self.engine, self.classifier)

    def score_map(self, image: ImageLike, scale: int | None = None) -> ScoreMap:
        """Refuse: a classifier on features has no score map.

        Raises:
            UsageError: always.

        """
        raise UsageError(f"a score map is of the network's own classes; {NETWORK_ALONE}")


@checked
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
    """Open a model on disk. It answers for images: `Model` says how.

        model = verydeep.load("cifar10")  # a bundled model
        model.predict("photo.jpg", top=3)

    A classifier that `verydeep transfer` has left beside the model answers, unless `network` is true.

    Args:
        model: a run folder or weights in one; a bundled one, `cifar10` or `tiny-imagenet`; or another library's
            weights, a file or a name such as torchvision:vgg16.
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
    again = reopening(model, config, weights, preprocessing, class_names, tensors)
    opened = engine_of(
        config,
        weights,
        layers,
        engine=engine,
        precision=precision,
        device=device,
        threads=threads,
        again=again,
    )
    name = fspath(model)
    return TransferModel(opened, classifier, name) if classifier else Model(opened, name)
