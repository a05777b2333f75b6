"""`verydeep.transfer`: model + labelled images -> a classifier on the model's features (Appendix B)."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.arguments import checked
from verydeep.errors import DataError, UsageError, check_least, check_seed, command_line, escaped, require
from verydeep.evaluation.test_set import Training, are_there, split_again, trained_on
from verydeep.images import imagenet
from verydeep.images.data import Data, Split, train_and_test
from verydeep.images.image_set import ImageSet, Unreadable, readable, tell_skipped
from verydeep.images.sources import open_data, refuse_inside
from verydeep.inference import Engine, EngineName, PrecisionName, engine_of
from verydeep.linear.classifier import (
    Classifier,
    Features,
    FeatureSpec,
    classifier_file,
    weights_digest,
    write_classifier,
)
from verydeep.lock import writing_file
from verydeep.notes import progress, say, say_skipped
from verydeep.results import Result
from verydeep.run_folder import (
    WEIGHTS,
    copy_training_images,
    folder_of,
    making_folder,
    read_split,
    read_training_images,
    refuse_existing,
    write_model,
)
from verydeep.weights.opening import is_ours, open_source
from verydeep.weights.source import locate, with_network

if TYPE_CHECKING:
    from verydeep.linear.svm import SVM, Labels, SplitTest

PER_CLASS, TEST_PER_CLASS = 30, 50  # images of Caltech-101's protocol (Appendix B.3)


@dataclass(frozen=True, repr=False)
class Transferred(Result):
    """How well a classifier on a model's features does.

    Attributes:
        facts: of its training and test, by name.

    """

    facts: dict[str, Any]

    @property
    def mean_class_recall(self) -> list[float]:
        """In %, for each split."""
        recalls: list[float] = self.facts["mean_class_recall"]
        return recalls

    def to_dict(self) -> dict[str, Any]:
        """The facts."""
        return self.facts

    def __str__(self) -> str:
        facts, recalls = self.facts, self.mean_class_recall
        spread = f" ± {np.std(recalls, ddof=1):.1f}" if len(recalls) > 1 else ""
        tested = f"{round(np.mean(facts['num_test_images'])):,} tested" + " in each" * (len(recalls) > 1)
        return (
            f"{facts['num_images']:,} images of {facts['num_classes']} classes, {tested}, {facts['layer']}, "
            f"Q = {', '.join(map(str, facts['scales']))}; {escaped(facts['split'])}\n"
            f"top-1 error {np.mean(facts['top1_error']):.2f} %, "
            f"mean class recall {np.mean(recalls):.1f}{spread} %, C = {facts['C']:g}"
        )


@checked
def transfer(
    model: str | PathLike[str],
    data: str | PathLike[str],
    *,
    scales: tuple[int, ...] = (),
    combine: Literal["stack", "average"] = "stack",
    layer: str = "relu7",
    splits: int = 0,
    per_class: int | None = None,
    test_per_class: int | None = None,
    seed: int = 0,
    out: str | PathLike[str] | None = None,
    save: bool = True,
    tensors: str | None = None,
    max_unreadable: int = 0,
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Transferred:
    """Train a linear SVM on a model's features, as Appendix B does, and test it.

    fc8 is dropped. fc7 (after its ReLU) runs densely over the whole image, and its mean over space and mirror
    image is divided by its length, at each scale. C is chosen on a held-out fifth of the training images.

    Without `splits` the data's own parts are trained and tested on. Three splits of 30 images a class are
    Caltech-101's protocol: mean class recall over random splits, and its spread.

    The classifier is left beside the model, or in a new run folder, and `verydeep.predict` uses it.

    Args:
        model: a run folder or weights in one; a bundled one, `cifar10` or `tiny-imagenet`; or another library's
            weights, a file or a name such as torchvision:vgg16.
        data: labelled images: a folder with a folder of images for each class, or with train/ and val/ that hold
            these; ImageNet's folder; `digits`; or the folder or URL that `verydeep.shard` made.
        scales: Q, the smaller side of the rescaled image, one or several (default: S, or the middle of its range).
            The paper's are 256, 384 and 512.
        combine: whether the features of several scales are stacked or averaged.
        layer: layer that the features are of; pool5 of a network that is features only.
        splits: random splits to test on; 0 takes the data's own parts. Images that the network was trained on are
            not tested.
        per_class: training images of each class in a random split (default: 30).
        test_per_class: most test images of each class in a random split (default: 50).
        seed: seed of the random splits, and of the fifth of the training images that C is chosen on.
        out: run folder to make, with the model and the classifier (default: leave the classifier beside the
            model).
        save: keep the classifier; `save=False` only tests.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        max_unreadable: continue if up to this many images cannot be read; they are listed.
        engine: what computes: native runs on the CPU without torch; auto takes torch where there is a GPU, else
            native.
        precision: precision of matrix products: auto is float32; int16 needs the native engine.
        device: where to compute: auto, cpu, cuda or mps.
        threads: CPU threads of each process (default: one for each core that it may use).

    Raises:
        UsageError: an argument does not fit.
        DataError: the data cannot be used.
        ModelError: the model cannot be used.

    """
    require("sklearn", "train", "transfer")
    check_least("splits", splits, 0)
    for name, number, least in (("per_class", per_class, 2), ("test_per_class", test_per_class, 1)):
        if number is not None:
            check_least(name, number, least)
            if not splits:
                raise UsageError(f"`{name}` is of random splits; say how many, as `splits`, too")
    per_class, test_per_class = per_class or PER_CLASS, test_per_class or TEST_PER_CLASS
    check_least("max_unreadable", max_unreadable, 0)
    check_seed(seed)
    path = Path(with_network(model, tensors))
    source = locate(path)
    target = path if out is None else Path(out)
    if out is not None:
        refuse_inside(target, fspath(data))
        refuse_existing(target)
    elif save and (source.embedded or not is_ours(source.path)):
        raise UsageError(
            f"{path} is not a run folder, so the classifier cannot be saved in it; make one with `out=RUN`, or "
            "do not save the classifier with `save=False`"
        )
    elif save and source.path.is_file() and source.path.name != WEIGHTS:
        raise UsageError(
            f"the classifier of {folder_of(source.path)} belongs to its {WEIGHTS}; for {source.path.name} make a "
            "run folder of its own with `out=RUN`, or do not save the classifier with `save=False`"
        )
    if out is not None and not save:
        raise UsageError("`out` keeps the classifier and `save=False` does not; choose one")
    keeping = making_folder(target) if out is not None else writing_file(classifier_file(target))
    with keeping if save else nullcontext():  # from now on: it takes long
        config, weights = open_source(path)
        opened = engine_of(
            config, weights, [layer], engine=engine, precision=precision, device=device, threads=threads
        )
        spec = FeatureSpec(layer, scales or (config.trained_on.test_scale,), True, combine)
        parts = _parts(fspath(data), source.path, splits)
        features, read = _features(opened, spec, parts.images, max_unreadable)
        labels = parts.images.labels[read]
        tests, svm = _test(
            features,
            labels,
            parts.train[read],
            parts.may_test[read],
            parts.class_names,
            splits=splits,
            per_class=per_class,
            test_per_class=test_per_class,
            seed=seed,
        )
        facts = {
            "model": str(path),
            "data": fspath(data),
            "num_images": len(labels),
            "num_classes": len(parts.class_names),
            "layer": layer,
            "scales": list(spec.scales),
            "combine": combine,
            "split": f"{splits} random splits with {per_class} training images per class"
            if splits
            else parts.origin,
            "num_test_images": [test.num_images for test in tests],
            "mean_class_recall": [test.recall for test in tests],
            "top1_error": [test.error for test in tests],
            "C": svm.strength,
        }
        if save:
            classifier = Classifier(
                described=spec,
                class_names=imagenet.words(parts.class_names),
                sharpness=svm.sharpness,
                facts=facts,
                network=weights_digest(weights),
                weights=svm.weights,
                bias=svm.bias,
            )
            if out is not None:
                write_model(target, config, weights)
                copy_training_images(source.path, target)
            before = classifier_file(target).exists()
            file = write_classifier(target, classifier)
            instead = " in place of the one before" * before
            say(f"{file} written{instead}; {command_line('predict', target, 'IMAGE')} uses it")
    return Transferred(facts)


@dataclass(frozen=True)
class _Parts:
    """Images for a classifier, and what each may be used for.

    Attributes:
        images: the training part, and then the other.
        train: which of them the classifier that is kept learns from.
        may_test: which of them may be tested on.
        class_names: of the data.
        origin: where the two parts come from, a phrase.

    """

    images: ImageSet
    train: NDArray[np.bool_]
    may_test: NDArray[np.bool_]
    class_names: tuple[str, ...]
    origin: str


def _parts(data: str, model: Path, splits: int) -> _Parts:
    """Open the data, and find out what the network was trained on.

    Raises:
        DataError: the data cannot be used, or leave nothing to test.

    """
    opened = open_data(data)
    say_skipped(data, opened.skipped)
    training = Training(read_training_images(model), read_split(model))
    opened = split_again(opened, training)
    split = train_and_test(opened) if splits else _untrained_test(opened, training)
    images = split.train.join(split.other)
    train = np.arange(len(images)) < len(split.train)
    may_test = _untrained(images, training) if splits else ~train
    return _Parts(images, train, may_test, opened.class_names, split.origin)


def _untrained(images: ImageSet, training: Training) -> NDArray[np.bool_]:
    """Which images the network was not trained on.

    Raises:
        DataError: it was trained on all images of a class.

    """
    from verydeep.linear.svm import all_known

    known = _trained_on(images, training)
    for label, name in enumerate(images.class_names):
        if known[images.labels == label].all():
            raise all_known(name)
    if known.any():
        say(f"{known.sum():,} of {len(known):,} images are not tested, as the network was trained on them")
    return ~known


def _untrained_test(data: Data, training: Training) -> Split:
    """Divide the data so that the test part has no image that the network was trained on.

    Raises:
        DataError: the network was trained on every image of the test part.

    """
    split = train_and_test(data)
    known = _trained_on(split.other, training)
    if not known.any():
        return split
    if known.all():
        raise DataError(
            f"the network was trained on all {len(known):,} test images, so no images are left to test; add "
            "images that it was not trained on"
        )
    say(f"{known.sum():,} of {len(known):,} test images are left out, as the network was trained on them")
    return replace(split, other=split.other.select(np.flatnonzero(~known).tolist()))


def _trained_on(images: ImageSet, training: Training) -> NDArray[np.bool_]:
    """Which images the network was trained on."""
    with progress("comparing with the training images", len(images)) as advance:
        return trained_on(images, [training], advance, by_name=are_there(images, training.held_out))


def _features(
    engine: Engine, spec: FeatureSpec, images: ImageSet, max_unreadable: int
) -> tuple[Features, NDArray[np.int64]]:
    """Features of the images that can be read, and their numbers."""
    from verydeep.linear.features import features_of

    lost: list[Unreadable] = []
    with progress("describing", len(images)) as advance:
        features = features_of(
            engine, images, spec, max_unreadable=max_unreadable, unreadable=lost.append, advance=advance
        )
    tell_skipped(lost, len(images))
    read = readable(len(images), lost)
    return features[read], read


def _test(
    features: Features,
    labels: Labels,
    is_train: NDArray[np.bool_],
    may_test: NDArray[np.bool_],
    class_names: tuple[str, ...],
    *,
    splits: int,
    per_class: int,
    test_per_class: int,
    seed: int,
) -> tuple[list[SplitTest], SVM]:
    """The test of each split; and the SVM to keep, which is trained on the training part.

    Raises:
        DataError: a part or a class has too few images that can be read.

    """
    from verydeep.linear.svm import over_splits, random_splits, train_svm

    if splits:
        several = random_splits(labels, class_names, splits, per_class, test_per_class, seed, may_test)
    else:
        for part, chosen in (("training", is_train), ("test", may_test)):
            if not chosen.any():
                raise DataError(f"none of the {part} images can be read; replace them, or add images")
        several = [(np.flatnonzero(is_train), np.flatnonzero(may_test))]
    with progress("training", len(several) + bool(splits), "SVMs") as advance:
        tests, svms = over_splits(features, labels, class_names, several, seed, advance)
        if not splits:
            return tests, svms[0]
        svm = train_svm(features[is_train], labels[is_train], class_names, seed)
        advance(1)
    return tests, svm
