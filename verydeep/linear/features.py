"""Images -> Appendix B's features: a layer run densely, its mean over space and mirror image, of unit length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from verydeep.chunks.plan import Chunk, by_shape
from verydeep.chunks.run import Rescaled, at_scales, run_chunks
from verydeep.evaluation.evaluate import Scoring
from verydeep.evaluation.posterior import Posteriors
from verydeep.extraction.extract import extract
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.images.views import Pixels
from verydeep.inference.engine import Engine
from verydeep.linear.classifier import Classifier, Features, FeatureSpec
from verydeep.plan import check_scale

CHUNK_IMAGES = 64


def features_of(
    engine: Engine,
    images: ImageSet,
    described: FeatureSpec,
    *,
    max_unreadable: int | None = None,
    unreadable: Callable[[Unreadable], None] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Features:
    """Features of each image.

    At each scale the layer's output is averaged over space, and with that of the mirror image; this is divided by
    its length. Scales are stacked and divided by their length again, or averaged and divided.

    Args:
        engine: with the model.
        images: any number of them; a few are in memory at a time.
        described: what the features are.
        max_unreadable: images that may be left out because they cannot be read; None for any number.
        unreadable: called with each of them, whose row is NaN then; None raises instead.
        advance: called with the number of images that have been finished.

    Returns:
        Of shape (images, features); of no columns where not one can be read.

    Raises:
        UsageError: a scale is smaller than the network's window.
        ModelError: a feature is not finite.
        ImageError: an image cannot be read, and `unreadable` is None.
        DataError: more images cannot be read than may be left out.

    """
    scales = _scales(engine, described)

    def work(chunk: Chunk, rescaled: dict[int, Rescaled]) -> Features:
        return _features(engine, list(rescaled.values()), described)

    done = run_chunks(
        images,
        by_shape(images, scales, CHUNK_IMAGES, whole=True),
        at_scales(images, scales),
        work,
        max_unreadable=max_unreadable,
        unreadable=unreadable,
        advance=advance,
    )
    features = np.full((len(images), done[0][1].shape[1] if done else 0), np.nan, np.float32)
    for numbers, rows in done:
        features[numbers] = rows
    return features


def scoring_of_classifier(engine: Engine, classifier: Classifier) -> Scoring:
    """How a classifier on a network's features scores images.

    Args:
        engine: with the model.
        classifier: with the layer and the scales of its features.

    Raises:
        UsageError: a scale is smaller than the network's window.

    """

    def posteriors(rescaled: list[Rescaled]) -> Posteriors:
        return classifier.posteriors(_features(engine, rescaled, classifier.described))

    return Scoring(
        scales=_scales(engine, classifier.described),
        whole=True,
        batch_size=CHUNK_IMAGES,
        num_classes=len(classifier.class_names),
        posteriors=posteriors,
    )


def _scales(engine: Engine, described: FeatureSpec) -> tuple[int, ...]:
    """The scales of features, the smallest first."""
    check_scale("scales", min(described.scales), engine.config.architecture)
    return tuple(sorted(described.scales))


def _features(engine: Engine, rescaled: Sequence[Rescaled], described: FeatureSpec) -> Features:
    """Features of images at every scale, a row for each."""
    several = [
        _at_scale(engine, [image[scale] for image in rescaled], described) for scale in sorted(described.scales)
    ]
    return _unit(np.hstack(several) if described.combine == "stack" else np.mean(several, axis=0))


def _at_scale(engine: Engine, images: Sequence[Pixels], described: FeatureSpec) -> NDArray[np.float32]:
    (rows,) = extract(engine, images, [described.layer], "mean").values()
    if described.mirror:
        (mirrored,) = extract(engine, [image[:, ::-1] for image in images], [described.layer], "mean").values()
        rows = (rows / 2 + mirrored / 2).astype(np.float32)
    return _unit(rows)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of unit length; a row of zeros stays one."""
    wide = rows.astype(np.float64)  # in float32 the squares of large features are infinite, and the row would be 0
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (wide / np.maximum(length, np.finfo(np.float64).tiny)).astype(np.float32)
    return unit
