"""Pictures -> Appendix B's features: a layer run densely, its mean over space and mirror image, of unit length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import PictureError, UsageError
from verydeep.evaluation.evaluate import read_ahead
from verydeep.evaluation.plan import make_plan
from verydeep.evaluation.posterior import Posteriors
from verydeep.evaluation.protocols import Dense
from verydeep.extraction.extractor import Extractor
from verydeep.extraction.shared import extract
from verydeep.images.pictures import Pictures, Unreadable, readable
from verydeep.linear.classifier import Classifier, Described, Features


def describe_pictures(
    extractor: Extractor,
    pictures: Pictures,
    described: Described,
    *,
    advance: Callable[[int], None] = lambda count: None,
    unreadable: Callable[[Unreadable], None] | None = None,
) -> Features:
    """Features of each picture.

    At each scale the maps are averaged over space, and with those of the mirror image; this is divided by its
    length. Scales are stacked and divided by their length again, or averaged and divided.

    Args:
        extractor: with the model, tapped at the one layer.
        pictures: any number of them; a few are in memory at a time.
        described: what the features are.
        advance: called with the number of pictures that have been finished.
        unreadable: called with a picture that cannot be read, whose row means nothing then; None raises instead.

    Returns:
        Of shape (pictures, features).

    Raises:
        UsageError: a scale is smaller than the network's window.
        ModelError: a feature is not finite.
        PictureError: a picture cannot be read, and `unreadable` is None.

    """
    window = extractor.config.architecture.window
    if min(described.scales) < window:
        raise UsageError(
            f"scale {min(described.scales)} is smaller than the network's window of {window} pixels; use --scales "
            f"{window} or more"
        )
    features: Features | None = None
    scales = sorted(described.scales)
    plan = make_plan(pictures, [Dense(described.scales, described.mirror)], 64)
    for chunk, outcomes in read_ahead(scales, pictures, plan):
        good = []
        shown = []
        for number, outcome in zip(chunk.pictures, outcomes, strict=True):
            if isinstance(outcome, PictureError):
                if unreadable is None:
                    raise outcome
                unreadable(Unreadable(pictures.names[number], str(outcome), number))
            else:
                good.append(number)
                shown.append(outcome)
        if good:
            several = [_at_scale(extractor, [one[scale] for one in shown], described.mirror) for scale in scales]
            rows = np.hstack(several) if described.combine == "stack" else np.mean(several, axis=0)
            if features is None:
                features = np.full((len(pictures), rows.shape[1]), np.nan, np.float32)
            features[good] = _unit(rows)
        advance(len(chunk.pictures))
    return np.empty((len(pictures), 0), np.float32) if features is None else features


def posteriors_of(
    extractor: Extractor,
    classifier: Classifier,
    pictures: Pictures,
    *,
    advance: Callable[[int], None] = lambda count: None,
    unreadable: Callable[[Unreadable], None] | None = None,
) -> Posteriors:
    """Posteriors of a classifier's classes, of shape (pictures, classes); arguments as of `describe_pictures`."""
    lost: list[Unreadable] = []

    def leave_out(picture: Unreadable) -> None:
        assert unreadable
        lost.append(picture)
        unreadable(picture)

    features = describe_pictures(
        extractor, pictures, classifier.described, advance=advance, unreadable=leave_out if unreadable else None
    )
    posteriors = np.full((len(pictures), len(classifier.class_names)), np.nan)
    good = readable(len(pictures), lost)
    if len(good):
        posteriors[good] = classifier.posteriors(features[good])
    return posteriors


def _at_scale(extractor: Extractor, pictures: Sequence[NDArray[np.uint8]], mirror: bool) -> NDArray[np.float32]:
    (rows,) = extract(extractor, pictures, "mean").values()
    if mirror:
        (mirrored,) = extract(extractor, [picture[:, ::-1] for picture in pictures], "mean").values()
        rows = (rows / 2 + mirrored / 2).astype(np.float32)
    return _unit(rows)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of unit length; a row of zeros stays one."""
    wide = rows.astype(np.float64)  # in float32 the squares of large features are infinite, and the row would be 0
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (wide / np.maximum(length, np.finfo(np.float64).tiny)).astype(np.float32)
    return unit
