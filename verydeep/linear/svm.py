"""Features and labels -> a linear SVM, its C chosen on a held-out fifth; and how well it does on splits."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import DataError
from verydeep.evaluation.posterior import softmax
from verydeep.linear.classifier import Features

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # C that are tried
SHARPNESSES = tuple(float(x) for x in np.geomspace(0.1, 100, 31))
HELD_OUT = 0.2

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class SVM:
    """A trained SVM.

    Attributes:
        weights: of shape (classes, features).
        bias: of shape (classes,).
        strength: C, as the held-out fifth chose it.
        sharpness: factor on the scores before the soft-max, likewise.

    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    sharpness: float


def train_svm(features: Features, labels: Labels, class_names: Sequence[str], seed: int = 0) -> SVM:
    """Train on four fifths of each class with each C, choose by the mean class recall on the fifth, train on all.

    Args:
        features: of shape (images, features).
        labels: of shape (images,).
        class_names: of two classes or more, of which each has at least two images.
        seed: of the random fifth.

    Raises:
        DataError: a class has fewer than two images, or there is one class alone.

    """
    num_classes = len(class_names)
    if num_classes < 2:
        raise DataError("all images are of one class; a classifier needs at least two")
    train, held_out = _hold_out(labels, class_names, seed)
    best: tuple[float, float, float] | None = None
    for strength in STRENGTHS:
        weights, bias = _fit(features[train], labels[train], num_classes, strength)
        scores = features[held_out].astype(np.float64) @ weights.T + bias
        recall = mean_class_recall(scores.argmax(1), labels[held_out])
        if best is None or recall > best[0]:
            best = recall, strength, _sharpness(scores, labels[held_out])
    assert best
    weights, bias = _fit(features, labels, num_classes, best[1])
    return SVM(weights.astype(np.float32), bias.astype(np.float32), best[1], best[2])


def mean_class_recall(answers: NDArray[np.int64], labels: Labels) -> float:
    """Share of a class's images that are recognised, in %, and of that the mean over the classes."""
    recalls = [float((answers[labels == label] == label).mean()) for label in np.unique(labels)]
    return 100 * float(np.mean(recalls))


def random_splits(
    labels: Labels,
    class_names: Sequence[str],
    count: int,
    per_class: int,
    test_per_class: int,
    seed: int = 0,
    may_test: NDArray[np.bool_] | None = None,
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Random splits as of Caltech-101: so many training images of each class, and some of the rest to test on.

    `may_test` says of each image whether it may be tested; None for all. Of each class one such image at least is
    left for the test.

    Raises:
        DataError: a class has too few images to train on these and test on one, or none that may be tested.

    """
    found = []
    for split in range(count):
        random = np.random.default_rng([seed, split])
        train: list[int] = []
        test: list[int] = []
        for label, name in enumerate(class_names):
            members = random.permutation(np.flatnonzero(labels == label))
            if len(members) <= per_class:
                raise DataError(
                    f"class {name!r} has {len(members)} readable images, and `per_class={per_class}` leaves none "
                    "to test on; choose fewer, add images or remove the class"
                )
            if may_test is not None and not may_test[members[per_class:]].any():
                new = np.flatnonzero(may_test[members])
                if not len(new):
                    raise all_known(name)
                members[[new[-1], per_class]] = members[[per_class, new[-1]]]
            train += members[:per_class].tolist()
            left = members[per_class:]
            test += (left if may_test is None else left[may_test[left]])[:test_per_class].tolist()
        found.append((np.array(sorted(train)), np.array(sorted(test))))
    return found


def all_known(class_name: str) -> DataError:
    """What to say of a class that has no image to test on."""
    return DataError(
        f"the network was trained on every image of class {class_name!r}, so random splits cannot test it; add "
        "images that it was not trained on, or leave out `splits`"
    )


@dataclass(frozen=True)
class SplitTest:
    """How well an SVM does on the test part of a split.

    Attributes:
        num_images: that were tested.
        recall: mean over the classes of the share that is right, in %.
        error: share of all images that is wrong, in %.

    """

    num_images: int
    recall: float
    error: float


def over_splits(
    features: Features,
    labels: Labels,
    class_names: Sequence[str],
    several: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[list[SplitTest], list[SVM]]:
    """Train on each split: how well the SVM does on its test part, and the SVM."""
    tests, svms = [], []
    for train, test in several:
        svm = train_svm(features[train], labels[train], class_names, seed)
        answers = (features[test].astype(np.float64) @ svm.weights.T + svm.bias).argmax(1)
        error = 100 * float(np.mean(answers != labels[test]))
        tests.append(SplitTest(len(test), mean_class_recall(answers, labels[test]), error))
        svms.append(svm)
        advance(1)
    return tests, svms


def _hold_out(labels: Labels, class_names: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    random = np.random.default_rng(seed)
    train: list[int] = []
    held_out: list[int] = []
    for label, name in enumerate(class_names):
        members = random.permutation(np.flatnonzero(labels == label)).tolist()
        if len(members) < 2:
            raise DataError(
                f"class {name!r} has {len(members)} readable training images; it needs two, one of them to "
                "choose C by; add images or remove the class"
            )
        count = max(1, round(HELD_OUT * len(members)))
        held_out += members[:count]
        train += members[count:]
    return sorted(train), sorted(held_out)


def _fit(
    features: Features, labels: Labels, num_classes: int, strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the largest C, which the held-out fifth judges
        svm = LinearSVC(C=strength, random_state=0).fit(features, labels)
    weights, bias = np.asarray(svm.coef_, np.float64), np.asarray(svm.intercept_, np.float64)
    if num_classes == 2:  # one SVM tells two classes apart
        return np.vstack([-weights, weights]), np.concatenate([-bias, bias])
    return weights, bias


def _sharpness(scores: NDArray[np.float64], labels: Labels) -> float:
    """Factor on the scores with which the labels are the most probable."""
    rows = np.arange(len(labels))
    surprise = [-np.log(softmax(factor * scores)[rows, labels] + 1e-12).mean() for factor in SHARPNESSES]
    return SHARPNESSES[int(np.argmin(surprise))]
